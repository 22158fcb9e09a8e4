"""What became of a call in doubt: the vendor's list of messages, newest first."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shared.channels.contract import Part, Try
from shared.channels.twilio import sms, whatsapp
from shared.errors import AccountBroken, InboxMisconfigured, Throttled, Unavailable
from tests.channels.tables import REFERENCE, Vendor
from tests.channels.twilio.sample import ACCOUNT_SID, NUMBER, an_account, an_inbox

AT = datetime(2026, 8, 3, 9, 0, tzinfo=UTC)
TO = "+4917604069001"


def a_message(n: int, body: str = "Morgen ist es da.", seconds: float = 1, **more: Any) -> dict[str, Any]:
    return {
        "sid": f"SM{n:032x}", "body": body, "direction": "outbound-api", "num_media": "0", "to": TO,
        "date_created": format_datetime(AT + timedelta(seconds=seconds)), "status": "sent", **more,
    }  # fmt: skip


def a_page(*messages: Mapping[str, Any], following: str | None = None) -> dict[str, Any]:
    return {"status": 200, "body": {"messages": list(messages), "next_page_uri": following, "page": 0}}


async def asked(
    *answers: Mapping[str, Any], payload: Mapping[str, Any] | None = None, taken: frozenset[str] = frozenset()
) -> tuple[str | None, list[dict[str, Any]]]:
    vendor = Vendor(answers)
    part = Part("text", payload or {"to": TO, "body": "Morgen  ist es da."}, TO)
    attempt = Try(part=part, reference=REFERENCE, started_at=AT, taken=taken)
    async with vendor.client() as http:
        assert sms.ask is not None
        found = await sms.ask(http, attempt, an_account("twilio_sms"), an_inbox("twilio_sms"))
    return found, vendor.requests


async def test_the_peers_newest_message_with_the_same_words_is_it() -> None:
    found, (request,) = await asked(a_page(a_message(3, "Anderes"), a_message(2), a_message(1, seconds=-500)))
    assert found == f"SM{2:032x}"
    url = urlsplit(request["url"])
    assert url.path == f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"
    assert parse_qs(url.query) == {"To": [TO], "From": [NUMBER], "PageSize": ["100"]}


async def test_another_parts_message_and_the_customers_own_are_not_it() -> None:
    answer = a_page(a_message(3), a_message(2, direction="inbound"), a_message(1, num_media="1", body=""))
    found, _ = await asked(answer, taken=frozenset({f"SM{3:032x}"}))
    assert found is None


async def test_what_was_there_before_the_attempt_is_not_it() -> None:
    assert (await asked(a_page(a_message(1, seconds=-61))))[0] is None
    # Our clock may be ahead of theirs.
    assert (await asked(a_page(a_message(1, seconds=-59))))[0] == f"SM{1:032x}"


async def test_files_are_known_by_their_number() -> None:
    files = {"to": TO, "files": [{"kind": "image", "url": "https://x"}, {"kind": "image", "url": "https://y"}]}
    answer = a_page(a_message(3, ""), a_message(2, "", num_media="1"), a_message(1, "", num_media="2"))
    assert (await asked(answer, payload=files))[0] == f"SM{1:032x}"


async def test_the_list_is_followed_to_its_next_pages() -> None:
    following = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json?To=x&Page=1&PageToken=PA1"
    found, requests = await asked(a_page(a_message(2, "Anderes"), following=following), a_page(a_message(1)))
    assert found == f"SM{1:032x}"
    assert requests[1]["url"] == f"https://api.twilio.com{following}"
    assert requests[1]["headers"] == requests[0]["headers"]


@pytest.mark.parametrize(
    "body",
    ["", "{}", "[]", '{"messages": 7}', '{"messages": [7]}', '{"messages": [{"sid": "SM1", "date_created": null}]}',
     '{"messages": [], "next_page_uri": "https://evil.example/x"}'],
)  # fmt: skip
async def test_a_list_that_cannot_be_read_proves_nothing(body: str) -> None:
    with pytest.raises(Unavailable):
        await asked({"status": 200, "body": body})


async def test_a_list_without_an_end_proves_nothing() -> None:
    with pytest.raises(Unavailable):
        await asked(a_page(a_message(2, "Anderes"), following="/2010-04-01/x"))


async def test_nothing_is_in_doubt_after_asking() -> None:
    for status, kind in ((500, Unavailable), (401, AccountBroken), (429, Throttled)):
        with pytest.raises(kind):
            await asked({"status": status, "body": ""})


async def test_whatsapp_is_asked_by_its_own_addresses() -> None:
    vendor = Vendor([a_page()])
    attempt = Try(part=Part("text", {"to": "US.1349", "body": "x"}, "US.1349"), reference=REFERENCE, started_at=AT)
    async with vendor.client() as http:
        assert whatsapp.ask is not None
        await whatsapp.ask(http, attempt, an_account("twilio_whatsapp"), an_inbox("twilio_whatsapp"))
    query = parse_qs(urlsplit(vendor.requests[0]["url"]).query)
    assert (query["To"], query["From"]) == (["whatsapp:US.1349"], [f"whatsapp:{NUMBER}"])


async def test_an_api_key_calls_and_the_token_keeps_signing() -> None:
    vendor = Vendor([{"status": 201, "body": {"sid": "SM" + "1" * 32}}])
    account = an_account("twilio_sms")
    account.settings["api_key_sid"] = "SK00000000000000000000000000000001"  # type: ignore[index]
    attempt = Try(part=Part("text", {"to": TO, "body": "x"}, TO), reference=REFERENCE, started_at=AT)
    async with vendor.client() as http:
        with pytest.raises(InboxMisconfigured):
            await sms.send(http, attempt, account, an_inbox("twilio_sms"))
        account.secrets["api_key_secret"] = ["s"]  # type: ignore[index]
        await sms.send(http, attempt, account, an_inbox("twilio_sms"))
    assert vendor.requests[0]["headers"]["authorization"] == "Basic U0swMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMTpz"
    assert "StatusCallback" not in vendor.requests[0]["body"]
