"""Mails on their way out, over real sockets to a server that answers as it is told."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.sandbox.mail.smtp import Misconduct, Submission, User, listening
from shared.accounts import Account
from shared.channels.contract import Try
from shared.channels.email import smtp
from shared.channels.email.lines import Lines, connect
from shared.channels.email.outbound import render, send
from shared.channels.email.verdicts import ROWS, error_of
from shared.errors import (
    AccountBroken,
    DragomanError,
    InboxBroken,
    InboxMisconfigured,
    OutcomeUnknown,
    Rejected,
    Throttled,
    Unavailable,
)
from tests.channels.email.sample import ACCOUNT, ADDRESS, CONTEXT, INBOX, REPLY_CONTEXT
from tests.channels.tables import REFERENCE, a_reply

AT = datetime(2026, 8, 3, 9, 0, tzinfo=UTC)
ID = "<o.0b54a9e2-7c55-5d5e-9a52-3c1de4a1b9aa.1f2d2cdb18d39a03@mail.shop.example>"
USERS = {ADDRESS: User(("smtp-password-of-the-shop",), frozenset({ADDRESS}))}


@dataclass
class Post:
    """A server, the connections to it, and the account that they are of."""

    server: Submission
    lines: Lines
    account: Account

    async def send(self, text: str = "Hello", reference: str = REFERENCE, context: bytes = REPLY_CONTEXT) -> str:
        (part,) = render(a_reply("email", context, text))
        return await send(self.lines, Try(part=part, reference=reference, started_at=AT), self.account, INBOX)

    async def error(self, stage: Any, answer: str = "", **more: Any) -> DragomanError:
        self.server.misbehave(Misconduct(stage=stage, answer=answer, **more))
        with pytest.raises(DragomanError) as caught:
            await self.send()
        return caught.value


@asynccontextmanager
async def stage(**settings: Any) -> AsyncIterator[Post]:
    server = Submission(USERS)
    async with listening(server, 0) as port, connect() as lines:
        yield Post(server, lines, replace(ACCOUNT, settings={**ACCOUNT.settings, "smtp_port": port, **settings}))


async def test_a_mail_is_taken_and_known_by_our_own_id() -> None:
    async with stage() as s:
        assert await s.send() == ID
        (mail,) = s.server.accepted
        assert (mail["message_id"], mail["mail_from"], mail["rcpt_to"]) == (ID, ADDRESS, ["marie@example.com"])
        assert (mail["subject"], mail["text"]) == ("Re: Où est mon colis ?", "Hello")


async def test_one_connection_carries_mail_after_mail() -> None:
    async with stage() as s:
        for n in range(5):
            await s.send(f"Number {n}")
        assert (s.server.connections, len(s.server.accepted)) == (1, 5)


async def test_a_used_up_connection_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "MOST_MAILS", 2)
    async with stage() as s:
        for n in range(4):
            await s.send(f"Number {n}")
        assert s.server.connections == 2


async def test_a_connection_is_used_again_after_a_refusal_but_not_after_trouble() -> None:
    async with stage() as s:
        await s.error("recipient", "550 5.1.1 No such user")
        await s.send()
        assert s.server.connections == 1
        await s.error("recipient", "450 4.2.0 Later")
        await s.send()
        assert s.server.connections == 2


async def test_a_quiet_connection_that_died_is_replaced_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "IDLE", 0.0)
    server = Submission(USERS)
    async with connect() as lines:
        async with listening(server, 0) as port:
            s = Post(server, lines, replace(ACCOUNT, settings={**ACCOUNT.settings, "smtp_port": port}))
            await s.send()
        async with listening(server, port):
            await s.send()
    assert len(server.accepted) == 2


async def test_a_new_password_is_used_at_once() -> None:
    async with stage() as s:
        await s.send()
        s.account = replace(s.account, secrets={**s.account.secrets, "smtp_password": ["another"]})
        with pytest.raises(AccountBroken):
            await s.send()


async def test_a_connection_lost_before_the_dot_can_be_tried_again() -> None:
    async with stage() as s:
        for stage_ in ("sender", "recipient", "data"):
            assert type(await s.error(stage_)) is Unavailable
        assert not s.server.accepted
        await s.send()


async def test_a_connection_lost_before_a_long_mail_was_whole_can_be_tried_again() -> None:
    async with stage() as s:
        s.server.misbehave(Misconduct(stage="data"))
        with pytest.raises(Unavailable) as caught:
            await s.send("word " * 19_000)
        assert caught.value.code == "lost_before_the_dot"


async def test_after_the_dot_nobody_knows() -> None:
    async with stage() as s:
        error = await s.error("dot")
        assert isinstance(error, OutcomeUnknown)
        assert error.code == "lost_after_the_dot"
        assert await s.send() == s.server.accepted[0]["message_id"]


async def test_a_server_that_does_not_answer_the_dot_leaves_it_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "AFTER_THE_DOT", 0.05)
    async with stage() as s:
        s.server.misbehave(Misconduct(stage="dot", answer="250 OK", seconds=1))
        with pytest.raises(OutcomeUnknown):
            await s.send()


async def test_nobody_there_is_no_connection() -> None:
    async with connect() as lines:
        s = Post(Submission({}), lines, replace(ACCOUNT, settings={**ACCOUNT.settings, "smtp_port": 1}))
        with pytest.raises(Unavailable) as caught:
            await s.send()
        assert caught.value.code == "no_connection"


async def test_a_wrong_password_is_the_accounts_trouble() -> None:
    async with stage() as s:
        s.account = replace(s.account, secrets={**s.account.secrets, "smtp_password": ["wrong"]})
        with pytest.raises(AccountBroken) as caught:
            await s.send()
        assert caught.value.code == "login_refused"


async def test_a_sender_that_is_not_the_accounts_is_the_inboxes_trouble() -> None:
    async with stage() as s:
        (part,) = render(a_reply("email", REPLY_CONTEXT, "Hello"))
        attempt = Try(part=part, reference=REFERENCE, started_at=AT)
        with pytest.raises(InboxBroken) as caught:
            await send(s.lines, attempt, s.account, replace(INBOX, address="someone@else.example"))
        assert caught.value.code == "sender_refused"


async def test_without_tls_on_offer_nothing_goes_in_clear_text() -> None:
    async with stage(smtp_security="starttls") as s:
        with pytest.raises(DragomanError) as caught:
            await s.send()
        assert isinstance(caught.value, Unavailable | AccountBroken)
        assert not s.server.accepted


@pytest.mark.parametrize("settings", [{"smtp_host": ""}, {"smtp_security": "maybe"}, {"smtp_port": "many"}])
async def test_settings_that_name_no_server_are_a_persons_to_mend(settings: dict[str, Any]) -> None:
    async with stage(**settings) as s:
        with pytest.raises(InboxMisconfigured):
            await s.send()


async def test_a_refused_copy_does_not_hold_the_answer_back() -> None:
    context = replace(CONTEXT, cc=("paul@example.com", "gone@example.com")).encode()
    async with stage() as s:
        s.server.misbehave(Misconduct(stage="recipient", answer="550 5.1.1 No", recipient="gone@example.com"))
        await s.send(context=context)
        assert s.server.accepted[0]["rcpt_to"] == ["marie@example.com", "paul@example.com"]


async def test_a_greylisted_mail_is_taken_the_next_time() -> None:
    async with stage() as s:
        error = await s.error("recipient", "450 4.2.0 Greylisted, please come back")
        assert (error.code, getattr(error, "retry_after", None)) == ("greylisted", timedelta(minutes=5))
        assert await s.send() == ID


# One of every row of the table, as servers say it: stage, answer, what it is, its code, the wait in minutes.
ANSWERS: list[tuple[Any, str, type[DragomanError], str, float | None]] = [
    ("recipient", "421 4.3.2 Service shutting down", Unavailable, "service_closing", None),
    ("dot", "421 4.4.2 Timeout", Unavailable, "service_closing", None),
    ("recipient", "450 4.2.0 Greylisted, try again", Throttled, "greylisted", 5),
    ("recipient", "451 4.7.1 Greylisted, please come back in 300 seconds", Throttled, "greylisted", 5 + 1 / 6),
    ("recipient", "451 Postgrey says no", Throttled, "greylisted", 5),
    ("recipient", "450 4.1.8 Cannot find your domain", Unavailable, "temporary", None),
    ("recipient", "451 4.3.0 Local trouble", Unavailable, "temporary", None),
    ("recipient", "452 4.2.2 The mailbox is full", Throttled, "mailbox_full", 60),
    ("recipient", "552 5.2.2 Over quota", Rejected, "mailbox_full", None),
    ("recipient", "552 Mailbox quota exceeded", Rejected, "mailbox_full", None),
    ("recipient", "452 4.5.3 Too many recipients", Throttled, "too_many_recipients", 1),
    ("login", "454 4.7.0 Temporary authentication failure", Unavailable, "login_unavailable", None),
    ("dot", "421 4.7.28 Unusual rate of mail", Throttled, "rate_limited", 15),
    ("dot", "450 4.7.500 You are being throttled", Throttled, "rate_limited", 15),
    ("sender", "421 4.7.0 [TSS04] Messages temporarily deferred", Throttled, "rate_limited", 15),
    ("login", "432 4.7.12 A password transition is needed", AccountBroken, "login_refused", None),
    ("login", "534 5.7.9 Application-specific password required", AccountBroken, "login_refused", None),
    ("login", "535 5.7.8 Username and password not accepted", AccountBroken, "login_refused", None),
    ("sender", "530 5.7.0 Must issue a STARTTLS command first", AccountBroken, "login_refused", None),
    ("login", "538 Encryption required", AccountBroken, "login_refused", None),
    ("login", "550 5.7.30 Basic authentication is not supported", AccountBroken, "login_method_off", None),
    ("login", "535 5.7.139 Authentication unsuccessful", AccountBroken, "login_method_off", None),
    ("login", "502 5.5.1 AUTH not implemented", AccountBroken, "login_refused", None),
    ("data", "503 5.5.1 Bad sequence of commands", Rejected, "command_refused", None),
    ("data", "555 Unknown parameter", Rejected, "command_refused", None),
    ("recipient", "501 5.1.3 Bad recipient address syntax", Rejected, "bad_address", None),
    ("recipient", "550 5.1.1 The account does not exist", Rejected, "no_such_address", None),
    ("recipient", "550 5.1.2 No such domain", Rejected, "no_such_address", None),
    ("recipient", "550 5.1.10 Recipient not found", Rejected, "no_such_address", None),
    ("recipient", "550 5.4.1 Recipient address rejected: Access denied", Rejected, "no_such_address", None),
    ("recipient", "553 5.1.8 No", Rejected, "no_such_address", None),
    ("recipient", "550 no such user here", Rejected, "no_such_address", None),
    ("recipient", "550 5.2.1 The account is disabled", Rejected, "mailbox_disabled", None),
    ("dot", "552 5.2.3 Larger than the limit", Rejected, "too_large", None),
    ("sender", "552 5.3.4 Message size exceeds the limit", Rejected, "too_large", None),
    ("sender", "523 Message too big", Rejected, "too_large", None),
    ("dot", "550 5.4.6 Routing loop", Rejected, "mail_loop", None),
    ("recipient", "551 User not local", Rejected, "user_moved", None),
    ("dot", "554 5.7.1 Looks like spam", Rejected, "refused_by_policy", None),
    ("dot", "550 5.7.26 Unauthenticated email", Rejected, "sender_not_authenticated", None),
    ("dot", "550 5.7.515 Access denied", Rejected, "sender_not_authenticated", None),
    ("dot", "554 5.6.0 Corrupt content", Rejected, "content_refused", None),
    ("recipient", "553 5.6.7 SMTPUTF8 needed", Rejected, "smtputf8_unsupported", None),
    ("recipient", "550 5.1.10 The domain accepts no mail (nullMX)", Rejected, "domain_takes_no_mail", None),
    ("recipient", "556 5.1.10 Null MX", Rejected, "domain_takes_no_mail", None),
    ("connect", "554 No mail from you", Throttled, "refused_at_greeting", 15),
    ("dot", "554 Transaction failed", Rejected, "refused", None),
    ("dot", "550 Please try again later", Throttled, "says_later", 30),
    ("sender", "550 5.7.60 Not allowed to send as this sender", InboxBroken, "sender_refused", None),
    ("dot", "459 4.9.9 Whatever", Unavailable, "temporary", None),
    ("recipient", "452 Out of storage", Throttled, "mailbox_full", 60),
    ("dot", "599 5.9.9 Whatever", Rejected, "refused", None),
]  # fmt: skip


def _rows_that_hold() -> Iterator[int]:
    for stage_, answer, *_ in ANSWERS:
        basic, _, text = answer.partition(" ")
        enhanced, _, _ = text.partition(" ")
        full = f"{basic} {enhanced if enhanced[:1] in '245' and '.' in enhanced else ''}"
        yield next(n for n, row in enumerate(ROWS) if row.holds("data" if stage_ == "dot" else stage_, full, text))


def test_every_row_of_the_table_has_an_answer_here() -> None:
    assert set(_rows_that_hold()) == set(range(len(ROWS)))


@pytest.mark.parametrize(("stage_", "answer", "kind", "code", "minutes"), ANSWERS, ids=[a[1] for a in ANSWERS])
async def test_what_an_answer_means(
    stage_: Any, answer: str, kind: type[DragomanError], code: str, minutes: float | None
) -> None:
    if stage_ == "connect":
        error = error_of(stage_, int(answer[:3]), answer[4:])
    else:
        async with stage() as s:
            # The library tries one way of logging in after the other.
            error = await s.error(stage_, answer, times=3)
            assert not s.server.accepted
    assert (type(error), error.code) == (kind, code)
    wait = getattr(error, "retry_after", None)
    assert (wait.total_seconds() / 60 if wait else None) == pytest.approx(minutes)
    assert answer[4:].split(maxsplit=1)[-1] not in str(error)


def test_a_wait_in_the_words_is_kept_to() -> None:
    error = error_of("recipient", 451, "4.3.0 Try again in 2 minutes")
    assert isinstance(error, Throttled)
    assert error.retry_after == timedelta(seconds=130)


def test_an_answer_that_no_server_gives_is_tried_again() -> None:
    assert isinstance(error_of("data", 299, "What"), Unavailable)


async def test_an_address_beyond_ascii_needs_a_server_that_takes_it() -> None:
    context = replace(CONTEXT, to="maría@exämple.com").encode()
    async with stage() as s:
        await s.send(context=context)
        assert s.server.accepted[0]["rcpt_to"] == ["maría@xn--exmple-cua.com"]
    async with stage() as s:
        s.server.takes_utf8 = False
        with pytest.raises(Rejected) as caught:
            await s.send(context=context)
        assert caught.value.code == "smtputf8_unsupported"
