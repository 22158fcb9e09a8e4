"""Whether a log-in reads its folders and may send: nothing is marked, and no mail is handed over."""

from collections.abc import Sequence
from functools import partial

from shared.accounts import Account
from shared.channels.email.lines import Lines
from shared.checks import Check, Finding, well


def examine(lines: Lines, account: Account, _hook_urls: Sequence[str]) -> list[Check]:
    """Of the way out, then of each folder; a mail server calls nobody."""
    folders = {str(inbox.settings.get("folder") or "INBOX") for inbox in account.inboxes.values()}
    return [
        Check("sending", partial(_sends, lines, account)),
        *(Check(f"folder {name}", partial(_reads, lines, account, name)) for name in sorted(folders)),
    ]


async def _sends(lines: Lines, account: Account) -> Finding:
    await lines.smtp(account).greet()
    return well("the log-in works")


async def _reads(lines: Lines, account: Account, folder: str) -> Finding:
    await lines.imap(account).select(folder, is_marked=False)
    return well("the log-in reads it")
