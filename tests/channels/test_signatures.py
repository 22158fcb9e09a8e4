"""Signatures over the raw bytes."""

import pytest

from shared.channels.signatures import check_hmac_sha256
from shared.errors import BadSignature

BODY = b'{"object":"page","entry":[{"t":"\\u00e4\\u00f6\\u00e5"}]}'
GOOD = "632f02c304dd15a4d495065d6864d4f801e3018492342e8e772d2b1df32b1b5c"


def test_any_of_the_secrets_will_do() -> None:
    check_hmac_sha256(BODY, f"sha256={GOOD}", ["of-tomorrow", "meta-app-secret"], prefix="sha256=")
    check_hmac_sha256(BODY, GOOD, ["meta-app-secret"])


@pytest.mark.parametrize(
    "given",
    ["", "sha256=", GOOD, f"sha1={GOOD}", f"sha256={GOOD[:-1]}", f"sha256={GOOD}0", f"sha256={GOOD.upper()}",
     f" sha256={GOOD}", f"sha256={GOOD[:-1]}ä", f"sha256=sha256={GOOD}"],
)  # fmt: skip
def test_anything_but_the_whole_signature_is_refused(given: str) -> None:
    with pytest.raises(BadSignature) as caught:
        check_hmac_sha256(BODY, given, ["meta-app-secret"], prefix="sha256=")
    assert GOOD not in str(caught.value)


def test_without_a_secret_nothing_is_signed() -> None:
    with pytest.raises(BadSignature):
        check_hmac_sha256(BODY, f"sha256={GOOD}", [], prefix="sha256=")
