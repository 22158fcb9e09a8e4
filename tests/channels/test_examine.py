"""The questions that tell whether an account works: what each asks, and what it makes of the vendor's answers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from shared.accounts import Account
from shared.channels.contract import Channel
from shared.channels.http import client
from shared.channels.registration import compared
from shared.channels.registry import CHANNELS, channel
from shared.checks import answered_in_turn
from tests.channels.messenger.sample import PAGE
from tests.channels.tables import HOOK_URL, Vendor, sample_of

OVER_HTTP = [it for it in CHANNELS if it.examine is not None and it.connect is client]
SID, NUMBER, LINE = "AC00000000000000000000000000000001", "+15550001111", "+493023125100"
TWILIO = f"https://api.twilio.com/2010-04-01/Accounts/{SID}"
GRAPH, SHOP = "https://graph.facebook.com/v25.0", "https://market-prod.mirakl.example"
FIELDS = ["messages", "message_echoes", "messaging_postbacks", "message_deliveries", "message_reads"]
WA_ID = "106540352242922"


def an_account(name: str, inbox_settings: Mapping[str, Any] | None = None, **settings: Any) -> Account:
    """The sample's, with its first inbox alone."""
    sample = sample_of(name)
    inbox = replace(sample.INBOX, settings={**sample.INBOX.settings, **(inbox_settings or {})})
    return replace(sample.ACCOUNT, settings={**sample.ACCOUNT.settings, **settings}, inboxes={inbox.address: inbox})


async def examined(
    it: Channel, account: Account, answers: Sequence[Any]
) -> tuple[dict[str, str], list[str], list[str]]:
    """Verdicts by check, what was said, and what was asked; an answer without a status is a good one."""
    vendor = Vendor([a if "body" in a else {"status": 200, "body": a} for a in answers])
    assert it.examine is not None
    async with vendor.client() as http:
        lines = await answered_in_turn(it.examine(http, account, [HOOK_URL]))
    said = [line.finding.says for line in lines]
    assert all(line.finding.to_do for line in lines if line.finding.verdict in ("wrong", "warning"))
    return {line.check: line.finding.verdict for line in lines}, said, [r["url"] for r in vendor.requests]


def subscribed(product: str, **change: Any) -> dict[str, Any]:
    names = [{"name": name, "version": "v25.0"} for name in FIELDS]
    entry = {"object": product, "callback_url": HOOK_URL, "active": True, "fields": names} | change
    return {"data": [{"object": "user", "callback_url": "https://a.example", "active": True, "fields": []}, entry]}


def a_number(number: str = NUMBER, **change: Any) -> dict[str, Any]:
    known = {
        "phone_number": number, "sms_url": f"{HOOK_URL}#rc=5&rp=all", "sms_method": "POST", "sms_application_sid": "",
        "voice_url": HOOK_URL, "voice_method": "POST", "voice_application_sid": None, "trunk_sid": None,
    }  # fmt: skip
    return {"incoming_phone_numbers": [known | change], "page": 0}


def error(code: int, status: int = 400) -> dict[str, Any]:
    return {"status": status, "body": {"error": {"code": code, "message": "Told to nobody"}}}


