"""Windows, keywords, countries, where files are: what the payload tables cannot show."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.channels.contract import Channel
from shared.channels.media import expressible
from shared.channels.registry import channel
from shared.channels.twilio import sms, whatsapp
from shared.channels.twilio.inbound import NOTHING_TO_SAY, country_of
from shared.channels.twilio.keywords import change_of
from shared.channels.twilio.rules import Context
from shared.errors import InboxMisconfigured, Rejected
from shared.events import Attachment, OptOutChanged
from tests.channels.tables import a_hook, a_reply, encoded, sample_of
from tests.channels.twilio.sample import an_account, an_inbox

AT = datetime(2026, 8, 3, 9, 0, tzinfo=UTC)
DRAFT = a_reply("twilio_whatsapp", Context(to="+4917604069001", at=AT).encode(), "Hallo")
BOTH = pytest.mark.parametrize("it", [whatsapp, sms], ids=lambda it: it.name)


def test_whatsapp_is_open_for_a_day_less_a_margin() -> None:
    inbox = an_inbox("twilio_whatsapp")
    open_ = whatsapp.may_write(DRAFT, inbox, AT + timedelta(hours=23, minutes=54))
    assert open_.allowed
    assert open_.until == AT + timedelta(hours=23, minutes=55)
    closed = whatsapp.may_write(DRAFT, inbox, AT + timedelta(hours=23, minutes=55))
    assert (closed.allowed, closed.reason) == (False, "window_closed")
    assert "templates are not supported yet" in closed.sentence


def test_sms_is_open_at_any_time() -> None:
    permission = sms.may_write(DRAFT, an_inbox("twilio_sms"), AT + timedelta(days=400))
    assert permission.allowed
    assert permission.until is None


@BOTH
def test_nobody_is_written_to_who_never_wrote(it: Channel) -> None:
    for context in (
        b"",
        b"{}",
        b'{"to": "", "at": "2026-08-03T09:00:00Z"}',
        b'{"to": "+1", "at": "2026-08-03T09:00:00"}',
    ):
        draft = replace_context(context)
        assert it.may_write(draft, an_inbox(it.name), AT).reason == "no_reply_context"
        with pytest.raises(Rejected):
            it.render(draft)


def replace_context(context: bytes) -> object:
    return a_reply("twilio_sms", context.decode(), "Hallo")


@BOTH
def test_the_answer_is_a_document_without_words_for_the_customer(it: Channel) -> None:
    for body in (
        {"MessageSid": "SM" + "0" * 32, "From": "+1", "To": "+2"},
        {"MessageSid": "SM" + "0" * 32, "MessageStatus": "sent"},
    ):
        answer = it.receive(a_hook(encoded(it.name, body)), an_account(it.name)).answer
        assert answer == NOTHING_TO_SAY
        assert answer.media_type.startswith("text/xml")
        assert answer.body == b'<?xml version="1.0" encoding="UTF-8"?><Response />'


@pytest.mark.parametrize(
    "word",
    ["STOP", "stop.", " Stop ", "„Stopp!“", "ABMELDEN", "Arrêt", "ARRET", "désabonner", "Baja", "Cancellami",
     "afmelden", "WYPISZ", "Sair", "Avsluta", "LOPETA", "配信停止", "s\u200btop"],
)  # fmt: skip
@pytest.mark.parametrize("vendor_blocks", [True, False])
def test_words_that_stop_everywhere(word: str, vendor_blocks: bool) -> None:
    assert change_of(word, "", vendor_blocks=vendor_blocks) == "stop"


@pytest.mark.parametrize("word", ["CANCEL", "End", "quit", "Revoke"])
def test_words_that_stop_only_where_the_vendor_blocks(word: str) -> None:
    assert change_of(word, "", vendor_blocks=True) == "stop"
    assert change_of(word, "", vendor_blocks=False) is None


@pytest.mark.parametrize(
    "text", ["", "Stop it", "stop " * 20, "Stoppt bitte", "Yes please", "help", "ende", "Basta così"]
)
def test_other_texts_change_nothing(text: str) -> None:
    assert change_of(text, "", vendor_blocks=True) is None
    assert change_of(text, "HELP", vendor_blocks=True) is None


def test_the_vendors_word_outweighs_ours() -> None:
    assert change_of("Hola", "STOP", vendor_blocks=True) == "stop"
    assert change_of("stop", "START", vendor_blocks=True) == "start"


def test_ten_pictures_in_ten_milliseconds_are_ten_messages_of_one_lane() -> None:
    facts = []
    for n in range(10):
        body = {
            "MessageSid": f"MM{n:032x}", "From": "whatsapp:+4917604069001", "To": "whatsapp:+15550001111", "Body": "",
            "NumMedia": "1", "MediaUrl0": f"https://api.twilio.com/m/{n}", "MediaContentType0": "image/jpeg",
        }  # fmt: skip
        hook = replace(a_hook(encoded("twilio_whatsapp", body)), received_at=AT + timedelta(milliseconds=n))
        facts += whatsapp.receive(hook, an_account("twilio_whatsapp")).items
    assert {item.lane for item in facts} == {"+4917604069001"}
    assert len({item.data.keys[0] for item in facts}) == 10
    assert [item.data.occurred_at for item in facts] == sorted(item.data.occurred_at for item in facts)


def test_a_status_that_is_told_again_is_known_by_the_same_key_and_another_is_not() -> None:
    def keys(**more: str) -> list[str]:
        body = {"MessageSid": "SM" + "a" * 32, "From": "+15550001111", "To": "+4917604069001"} | more
        (item,) = sms.receive(a_hook(encoded("twilio_sms", body)), an_account("twilio_sms")).items
        assert not isinstance(item.data, OptOutChanged)
        return list(item.data.keys)

    failed = {"MessageStatus": "failed", "ErrorCode": "30003"}
    assert keys(**failed) == keys(**failed, RawDlrDoneDate="2608031200")
    assert keys(**failed) != keys(**failed | {"ErrorCode": "30005"}) != keys(MessageStatus="delivered")


@pytest.mark.parametrize(
    ("status", "states"),
    [
        ("accepted", []), ("scheduled", []), ("queued", []), ("sending", []), ("sent", ["sent"]),
        ("delivered", ["delivered"]), ("read", ["read"]), ("undelivered", ["failed"]),
        ("failed", ["failed"]), ("canceled", ["failed"]),
        ("partially_delivered", []), ("new", []),
    ],
)  # fmt: skip
def test_what_each_status_tells(status: str, states: list[str]) -> None:
    body = {"MessageSid": "SM" + "a" * 32, "From": "+15550001111", "To": "+4917604069001", "MessageStatus": status}
    items = sms.receive(a_hook(encoded("twilio_sms", body)), an_account("twilio_sms")).items
    assert [item.data.state for item in items] == states


@pytest.mark.parametrize(
    ("value", "country"),
    [("+4917604069001", "DE"), ("+12025550123", "US"), ("+447700900123", "GB"), ("+35312345678", "IE"),
     ("+80012345678", None), ("+21012345678", None), ("US.1349", "US"), ("us.1349", None), ("70800", None),
     ("PAKET.DE", None)],
)  # fmt: skip
def test_the_country_of_an_address(value: str, country: str | None) -> None:
    assert country_of(value) == country


async def test_files_are_fetched_with_credentials_from_the_api_alone() -> None:
    account = an_account("twilio_whatsapp")
    found = Attachment(kind="image", url="https://api.twilio.com/2010-04-01/x")
    source = await whatsapp.locate(None, found, account, an_inbox("twilio_whatsapp"))
    assert source.hosts == {"api.twilio.com"}
    assert source.headers["Authorization"].startswith("Basic ")
    assert source.headers["Authorization"] not in repr(source)
    regional = replace(account, settings={**account.settings, "api_url": "https://api.dublin.ie1.twilio.com"})
    assert (await whatsapp.locate(None, found, regional, an_inbox("x"))).hosts == {
        "api.twilio.com", "api.dublin.ie1.twilio.com",
    }  # fmt: skip
    elsewhere = replace(account, settings={**account.settings, "api_url": "http://127.0.0.1:8080/sandbox/twilio/"})
    assert (await whatsapp.locate(None, found, elsewhere, an_inbox("x"))).hosts == {"127.0.0.1:8080"}
    with pytest.raises(Rejected):
        await whatsapp.locate(None, replace_url(found), account, an_inbox("x"))
    with pytest.raises(InboxMisconfigured):
        await whatsapp.locate(None, found, replace(account, secrets={}), an_inbox("x"))


def replace_url(attachment: Attachment) -> Attachment:
    return Attachment(kind=attachment.kind, url="")


def test_sms_writes_where_a_file_is_unless_its_number_sends_files() -> None:
    picture = {"kind": "image", "sha256": "a" * 64, "size": 1000, "name": "a.png"}
    reply = a_reply("twilio_sms", sample_of("twilio_sms").REPLY_CONTEXT, "Hier:", [picture])
    assert expressible(reply, sms, an_inbox("twilio_sms", mms=True), lambda _: "https://x") == reply
    written = expressible(reply, sms, an_inbox("twilio_sms"), lambda _: "https://files.example.com/a")
    assert written.text == "Hier:\n\na.png: https://files.example.com/a"
    assert written.attachments == []
    large = a_reply("twilio_sms", sample_of("twilio_sms").REPLY_CONTEXT, "", [picture | {"size": 5_000_001}])
    assert expressible(large, sms, an_inbox("twilio_sms", mms=True), lambda _: "https://x").attachments == []


@pytest.mark.parametrize(
    ("media_type", "size", "is_media"),
    [("image/png", 5_000_000, True), ("image/png", 5_000_001, False), ("image/gif", 1000, False)],
)
def test_whatsapp_takes_pictures_of_some_kinds_up_to_a_size(media_type: str, size: int, is_media: bool) -> None:
    picture = {"kind": "image", "sha256": "a" * 64, "size": size, "media_type": media_type}
    reply = a_reply("twilio_whatsapp", sample_of("twilio_whatsapp").REPLY_CONTEXT, "Hier:", [picture])
    carried = expressible(reply, whatsapp, an_inbox("twilio_whatsapp"), lambda _: "https://files.example.com/a")
    assert bool(carried.attachments) is is_media
    assert carried.text == ("Hier:" if is_media else "Hier:\n\nhttps://files.example.com/a")


def test_both_are_channels_of_the_registry() -> None:
    assert channel("twilio_whatsapp") is whatsapp
    assert channel("twilio_sms") is sms
    assert whatsapp.address_kind == sms.address_kind == "phone"
