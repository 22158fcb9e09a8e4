"""Whether a vendor calls us where we listen; the address itself holds a token and is never told."""

from collections.abc import Sequence
from urllib.parse import urldefrag, urlsplit

from shared.checks import Finding, warning, well, wrong

TO_DO = "set the webhook address at the vendor as the channel's page says"


def compared(registered: str, hook_urls: Sequence[str]) -> Finding:
    """What the vendor has as the address, against those that we answer at; a fragment only says how often to retry."""
    url = urldefrag(registered).url
    if not hook_urls:
        return wrong("the account has no secret `hook_token`, so no webhook can come in", "add one, `dragoman apply`")
    if not url:
        return wrong("no webhook address is registered", TO_DO)
    if url == hook_urls[0]:
        return well("webhooks are registered")
    if url in hook_urls:
        return warning("webhooks are registered with an older hook token", f"{TO_DO}, then remove the old token")
    found, wanted = urlsplit(url), urlsplit(hook_urls[0])
    if (found.scheme, found.netloc) != (wanted.scheme, wanted.netloc):
        here = f"{wanted.scheme}://{wanted.netloc}"
        there = f"{found.scheme}://{found.hostname or ''}" + (f":{found.port}" if found.port else "")
        return wrong(f"webhooks go to {there}, we are {here}", f"{TO_DO}, or mend DRAGOMAN_PUBLIC_URL")
    return wrong("webhooks go to another path or token of this host", TO_DO)
