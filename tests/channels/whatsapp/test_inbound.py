"""WhatsApp's webhooks beyond the payload tables: batches, people with and without a number, what is known once."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.channels.contract import BadItem, Item
from shared.channels.meta.graph import COMMON
from shared.channels.whatsapp import channel
from shared.channels.whatsapp.verdicts import CODES
from shared.errors import BadSignature
from shared.events import MessageReceived, ReceiptReceived, Unrecognised
from tests.channels.tables import a_hook
from tests.channels.whatsapp.sample import ACCOUNT, NUMBER, OTHER_NUMBER, USER, sign

AT = "1785747600"
WA_ID = "5511999998888"


def a_value(number: str = NUMBER, **what: Any) -> dict[str, Any]:
    metadata = {"display_phone_number": "15550783881", "phone_number_id": number}
    return {"messaging_product": "whatsapp", "metadata": metadata, **what}


def a_body(*values: Any, field: str = "messages") -> dict[str, Any]:
    changes = [{"field": field, "value": value} for value in values]
    return {"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": changes}]}


def a_message(id_: str = "wamid.1", text: str = "Oi", **more: Any) -> dict[str, Any]:
    return {"from": WA_ID, "id": id_, "timestamp": AT, "type": "text", "text": {"body": text}, **more}


def received(*values: Any, field: str = "messages") -> list[Item | BadItem]:
    return list(channel.receive(a_hook(a_body(*values, field=field)), ACCOUNT).items)


def test_no_place_in_a_batch_is_better_than_another() -> None:
    messages = [a_message(f"wamid.{n}") for n in range(40)] + ["bad", 5, None, {}]
    random.Random(3).shuffle(messages)
    found = received(a_value(messages=messages))
    assert [isinstance(item, Item) for item in found] == [isinstance(raw, dict) and bool(raw) for raw in messages]
    assert {i.data.keys[0] for i in found if isinstance(i, Item)} == {f"message:wamid.{n}" for n in range(40)}


def test_a_batch_of_a_thousand_over_two_numbers_is_read_whole() -> None:
    values = [
        a_value(number, messages=[a_message(f"wamid.{number}.{n}") for n in range(500)])
        for number in (NUMBER, OTHER_NUMBER)
    ]
    assert [item.address for item in received(*values)] == [NUMBER] * 500 + [OTHER_NUMBER] * 500


def test_a_bad_item_keeps_its_bytes_and_its_neighbours_go_on() -> None:
    bad = a_message(text=5)  # type: ignore[arg-type]
    first, second, third = received(a_value(messages=[a_message("wamid.1"), bad, a_message("wamid.2")]))
    assert isinstance(second, BadItem)
    assert json.loads(second.raw) == bad
    assert isinstance(first, Item)
    assert json.loads(first.data.raw) == a_message("wamid.1")  # type: ignore[union-attr]
    assert isinstance(third, Item)


def test_a_body_that_a_proxy_wrote_anew_is_refused() -> None:
    signed = sign(a_hook(json.dumps(a_body(a_value(messages=[a_message(text="äöå 1/2")]))).replace("/", "\\/")))
    channel.verify(signed, ACCOUNT)
    with pytest.raises(BadSignature):
        channel.verify(replace(signed, body=json.dumps(json.loads(signed.body), ensure_ascii=False).encode()), ACCOUNT)


def one(message: dict[str, Any], contacts: list[Any] | None = None) -> MessageReceived:
    (item,) = received(a_value(messages=[message], contacts=contacts or []))
    assert isinstance(item, Item)
    assert isinstance(item.data, MessageReceived)
    return item.data


def identities(data: MessageReceived) -> list[tuple[str, str]]:
    return [(address.kind, address.value) for address in (data.sender, *data.also)]


def test_a_number_is_the_same_identity_as_on_other_channels() -> None:
    both = [("phone", f"+{WA_ID}"), ("whatsapp", USER)]
    assert identities(one(a_message())) == both[:1]
    assert identities(one(a_message(from_user_id=USER))) == both
    assert identities(one(a_message(**{"from": f"+{WA_ID}"}))) == both[:1]
    # What the message leaves out its contact may tell.
    assert identities(one(a_message(), [{"wa_id": WA_ID, "user_id": USER}])) == both


def test_whoever_hides_the_number_is_known_by_the_id_alone() -> None:
    hidden = a_message(from_user_id=USER)
    del hidden["from"]
    assert identities(one(hidden, [{"user_id": USER}])) == [("whatsapp", USER)]
    assert identities(one(a_message(**{"from": USER}), [{"wa_id": USER}])) == [("whatsapp", USER)]
    assert identities(one(hidden, [{"user_id": USER, "wa_id": WA_ID}])) == [("phone", f"+{WA_ID}"), ("whatsapp", USER)]


@given(phone=st.none() | st.text(max_size=30), user_id=st.none() | st.text(max_size=30))
def test_whatever_names_somebody_gives_one_address_or_two_of_different_kinds(
    phone: str | None, user_id: str | None
) -> None:
    ids = {"from": phone, "from_user_id": user_id}
    (item,) = received(a_value(messages=[a_message(**ids)]))
    if isinstance(item, BadItem):
        assert item.code == "no_sender"
        return
    kinds = [kind for kind, _ in identities(item.data)]  # type: ignore[arg-type]
    assert kinds in (["phone"], ["whatsapp"], ["phone", "whatsapp"])


def test_what_happens_to_a_message_is_no_repetition_of_it() -> None:
    statuses = [
        {"id": "wamid.1", "status": state, "timestamp": AT, "recipient_id": WA_ID}
        for state in ("sent", "delivered", "read", "played", "failed")
    ]
    echo = {"from": "15550783881", "to": WA_ID, "id": "wamid.1", "timestamp": AT, "type": "text", "text": {"body": "a"}}
    found = [
        *received(a_value(messages=[a_message("wamid.1")], statuses=statuses)),
        *received(a_value(message_echoes=[echo]), field="smb_message_echoes"),
    ]
    known = {item.data.keys[0] for item in found if isinstance(item, Item)}
    assert len(known) == len(found) == 7


def test_everything_of_one_person_is_in_one_lane() -> None:
    reaction = {"from": WA_ID, "id": "wamid.2", "timestamp": AT, "type": "reaction", "reaction": {"emoji": "👍"}}
    status = {"id": "wamid.3", "status": "read", "timestamp": AT, "recipient_id": WA_ID}
    found = received(a_value(messages=[a_message(), reaction, a_message("wamid.4", type="poll")], statuses=[status]))
    assert {item.lane for item in found if isinstance(item, Item)} == {f"+{WA_ID}"}
    assert len(found) == 4


def test_a_reaction_is_shown_and_waits_for_no_answer() -> None:
    data = one({"from": WA_ID, "id": "w", "timestamp": AT, "type": "reaction", "reaction": {"emoji": "👍"}})
    # It neither restarts the day for free answers nor becomes what a reply quotes.
    assert (data.text, data.automatic, data.reply_context) == ("👍", True, b"")


@pytest.mark.parametrize("code", [code for code, subcode in CODES if subcode is None])
def test_a_late_failure_is_named_as_the_same_failure_at_once(code: int) -> None:
    failed = {"id": "w", "status": "failed", "timestamp": AT, "recipient_id": WA_ID, "errors": [{"code": code}]}
    (item,) = received(a_value(statuses=[failed]))
    assert isinstance(item, Item)
    assert isinstance(item.data, ReceiptReceived)
    assert item.data.code == CODES[(code, None)][1]


def test_what_all_graph_products_may_answer_means_the_same_here() -> None:
    assert COMMON.items() <= CODES.items()


def test_errors_beside_a_message_belong_to_it_and_alone_to_the_number() -> None:
    errors = [{"code": 131051, "title": "Unsupported"}]
    assert [type(i.data) for i in received(a_value(messages=[a_message()], errors=errors))] == [MessageReceived]  # type: ignore[union-attr]
    (alone,) = received(a_value(errors=errors))
    assert isinstance(alone, Item)
    assert isinstance(alone.data, Unrecognised)
    assert (alone.data.what, alone.data.sender) == ("error_131051", None)
