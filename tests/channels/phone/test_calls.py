"""Placing, following and ending calls at Twilio, and the state that a call's webhooks carry with them."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.channels.contract import Placed
from shared.channels.twilio.phone import outbound
from shared.channels.twilio.phone.speech import SPEECH
from shared.channels.twilio.phone.state import CallState, seal, unseal
from shared.errors import BadPayload, InboxBroken, InboxMisconfigured, OutcomeUnknown, Rejected
from tests.channels.phone.sample import ACCOUNT, AGENT, CALL_SID, COMMAND, CUSTOMER, INBOX, LINE
from tests.channels.tables import HOOK_URL, Vendor
from tests.vendor_documents import answer_schema, errors, twilio

CALLS = "/2010-04-01/Accounts/{AccountSid}/Calls.json"
API = f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT.settings['account_sid']}"
BEGUN = datetime(2026, 8, 3, 9, 0, tzinfo=UTC)
# As the vendor's document describes the resource; its own example, with other numbers.
CALL: dict[str, Any] = {
    "sid": CALL_SID,
    "account_sid": ACCOUNT.settings["account_sid"],
    "answered_by": None,
    "api_version": "2010-04-01",
    "caller_name": None,
    "date_created": "Mon, 03 Aug 2026 09:00:01 +0000",
    "date_updated": "Mon, 03 Aug 2026 09:00:09 +0000",
    "direction": "outbound-api",
    "duration": None,
    "end_time": None,
    "forwarded_from": None,
    "from": LINE,
    "from_formatted": LINE,
    "group_sid": None,
    "parent_call_sid": None,
    "phone_number_sid": None,
    "price": None,
    "price_unit": "USD",
    "queue_time": "0",
    "start_time": None,
    "status": "queued",
    "subresource_uris": {},
    "to": AGENT,
    "to_formatted": AGENT,
    "trunk_sid": None,
    "uri": f"/2010-04-01/Accounts/{ACCOUNT.settings['account_sid']}/Calls/{CALL_SID}.json",
}
CHILD = CALL | {
    "sid": "CA000000000000000000000000000000bb", "parent_call_sid": CALL_SID, "to": CUSTOMER, "status": "completed",
    "duration": "42", "answered_by": "human", "direction": "outbound-dial",
}  # fmt: skip


async def placed(*answers: dict[str, Any], hook_url: str = HOOK_URL) -> tuple[str, dict[str, Any]]:
    vendor = Vendor(answers)
    async with vendor.client() as http:
        sid = await outbound.place(http, COMMAND, ACCOUNT, INBOX, hook_url)
    (request,) = vendor.requests
    return sid, request


async def followed(external_id: str | None, *answers: dict[str, Any]) -> tuple[Any, list[str]]:
    vendor = Vendor([{"status": 200, "body": answer} for answer in answers])
    asked = Placed(command=COMMAND, started_at=BEGUN, external_id=external_id)
    async with vendor.client() as http:
        told = await outbound.follow(http, asked, ACCOUNT, INBOX)
    return told, [request["url"] for request in vendor.requests]


async def test_the_agent_is_called_from_the_brands_line_and_everything_else_is_asked_of_us_later() -> None:
    sid, request = await placed({"status": 201, "body": CALL})
    body = request["body"]
    assert (sid, request["url"]) == (CALL_SID, f"{API}/Calls.json")
    assert {name: body[name] for name in ("To", "From", "Method", "Timeout", "StatusCallbackEvent")} == {
        "To": AGENT, "From": LINE, "Method": "POST", "Timeout": "30",
        "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
    }  # fmt: skip
    for name, step in (("Url", "whisper"), ("StatusCallback", "agent")):
        url = urlsplit(body[name])
        assert f"{url.scheme}://{url.netloc}{url.path}" == HOOK_URL
        query = parse_qs(url.query, strict_parsing=True)
        assert query["step"] == [step]
        state = unseal(query["call"][0], ACCOUNT)
        assert state == CallState(
            reference=str(COMMAND.call_id), line=LINE, customer=CUSTOMER, whisper=COMMAND.whisper, language="de"
        )
        # Neither a number nor a name can be read in it.
        assert not [word for word in (CUSTOMER[1:], "Alpenlicht", "private") if word in body[name]]


async def test_our_request_and_the_answers_are_as_the_vendor_documents_them() -> None:
    operations = twilio()["paths"][CALLS]
    _, request = await placed({"status": 201, "body": CALL})
    schema = operations["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
    assert set(request["body"]) <= set(schema["properties"])
    assert errors(schema, request["body"] | {"Timeout": int(request["body"]["Timeout"])}) == []
    assert errors(answer_schema(operations["post"], "201"), CALL) == []
    _, urls = await followed(CALL_SID, CALL, {"calls": [CHILD]})
    parameters = {p["name"] for p in operations["get"]["parameters"]}
    assert {name for url in urls for name in parse_qs(urlsplit(url).query)} <= parameters


async def test_an_answer_without_a_call_leaves_it_open_whether_there_is_one() -> None:
    for body in ({}, {"sid": None}, {"sid": "SM1"}, [], "x"):
        with pytest.raises(OutcomeUnknown):
            await placed({"status": 201, "body": body})


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        (21211, Rejected, "bad_number"),
        (21214, Rejected, "bad_number"),
        (21215, Rejected, "country_not_enabled"),
        (21216, Rejected, "blocked"),
        (21219, Rejected, "number_not_verified"),
        (21210, InboxBroken, "bad_sender"),
    ],
)
async def test_a_code_of_the_vendor_decides(code: int, error: type[Exception], reason: str) -> None:
    with pytest.raises(error) as caught:
        await placed({"status": 400, "body": {"code": code, "message": "private", "status": 400}})
    assert caught.value.code == reason  # type: ignore[attr-defined]


async def test_without_an_address_for_webhooks_nobody_is_called() -> None:
    with pytest.raises(InboxMisconfigured):
        await placed({"status": 201, "body": CALL}, hook_url="")


async def test_a_call_is_followed_on_both_of_its_sides() -> None:
    told, urls = await followed(CALL_SID, CALL | {"status": "completed", "duration": "61"}, {"calls": [CHILD]})
    assert urls == [f"{API}/Calls/{CALL_SID}.json", f"{API}/Calls.json?ParentCallSid={CALL_SID}&PageSize=20"]
    shown = [(t.leg, t.state, t.seconds, t.external_id) for t in told]
    assert shown == [
        ("agent", "completed", 61, CALL_SID),
        ("agent", "confirmed", None, CALL_SID),
        ("customer", "completed", 42, CHILD["sid"]),
    ]
    assert {t.reference for t in told} == {str(COMMAND.call_id)}


async def test_a_lost_call_is_found_by_its_numbers_and_its_time() -> None:
    def at(seconds: int, sid: int) -> dict[str, Any]:
        created = (BEGUN + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S +0000")
        return CALL | {"sid": f"CA{sid:032x}", "date_created": created, "status": "ringing"}

    told, urls = await followed(None, {"calls": [at(90, 3), at(1, 2), at(-600, 1)]}, {"calls": []})
    assert urls[0] == f"{API}/Calls.json?To=%2B493023125001&From=%2B493023125100&PageSize=20"
    assert [(t.state, t.external_id) for t in told] == [("ringing", f"CA{2:032x}")]
    told, _ = await followed(None, {"calls": [at(-600, 1)]})
    assert told == []
    told, _ = await followed(None, {"calls": "no list"})
    assert told == []


async def test_hanging_up_what_is_over_already_is_no_error() -> None:
    for answer in ({"status": 200, "body": CALL}, {"status": 400, "body": {"code": 21220}}):
        vendor = Vendor([answer])
        async with vendor.client() as http:
            await outbound.hang_up(http, CALL_SID, ACCOUNT, INBOX)
        assert vendor.requests[0]["url"] == f"{API}/Calls/{CALL_SID}.json"
        assert vendor.requests[0]["body"] == {"Status": "completed"}
    async with Vendor([{"status": 400, "body": {"code": 21211}}]).client() as http:
        with pytest.raises(Rejected):
            await outbound.hang_up(http, CALL_SID, ACCOUNT, INBOX)


def a_state(whisper: str = "Hallo") -> CallState:
    return CallState(reference=str(UUID(int=1)), line=LINE, customer=CUSTOMER, whisper=whisper, language="de")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_a_state_comes_back_as_it_was_while_the_token_is_being_changed(whisper: str) -> None:
    newest, older = ACCOUNT.secrets["auth_token"]
    sealed = seal(a_state(whisper), replace(ACCOUNT, secrets={"auth_token": [older]}))
    assert unseal(sealed, ACCOUNT) == a_state(whisper)
    with pytest.raises(BadPayload):
        unseal(sealed, replace(ACCOUNT, secrets={"auth_token": [newest]}))


@given(place=st.integers(0, 200), by=st.integers(1, 255))
def test_an_altered_state_is_refused(place: int, by: int) -> None:
    sealed = seal(a_state(), ACCOUNT)
    letters = bytearray(base64.urlsafe_b64decode(sealed))
    letters[place % len(letters)] ^= by
    for altered in (base64.urlsafe_b64encode(letters).decode(), sealed[:place], sealed[1:], "ä"):
        with pytest.raises(BadPayload):
            unseal(altered, ACCOUNT)


def test_the_longest_whisper_fits_into_an_address() -> None:
    whisper = "折" * 200
    assert len(seal(a_state(whisper), ACCOUNT)) < 2000


@pytest.mark.parametrize("language", sorted(SPEECH))
def test_a_line_speaks_every_language_of_its_agents(language: str) -> None:
    words = SPEECH[language]
    assert words.code.startswith(f"{language}-")
    assert "1" in words.press
    assert all((words.absent, words.busy, words.failed, words.called_back))
