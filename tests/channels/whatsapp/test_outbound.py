"""WhatsApp's messages out beyond the payload tables: every verdict, uploads, what leaves as a link, files located."""

import asyncio
import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from shared.channels.contract import Files, Source, Try
from shared.channels.media import expressible
from shared.channels.whatsapp import channel
from shared.channels.whatsapp.verdicts import CODES, VERDICTS
from shared.errors import AccountBroken, DragomanError, OutcomeUnknown, Rejected, Throttled, Unavailable
from shared.events import Attachment
from tests.channels.tables import FAR_AHEAD, REFERENCE, Vendor, a_reply
from tests.channels.whatsapp.sample import ACCEPTED, ACCOUNT, INBOX, NUMBER, OTHER_NUMBER, REPLY_CONTEXT

TAKEN = {"status": 200, "body": ACCEPTED[1]}
CONTENT = b"\x89PNG and more"
PICTURE = {"kind": "image", "name": "a.png", "size": len(CONTENT), "media_type": "image/png", "sha256": "ab" * 32}


@dataclass
class Stored(Files):
    """A brand's file store with one file."""

    error: DragomanError | None = None
    read_: list[str] = field(default_factory=list)

    def link(self, attachment: Attachment) -> str:
        return f"https://ours.example/{attachment.name}"

    async def read(self, attachment: Attachment) -> bytes:
        self.read_.append(attachment.sha256)
        if self.error:
            raise self.error
        return CONTENT


@dataclass
class Wire:
    """Answers by what is asked for, and keeps the requests; None for a connection that breaks."""

    upload: httpx.Response | None
    send: httpx.Response | None = field(default_factory=lambda: httpx.Response(200, json=ACCEPTED[1]))
    requests: list[httpx.Request] = field(default_factory=list)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        found = self.upload if request.url.path.endswith("/media") else self.send
        if found is None:
            raise httpx.ReadError("broken")
        return found

    @property
    def asked(self) -> list[str]:
        return [request.url.path.rpartition("/")[2] for request in self.requests]


async def sent_file(wire: Wire, files: Files | None, **attachment: Any) -> dict[str, Any]:
    """The message that left for a stored file. Raises what `send` raises."""
    (part,) = channel.render(a_reply("whatsapp", REPLY_CONTEXT, "", [PICTURE | attachment]))
    # As the responder keeps it.
    part = replace(part, payload=json.loads(json.dumps(part.payload)))
    attempt = Try(part=part, reference=REFERENCE, started_at=FAR_AHEAD, files=files)
    async with httpx.AsyncClient(transport=httpx.MockTransport(wire.answer)) as http:
        assert await channel.send(http, attempt, ACCOUNT, INBOX) == "wamid.sample"
    found: dict[str, Any] = json.loads(wire.requests[-1].content)
    return found


async def sent(answer: dict[str, Any], account: Any = ACCOUNT, inbox: Any = INBOX) -> dict[str, Any]:
    vendor = Vendor([answer])
    part = channel.render(a_reply("whatsapp", REPLY_CONTEXT, "Bom dia!"))[0]
    async with vendor.client() as http:
        await channel.send(http, Try(part=part, reference=REFERENCE, started_at=FAR_AHEAD), account, inbox)
    return vendor.requests[0]


@pytest.mark.parametrize("codes", CODES, ids=str)
async def test_a_documented_code_decides_whatever_the_status(codes: tuple[int | None, int | None]) -> None:
    code, subcode = codes
    error = {"code": code, "message": "(#x) text of the vendor", "error_subcode": subcode}
    for status in (200, 400, 403, 500):
        with pytest.raises(DragomanError) as caught:
            await sent({"status": status, "body": {"error": error}})
        assert (type(caught.value), caught.value.code) == CODES[codes]
        assert "text of the vendor" not in str(caught.value)


def test_a_code_without_a_line_of_its_own_goes_with_its_range() -> None:
    assert VERDICTS.of(299) == VERDICTS.of(200)
    assert VERDICTS.of(132_069) == (Rejected, "template_refused")
    assert (VERDICTS.of(300), VERDICTS.of(131_999), VERDICTS.of(None)) == (None, None, None)


