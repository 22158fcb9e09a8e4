"""Messenger's webhooks beyond the payload tables: both secrets, raw bytes, sizes, and what makes an item known."""

import hashlib
import hmac
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from shared.channels.contract import BadItem, Hook, Item
from shared.channels.messenger import channel
from shared.errors import BadSignature
from tests.channels.messenger.sample import ACCOUNT, OTHER_PAGE, PAGE, PSID, sign
from tests.channels.tables import a_hook

AT = 1785747600123


def an_item(page: str = PAGE, psid: str = PSID, **what: Any) -> dict[str, Any]:
    return {"sender": {"id": psid}, "recipient": {"id": page}, "timestamp": AT, **what}


def a_message(mid: str, text: str = "Hallo", page: str = PAGE) -> dict[str, Any]:
    return an_item(page, message={"mid": mid, "text": text})


def a_body(*items: Any, page: str = PAGE) -> dict[str, Any]:
    return {"object": "page", "entry": [{"id": page, "time": AT, "messaging": list(items)}]}


def received(*items: Any) -> list[Item | BadItem]:
    return list(channel.receive(a_hook(a_body(*items)), ACCOUNT).items)


def keys(*items: Any) -> list[str]:
    return [item.data.keys[0] for item in received(*items)]


@pytest.mark.parametrize("secret", ACCOUNT.secrets["app_secret"])
def test_both_secrets_hold_while_one_replaces_the_other(secret: str) -> None:
    hook = a_hook(a_body(a_message("m_1")))
    digest = hmac.new(secret.encode(), hook.body, hashlib.sha256).hexdigest()
    channel.verify(replace(hook, headers={"x-hub-signature-256": f"sha256={digest}"}), ACCOUNT)


def test_a_body_that_a_proxy_wrote_anew_is_refused() -> None:
    escaped = a_hook(json.dumps(a_body(a_message("m_1", "äöå 1/2"))).replace("/", "\\/"))
    signed = sign(escaped)
    channel.verify(signed, ACCOUNT)
    rewritten = json.dumps(json.loads(signed.body), ensure_ascii=False).encode()
    with pytest.raises(BadSignature):
        channel.verify(replace(signed, body=rewritten), ACCOUNT)


@pytest.mark.parametrize("query", [{}, {"hub.mode": "subscribe"}, {"hub.mode": "unsubscribe"}])
def test_a_handshake_lacks_nothing(query: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        channel.verify(a_hook("", "GET", {"hub.verify_token": "", **query}), ACCOUNT)


def test_an_account_without_a_verify_token_shakes_no_hand() -> None:
    hook = a_hook("", "GET", {"hub.mode": "subscribe", "hub.verify_token": ""})
    with pytest.raises(BadSignature):
        channel.verify(hook, replace(ACCOUNT, secrets={}))


def test_a_bad_item_keeps_its_bytes_and_its_neighbours_go_on() -> None:
    good, bad = a_message("m_1"), an_item(message={"text": "no id"})
    first, second, third = received(good, bad, a_message("m_2"))
    assert isinstance(second, BadItem)
    assert json.loads(second.raw) == bad
    assert isinstance(first, Item)
    assert json.loads(first.data.raw) == good
    assert isinstance(third, Item)


def test_no_place_in_a_batch_is_better_than_another() -> None:
    items = [a_message(f"m_{n}") for n in range(40)] + ["bad", 5, None, {}]
    random.Random(3).shuffle(items)
    found = received(*items)
    assert [isinstance(item, Item) for item in found] == [isinstance(raw, dict) and bool(raw) for raw in items]
    assert {item.data.keys[0] for item in found if isinstance(item, Item)} == {f"message:m_{n}" for n in range(40)}


def test_a_batch_of_a_thousand_over_two_pages_is_read_whole() -> None:
    entries = [
        *a_body(*(a_message(f"a_{n}") for n in range(500)))["entry"],
        *a_body(*(a_message(f"b_{n}", page=OTHER_PAGE) for n in range(500)), page=OTHER_PAGE)["entry"],
    ]
    found = channel.receive(a_hook({"object": "page", "entry": entries}), ACCOUNT).items
    assert [item.address for item in found] == [PAGE] * 500 + [OTHER_PAGE] * 500


def test_a_lone_surrogate_in_one_message_changes_no_other() -> None:
    broken, whole = received(a_message("m_1", "\ud83d"), a_message("m_2", "😀 ä"))
    assert (broken.data.text, whole.data.text) == ("?", "😀 ä")
    # What came is kept as it came.
    assert json.loads(broken.data.raw)["message"]["text"] == "\ud83d"


def test_what_happens_to_a_message_is_no_repetition_of_it() -> None:
    about = {"mid": "m_1"}
    found = keys(
        an_item(message={**about, "text": "Hi"}),
        an_item(message={**about, "is_deleted": True}),
        an_item(message_edit={**about, "text": "Hi!", "num_edit": 1}),
        an_item(message_edit={**about, "text": "Hi?", "num_edit": 2}),
        an_item(reaction={**about, "action": "react"}),
        an_item(reaction={**about, "action": "unreact"}),
        {**an_item(message={**about, "is_echo": True}), "sender": {"id": PAGE}, "recipient": {"id": PSID}},
    )
    assert len(set(found)) == len(found) == 7


def test_watermarks_are_known_by_person_state_and_instant() -> None:
    first, again, read, other = keys(
        an_item(delivery={"watermark": AT}),
        an_item(delivery={"watermark": AT}),
        an_item(read={"watermark": AT}),
        an_item(psid="5", read={"watermark": AT}),
    )
    assert first == again
    assert len({first, read, other}) == 3


def test_a_receipt_of_many_messages_is_known_by_a_short_key() -> None:
    mids = [f"m_{n:090d}" for n in range(200)]
    (item,) = received(an_item(delivery={"watermark": AT, "mids": mids}))
    assert item.data.external_ids == mids
    assert len(item.data.keys[0]) < 100


def test_an_echo_is_ours_only_by_our_own_app() -> None:
    def an_echo(**more: object) -> Hook:
        item = {**an_item(message={"mid": "m_1", "is_echo": True, **more}), "sender": {"id": PAGE}}
        return a_hook(a_body({**item, "recipient": {"id": PSID}}))

    for settings, more, ours in (
        (ACCOUNT.settings, {"app_id": 263902037430900}, True),
        (ACCOUNT.settings, {"app_id": "263902037430900"}, True),
        (ACCOUNT.settings, {"app_id": 7}, False),
        (ACCOUNT.settings, {}, False),
        ({}, {}, False),
        ({}, {"app_id": ""}, False),
    ):
        (item,) = channel.receive(an_echo(**more), replace(ACCOUNT, settings=settings)).items
        assert item.data.ours is ours


def test_everything_of_one_person_is_in_one_lane() -> None:
    echo = {**an_item(message={"mid": "m_2", "is_echo": True}), "sender": {"id": PAGE}, "recipient": {"id": PSID}}
    found = received(
        a_message("m_1"), echo, an_item(read={"watermark": AT}), an_item(reaction={"mid": "m_1", "action": "react"})
    )
    assert {item.lane for item in found} == {PSID}