APP = "263902037430900"
APPS = {"data": [{"id": "1"}, {"id": APP, "subscribed_fields": FIELDS}]}
WA_APPS = {"data": [{"whatsapp_business_api_data": {"id": APP, "name": "a", "link": "b"}}]}
ACTIVE = {"sid": SID, "status": "active", "auth_token": "told to nobody"}
GOOD: dict[str, tuple[Account, list[Any], list[str]]] = {
    "messenger": (
        an_account("messenger"), [subscribed("page"), {"id": PAGE}, APPS],
        [f"{GRAPH}/{APP}/subscriptions", f"{GRAPH}/me?fields=id", f"{GRAPH}/{PAGE}/subscribed_apps"],
    ),
    "whatsapp": (
        an_account("whatsapp", {"business_account": "77"}, app_id=APP),
        [subscribed("whatsapp_business_account"), {"id": WA_ID, "quality_rating": "GREEN"}, WA_APPS],
        [f"{GRAPH}/{APP}/subscriptions", f"{GRAPH}/{WA_ID}", f"{GRAPH}/77/subscribed_apps"],
    ),
    "mirakl": (
        an_account("mirakl"), [{"data": []}], [f"{SHOP}/api/inbox/threads?shop_id=2001&limit=10"],
    ),
    "twilio_whatsapp": (an_account("twilio_whatsapp"), [ACTIVE], [f"{TWILIO}.json"]),
    "twilio_sms": (
        an_account("twilio_sms"), [ACTIVE, a_number()],
        [f"{TWILIO}.json", f"{TWILIO}/IncomingPhoneNumbers.json?PhoneNumber=%2B15550001111"],
    ),
    "phone": (
        an_account("phone"), [ACTIVE, a_number(LINE)],
        [f"{TWILIO}.json", f"{TWILIO}/IncomingPhoneNumbers.json?PhoneNumber=%2B493023125100"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [it.name for it in OVER_HTTP])
async def test_an_account_that_works_is_well_after_few_questions(name: str) -> None:
    account, answers, urls = GOOD[name]
    verdicts, _, asked = await examined(channel(name), account, answers)
    assert set(verdicts.values()) <= {"well", "skipped"}
    assert asked == urls


# Which answer is another one, what it is, the check that tells, and how.
WRONG: list[tuple[str, int, Any, str, str]] = [
    ("messenger", 0, subscribed("page", active=False), "webhooks", "no active subscription"),
    ("messenger", 0, {"data": []}, "webhooks", "no active subscription"),
    ("messenger", 0, subscribed("page", callback_url="https://a.example/x"), "webhooks", "go to https://a.example"),
    ("messenger", 0, subscribed("page", callback_url=HOOK_URL + "x"), "webhooks", "another path or token"),
    ("messenger", 0, subscribed("page", callback_url=""), "webhooks", "no webhook address"),
    ("messenger", 0, subscribed("page", fields=["messages"]), "webhooks", "message_deliveries"),
    ("messenger", 0, error(190, 401), "webhooks", "token_invalid"),
    ("messenger", 1, {"id": "another"}, f"page {PAGE}", "another page"),
    ("messenger", 1, error(190, 401), f"page {PAGE}", "token_invalid"),
    ("messenger", 2, {"data": [{"id": "1"}]}, f"webhooks of page {PAGE}", "not subscribed to the app"),
    ("messenger", 2, {"data": [{"id": APP}]}, f"webhooks of page {PAGE}", "does not send message_deliveries"),
    ("whatsapp", 1, error(100), f"number {WA_ID}", "bad_parameter"),
    ("whatsapp", 2, {"data": []}, "webhooks of business account 77", "not subscribed to the app"),
    ("mirakl", 0, {"status": 401, "body": ""}, "shop 2001", "credentials"),
    ("mirakl", 0, {"status": 403, "body": ""}, "shop 2001", "messaging permission"),
    ("mirakl", 0, {"status": 200, "body": "<html>"}, "shop 2001", "JSON"),
    ("twilio_sms", 0, ACTIVE | {"status": "suspended"}, "account", "suspended"),
    ("twilio_sms", 1, {"incoming_phone_numbers": []}, f"number {NUMBER}", "no such number"),
    ("twilio_sms", 1, a_number(sms_url=""), f"number {NUMBER}", "no webhook address"),
    ("twilio_sms", 1, a_number(sms_method="GET"), f"number {NUMBER}", "by GET"),
    ("twilio_sms", 1, a_number(sms_application_sid="AP1"), f"number {NUMBER}", "application"),
    ("phone", 1, a_number(LINE, voice_url="https://demo.twilio.com/welcome"), f"number {LINE}", "demo.twilio.com"),
    ("phone", 1, a_number(LINE, trunk_sid="TK1"), f"number {LINE}", "trunk"),
    ("phone", 0, {"status": 401, "body": {"code": 20003, "status": 401}}, "account", "credentials_refused"),
]


@pytest.mark.parametrize(("name", "at", "answer", "check", "says"), WRONG, ids=range(len(WRONG)))
async def test_what_is_wrong_is_said_by_its_check_alone(name: str, at: int, answer: Any, check: str, says: str) -> None:
    account, answers, _ = GOOD[name]
    verdicts, said, _ = await examined(channel(name), account, [*answers[:at], answer, *answers[at + 1 :]])
    assert [it for it, verdict in verdicts.items() if verdict == "wrong"] == [check]
    assert any(says in line for line in said), said


async def test_what_cannot_be_asked_is_left_out_and_says_what_would_help() -> None:
    without_app = an_account("whatsapp")
    verdicts, said, asked = await examined(channel("whatsapp"), without_app, [{"id": WA_ID}])
    assert verdicts == {
        "webhooks": "skipped", f"number {WA_ID}": "well", "webhooks of other business accounts": "skipped",
    }  # fmt: skip
    assert asked == [f"{GRAPH}/{WA_ID}"]
    of_a_service = an_account("twilio_sms", {"messaging_service_sid": "MG1"})
    verdicts, said, _ = await examined(channel("twilio_sms"), of_a_service, [ACTIVE, a_number(sms_url="")])
    assert (verdicts[f"number {NUMBER}"], "Service" in said[-1]) == ("skipped", True)
    red = {"id": WA_ID, "quality_rating": "RED"}
    assert "warning" in (await examined(channel("whatsapp"), without_app, [red]))[0].values()


@pytest.mark.parametrize("it", OVER_HTTP, ids=lambda it: it.name)
@pytest.mark.parametrize("status", [204, 301, 400, 401, 403, 404, 418, 429, 500, 503])
async def test_no_status_but_a_good_one_is_well_and_nothing_private_is_told(it: Channel, status: int) -> None:
    account, _, _ = GOOD[it.name]
    secrets = [value for values in account.secrets.values() for value in values]
    for body in ("", "<html>", "[]", '{"error": 7}', {"message": secrets, "error": {"message": secrets, "code": 4}}):
        verdicts, said, _ = await examined(it, account, [{"status": status, "body": body}])
        assert "well" not in verdicts.values()
        assert not [secret for secret in [*secrets, HOOK_URL] if any(secret in line for line in said)]


def test_an_older_address_is_well_for_as_long_as_its_token_is_there() -> None:
    both = [HOOK_URL, HOOK_URL + "-older"]
    assert [compared(url, both).verdict for url in (HOOK_URL, f"{HOOK_URL}#rc=5", both[1])] == [
        "well", "well", "warning",
    ]  # fmt: skip
    assert compared(HOOK_URL, []).verdict == "wrong"
    assert "http://hooks.example.com:81, " in compared("http://u:p@hooks.example.com:81/", both).says