async def test_host_version_and_number_are_the_configured_ones() -> None:
    account = replace(ACCOUNT, settings={"graph_url": "http://127.0.0.1:8080/graph", "graph_version": "v26.0"})
    request = await sent(TAKEN, account, ACCOUNT.inboxes[OTHER_NUMBER])
    assert request["url"] == f"http://127.0.0.1:8080/graph/v26.0/{OTHER_NUMBER}/messages"
    assert request["headers"]["authorization"] == "Bearer EAAG-token-of-the-system-user"


# files


async def test_a_stored_file_is_uploaded_and_sent_by_its_id() -> None:
    wire = Wire(httpx.Response(200, json={"id": "4490709327384033"}))
    message = await sent_file(wire, Stored())
    assert (message["type"], message["image"]) == ("image", {"id": "4490709327384033"})
    upload = wire.requests[0]
    assert str(upload.url) == f"https://graph.facebook.com/v25.0/{NUMBER}/media"
    assert upload.headers["authorization"] == "Bearer EAAG-token-of-the-system-user"
    body = upload.content
    assert CONTENT in body
    assert b'name="messaging_product"\r\n\r\nwhatsapp' in body
    assert b'name="type"\r\n\r\nimage/png' in body
    assert b'filename="a.png"\r\nContent-Type: image/png' in body


async def test_a_document_keeps_its_name() -> None:
    wire = Wire(httpx.Response(200, json={"id": "7"}))
    message = await sent_file(wire, Stored(), kind="file", name="Rechnung März.pdf", media_type="application/pdf")
    assert message["document"] == {"id": "7", "filename": "Rechnung März.pdf"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, Unavailable),
        (httpx.Response(502, text="<html>"), Unavailable),
        (httpx.Response(500, json={"error": {"code": 131000}}), Unavailable),
        (httpx.Response(200, json={}), Unavailable),
        (httpx.Response(429, text=""), Throttled),
        (httpx.Response(401, json={"error": {"code": 190}}), AccountBroken),
        (httpx.Response(400, json={"error": {"code": 100}}), Rejected),
        (httpx.Response(400, json={"error": {"code": 131053}}), Rejected),
    ],
)
async def test_a_failed_upload_leaves_nothing_in_doubt_and_no_message_leaves(
    answer: httpx.Response | None, expected: type[DragomanError]
) -> None:
    wire = Wire(answer)
    with pytest.raises(DragomanError) as caught:
        await sent_file(wire, Stored())
    assert type(caught.value) is expected
    assert wire.asked == ["media"]


