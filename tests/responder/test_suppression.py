"""Addresses that nothing is sent to any more: who gets there, what happens to a reply, and what lifts it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from shared.channels.contract import Channel
from shared.errors import Rejected
from shared.events import ReplyAccepted, ReplyProgressed, ReplyRefused, SendReply
from shared.ids import new_id
from tests.responder.test_delivery import Stage, Vendor, stage
from tests.router.world import id_of

CODES = frozenset({"no_such_address", "5.1.1", "21610"})


class Post(Vendor):
    """A vendor that says for good that an address takes nothing."""

    def channel(self, name: str = "chat") -> Channel:
        channel = super().channel(name)
        return Channel(
            name=name, address_kind=name, live=False, render=channel.render, send=self.send,
            may_write=self.may_write, text_limit=1000, suppresses=CODES,
        )  # fmt: skip


async def _send(s: Stage, text: str, heard_at: datetime | None = None) -> UUID:
    reply = SendReply(
        reply_id=new_id(), conversation_id=new_id(), inbox_id=id_of("shop-chat"), number=1, channel="chat",
        reply_context=b"", text=text, expires_at=datetime.now(UTC) + timedelta(hours=1), heard_at=heard_at,
    )  # fmt: skip
    await s.publish(reply)
    return reply.reply_id


async def _refused(s: Stage, reply: UUID) -> ReplyRefused:
    await s.until(lambda: [told for told in s.of(ReplyRefused) if told.reply_id == reply])
    found: Any = next(told for told in s.of(ReplyRefused) if told.reply_id == reply)
    return found  # type: ignore[no-any-return]


async def test_an_address_that_the_vendor_does_not_know_is_tried_no_more(database_url: str) -> None:
    vendor = Post(answers={"one": [Rejected("no", code="no_such_address")]})
    async with stage(database_url, vendor) as s:
        assert (await _refused(s, await _send(s, "one"))).reason == "no_such_address"
        told = await _refused(s, await _send(s, "two"))
        assert (told.reason, told.code) == ("suppressed", "no_such_address")
        assert vendor.calls == ["one"]


async def test_a_refusal_for_another_reason_leaves_the_address_as_it_was(database_url: str) -> None:
    vendor = Post(answers={"one": [Rejected("no", code="too_large")]})
    async with stage(database_url, vendor) as s:
        await _refused(s, await _send(s, "one"))
        await _send(s, "two")
        await s.until(lambda: vendor.texts == ["two"])


async def test_a_mail_that_came_back_for_good_suppresses_its_address(database_url: str) -> None:
    vendor = Post()
    async with stage(database_url, vendor) as s:
        await _send(s, "one")
        await s.until(lambda: s.of(ReplyAccepted))
        await s.publish(s.receipt("failed", external_ids=["id-1"], code="5.1.1"))
        await s.until(lambda: s.of(ReplyProgressed))
        assert (await _refused(s, await _send(s, "two"))).reason == "suppressed"


async def test_a_report_that_comes_again_suppresses_nobody_who_wrote_meanwhile(database_url: str) -> None:
    vendor = Post()
    async with stage(database_url, vendor) as s:
        await _send(s, "one")
        await s.until(lambda: s.of(ReplyAccepted))
        report = s.receipt("failed", external_ids=["id-1"], code="5.1.1")
        await s.publish(report)
        await s.until(lambda: s.of(ReplyProgressed))
        await _send(s, "again", datetime.now(UTC) + timedelta(seconds=1))
        await s.until(lambda: vendor.texts == ["one", "again"])
        await s.publish(report)
        await _send(s, "and another")
        await s.until(lambda: vendor.texts == ["one", "again", "and another"])


async def test_a_full_mailbox_fails_the_reply_alone(database_url: str) -> None:
    vendor = Post()
    async with stage(database_url, vendor) as s:
        await _send(s, "one")
        await s.until(lambda: s.of(ReplyAccepted))
        await s.publish(s.receipt("failed", external_ids=["id-1"], code="5.2.2"))
        await s.until(lambda: s.of(ReplyProgressed))
        await _send(s, "two")
        await s.until(lambda: vendor.texts == ["one", "two"])


async def test_a_mail_that_came_back_from_another_address_fails_the_reply_alone(database_url: str) -> None:
    vendor = Post()
    async with stage(database_url, vendor) as s:
        await _send(s, "one")
        await s.until(lambda: s.of(ReplyAccepted))
        await s.publish(s.receipt("failed", external_ids=["id-1"], peer="forwarded to", code="5.1.1"))
        await s.until(lambda: s.of(ReplyProgressed))
        await _send(s, "two")
        await s.until(lambda: vendor.texts == ["one", "two"])


async def test_a_report_about_nothing_of_ours_suppresses_nobody(database_url: str) -> None:
    vendor = Post()
    async with stage(database_url, vendor) as s:
        await s.publish(
            s.receipt("failed", external_ids=["forged"], reference=str(new_id()), peer="kunde", code="5.1.1")
        )
        await _send(s, "one")
        await s.until(lambda: vendor.texts == ["one"])


async def test_whoever_writes_again_is_written_to_again(database_url: str) -> None:
    vendor = Post(answers={"one": [Rejected("no", code="21610")]})
    async with stage(database_url, vendor) as s:
        before = datetime.now(UTC) - timedelta(hours=1)
        await _refused(s, await _send(s, "one", before))
        await _refused(s, await _send(s, "still", before))
        await _send(s, "again", datetime.now(UTC) + timedelta(seconds=1))
        await s.until(lambda: vendor.texts == ["again"])
        await _send(s, "and another", before)
        await s.until(lambda: vendor.texts == ["again", "and another"])
