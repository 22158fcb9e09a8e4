"""The cast fits the stand-ins, and the demo can be played at any hour."""

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from services.demo.agents import natives
from services.demo.customers import ORDER, cast, command, misbehaviour
from services.demo.scene import zone_by_day
from services.sandbox.commands import MessengerMessage, MiraklMessage, Misbehaviour
from services.sandbox.mail.post import Written
from services.sandbox.twilio.commands import CustomerMessage
from services.sandbox.whatsapp.commands import WhatsAppMessage
from shared.sniffing import media_type_of

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
KINDS = {
    "messenger": MessengerMessage, "whatsapp": WhatsAppMessage, "twilio": CustomerMessage, "mirakl": MiraklMessage,
    "email": Written,
}  # fmt: skip


def test_they_write_on_every_channel_in_eight_languages_that_somebody_speaks() -> None:
    customers = cast()
    assert {c.channel for c in customers} == {
        "messenger", "whatsapp", "twilio_whatsapp", "twilio_sms", "email", "mirakl", "phone",
    }  # fmt: skip
    assert len({c.language for c in customers}) == 8
    assert all(natives(c.language) for c in customers)


def test_everybody_has_an_order_of_their_own() -> None:
    customers = cast()
    assert len({c.order for c in customers}) == len(customers)
    assert all(ORDER.findall(c.text) == [c.order] for c in customers)


def test_what_they_write_is_what_the_stand_ins_take() -> None:
    for customer in cast():
        if customer.fate == "called":
            continue
        path, said = command(customer, NOW)
        for one in said if isinstance(said, list) else [said]:
            msgspec.json.decode(json.dumps(one), type=KINDS[path.partition("/")[0]])


def test_an_album_is_ten_different_pictures() -> None:
    (customer,) = [c for c in cast() if c.pictures]
    _, said = command(customer, NOW)
    files = [msgspec.json.decode(json.dumps(one), type=WhatsAppMessage).file for one in said]
    contents = {file.content for file in files if file is not None}
    assert len(contents) == 10
    assert {media_type_of(content) for content in contents} == {"image/png"}


def test_every_trouble_is_one_that_the_stand_ins_know_and_meets_one_customer_alone() -> None:
    customers = cast()
    troubled = [c for c in customers if c.trouble]
    assert len(troubled) == 4
    for customer in troubled:
        assert customer.trouble is not None
        msgspec.json.decode(json.dumps(misbehaviour(customer, customer.trouble)), type=Misbehaviour)
        assert [c for c in customers if (c.channel, c.inbox) == (customer.channel, customer.inbox)] == [customer]


@pytest.mark.parametrize("month", [1, 7])
@pytest.mark.parametrize("hour", range(24))
def test_at_any_hour_it_is_day_somewhere(month: int, hour: int) -> None:
    now = datetime(2026, month, 15, hour, 59, tzinfo=UTC)
    # The line of the sample configuration calls from 9 to 20; an hour is more than the demo takes.
    assert 9 <= now.astimezone(ZoneInfo(zone_by_day(now))).hour < 19