async def test_an_upload_that_never_ends_is_given_up_before_the_call_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.channels.whatsapp.media.UPLOAD_WITHIN", 0.05)

    async def never(_request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError

    (part,) = channel.render(a_reply("whatsapp", REPLY_CONTEXT, "", [PICTURE]))
    attempt = Try(part=part, reference=REFERENCE, started_at=FAR_AHEAD, files=Stored())
    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as http:
        with pytest.raises(Unavailable, match="too long"):
            await channel.send(http, attempt, ACCOUNT, INBOX)


async def test_what_breaks_after_the_upload_is_in_doubt() -> None:
    wire = Wire(httpx.Response(200, json={"id": "7"}), send=None)
    with pytest.raises(OutcomeUnknown):
        await sent_file(wire, Stored())
    assert wire.asked == ["media", "messages"]


async def test_a_file_that_cannot_be_read_calls_nobody() -> None:
    for files in (None, Stored(Rejected(code="no_such_file"))):
        wire = Wire(httpx.Response(200, json={"id": "7"}))
        with pytest.raises(Rejected):
            await sent_file(wire, files)
        assert wire.asked == []


@pytest.mark.parametrize(
    ("attachment", "as_media"),
    [
        ({}, True),
        ({"size": 5_000_000}, True),
        ({"size": 5_000_001}, False),
        ({"media_type": "image/webp"}, False),
        ({"media_type": "image/gif"}, False),
        ({"kind": "audio", "media_type": "audio/ogg", "size": 16_000_000}, True),
        ({"kind": "video", "media_type": "video/quicktime"}, False),
        ({"kind": "video", "media_type": "video/mp4", "size": 16_000_001}, False),
        ({"kind": "file", "media_type": "application/pdf", "size": 100_000_000}, True),
        ({"kind": "file", "media_type": "application/zip"}, False),
    ],
)
def test_what_the_vendor_does_not_take_leaves_as_a_link(attachment: dict[str, Any], as_media: bool) -> None:
    reply = a_reply("whatsapp", REPLY_CONTEXT, "Hier.", [PICTURE | attachment])
    found = expressible(reply, channel, INBOX, Stored().link)
    assert bool(found.attachments) is as_media
    assert found.text == ("Hier." if as_media else "Hier.\n\na.png: https://ours.example/a.png")


# where a customer's file is

MEDIA = Attachment(kind="image", external_id="1003383421387256")
CDN = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1003383421387256"


async def located(answer: dict[str, Any], attachment: Attachment = MEDIA, **settings: str) -> tuple[Source, Any]:
    vendor = Vendor([answer])
    assert channel.locate is not None
    async with vendor.client() as http:
        source = await channel.locate(http, attachment, replace(ACCOUNT, settings=settings), INBOX)
    return source, vendor.requests[0]


async def test_a_file_is_asked_for_by_its_id_and_fetched_with_the_token() -> None:
    source, request = await located({"status": 200, "body": {"url": CDN, "mime_type": "image/jpeg"}})
    assert request["url"] == f"https://graph.facebook.com/v25.0/{MEDIA.external_id}?phone_number_id={NUMBER}"
    assert (source.url, source.hosts) == (CDN, None)
    assert dict(source.headers)["Authorization"] == request["headers"]["authorization"]


async def test_a_stand_in_near_us_is_reached_only_where_the_configuration_names_it() -> None:
    near = "http://127.0.0.1:8080"
    source, _ = await located({"status": 200, "body": {"url": f"{near}/files/1"}}, graph_url=f"{near}/whatsapp")
    assert source.hosts == {"127.0.0.1:8080"}


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x", "https://fbsbx.com.evil.example/x", "https://evilfbsbx.com/x", "https://[::1/x",
        "http://lookaside.fbsbx.com/x", "http://127.0.0.1/x", "ftp://graph.facebook.com/x", "",
        "https://lookaside.fbsbx.com@evil.example/x", "http://graph.facebook.com/x",
    ],
)  # fmt: skip
async def test_the_token_goes_to_the_vendors_hosts_alone(url: str) -> None:
    with pytest.raises(Rejected) as caught:
        await located({"status": 200, "body": {"url": url}})
    assert caught.value.code in ("foreign_host", "bad_address")


async def test_a_file_that_the_vendor_forgot_is_gone_and_trouble_is_tried_again() -> None:
    for status, body, expected, code in (
        (400, {"error": {"code": 100}}, Rejected, "gone"),
        (404, "", Rejected, "gone"),
        (401, {"error": {"code": 190}}, AccountBroken, "token_invalid"),
        (500, {"error": {"code": 131000}}, Unavailable, "vendor_trouble"),
        (502, "<html>", Unavailable, "http_502"),
        (200, {}, Unavailable, "no_address"),
        (429, "", Throttled, "http_429"),
    ):
        with pytest.raises(DragomanError) as caught:
            await located({"status": status, "body": body})
        assert (type(caught.value), caught.value.code) == (expected, code)


@pytest.mark.parametrize("id_", ["", "../me", "1/2", "1?x", "ä"])
async def test_what_is_no_media_id_asks_nobody(id_: str) -> None:
    with pytest.raises(Rejected, match="no media id"):
        await located({"status": 200, "body": {"url": CDN}}, msgspec.structs.replace(MEDIA, external_id=id_))


def test_the_first_part_alone_quotes() -> None:
    parts = channel.render(a_reply("whatsapp", REPLY_CONTEXT, "a" * 5000, [PICTURE]))
    assert [part.kind for part in parts] == ["text", "text", "attachment"]
    assert [part.payload.get("context") for part in parts] == [{"message_id": "wamid.question"}, None, None]
    assert channel.call_within > timedelta(seconds=90)
