"""The way out: a few connections to an account's mail server, each used by one mail at a time and again.

Source: RFC 5321 (commands, time limits in §4.5.3.2), RFC 4954 (AUTH), RFC 3207 (STARTTLS), RFC 6531 (SMTPUTF8).
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from ssl import SSLError
from typing import cast

from aiosmtplib import (
    SMTP,
    SMTPConnectResponseError,
    SMTPException,
    SMTPHeloError,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)

from shared.accounts import Account
from shared.channels.email.compose import Mail
from shared.channels.email.verdicts import error_of
from shared.errors import AccountBroken, DragomanError, InboxMisconfigured, OutcomeUnknown, Rejected, Unavailable

CONNECTIONS = 3
MOST_MAILS = 100
LONGEST_USE = 300.0
# A connection that was quiet for so long is asked whether it is still there.
IDLE = 30.0
# Seconds: to get a connection of the pool, to open one, for a command, for the content, and (RFC 5321) for the answer
# to the final dot.
FOR_A_CONNECTION = 60.0
CONNECT = 30.0
COMMAND = 60.0
BEFORE_THE_DOT = 240.0
AFTER_THE_DOT = 600.0
# What one mail may take in all, and a little more, since a call that is cut off is in doubt.
CALL_WITHIN = FOR_A_CONNECTION + BEFORE_THE_DOT + AFTER_THE_DOT + 20.0

SECURITY = ("tls", "starttls", "none")
LINE_END = re.compile(rb"\r?\n|\r")
DOT_AT_START = re.compile(rb"^\.", re.MULTILINE)
# What the library and the sockets below it raise where a connection does not come up or is lost.
LOST = (SMTPException, OSError, TimeoutError)


@dataclass(slots=True)
class Line:
    """One open connection; times are seconds of the loop's clock."""

    smtp: SMTP
    opened_at: float
    used_at: float
    mails: int = 0

    def is_used_up(self, now: float) -> bool:
        return not self.smtp.is_connected or self.mails >= MOST_MAILS or now - self.opened_at >= LONGEST_USE


class Pool:
    """The connections of one account, opened when they are needed."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._free: list[Line] = []
        self._slots = asyncio.Semaphore(CONNECTIONS)

    def use(self, account: Account) -> None:
        """New connections are opened as this says; where it says anything else, none of the old ones is used again."""
        if account is not self._account and account != self._account:
            for line in self._free:
                line.smtp.close()
            self._free.clear()
        self._account = account

    async def deliver(self, mail: Mail) -> int:
        """Hands the mail to the server; how many of the copies' recipients it refused.

        Raises Unavailable and Throttled where the server does not have it, Rejected, AccountBroken, InboxBroken,
        InboxMisconfigured, and OutcomeUnknown where the connection was lost after the final dot.
        """
        async with self._line() as line:
            refused = await self._hand_over(line.smtp, mail)
            line.mails += 1
            return refused

    async def greet(self) -> None:
        """Opens a connection and signs in, without a mail. Raises as `deliver` does."""
        async with self._line():
            pass

    async def close(self) -> None:
        """Says goodbye on the free connections; those in use end with their mails."""
        while self._free:
            smtp = self._free.pop().smtp
            with suppress(*LOST):
                await smtp.quit(timeout=2)
            smtp.close()

    @asynccontextmanager
    async def _line(self) -> AsyncIterator[Line]:
        """A connection for one mail; it goes back only where the mail did not break it."""
        try:
            async with asyncio.timeout(FOR_A_CONNECTION):
                await self._slots.acquire()
        except TimeoutError:
            raise Unavailable("all connections to the mail server are in use", code="no_free_connection") from None
        try:
            line = await self._take()
            try:
                yield line
            except BaseException as error:
                # After a plain refusal the connection is as good as before, else nobody knows what comes next on it.
                if not isinstance(error, Rejected):
                    line.smtp.close()
                raise
            finally:
                line.used_at = asyncio.get_running_loop().time()
                if line.smtp.is_connected:
                    self._free.append(line)
        finally:
            self._slots.release()

    async def _take(self) -> Line:
        """One that is still good, else a new one."""
        while self._free:
            line = self._free.pop()
            now = asyncio.get_running_loop().time()
            if not line.is_used_up(now) and await _answers(line, now):
                return line
            line.smtp.close()
        return await self._open()

    async def _open(self) -> Line:
        account, stage = self._account, "connect"
        smtp = _client(account)
        password = account.secret("smtp_password")
        user = str(account.settings.get("smtp_user") or account.settings.get("user") or "")
        try:
            async with asyncio.timeout(CONNECT * 2):
                await smtp.connect()
                stage = "login"
                await smtp.login(user, password, timeout=COMMAND)
        except SSLError:
            smtp.close()
            raise AccountBroken("the mail server's certificate is not valid", code="bad_certificate") from None
        except SMTPResponseException as error:
            smtp.close()
            greeting = isinstance(error, SMTPConnectResponseError | SMTPHeloError) or stage == "connect"
            raise error_of("connect" if greeting else "login", error.code, error.message) from None
        except LOST as error:
            smtp.close()
            raise _not_opened(error, stage) from None
        except BaseException:
            smtp.close()
            raise
        now = asyncio.get_running_loop().time()
        return Line(smtp, now, now)

    async def _hand_over(self, smtp: SMTP, mail: Mail) -> int:
        with _before_the_dot():
            async with asyncio.timeout(BEFORE_THE_DOT):
                refused = await _envelope(smtp, mail)
                await _content(smtp, mail)
        try:
            answer = await smtp.execute_command(b".", timeout=AFTER_THE_DOT)
        except LOST as error:
            name = type(error).__name__
            raise OutcomeUnknown(f"no answer to the whole mail: {name}", code="lost_after_the_dot") from None
        if answer.code != 250:
            raise error_of("data", answer.code, answer.message)
        return refused


def _client(account: Account) -> SMTP:
    """Raises InboxMisconfigured where the settings do not say which server."""
    host, port = account.settings.get("smtp_host"), account.settings.get("smtp_port")
    security = account.settings.get("smtp_security", "tls")
    if not isinstance(host, str) or not host or security not in SECURITY:
        raise InboxMisconfigured(f"account {account.id} lacks `smtp_host` or a known `smtp_security`", code="no_server")
    try:
        number = int(port or (465 if security == "tls" else 587))
    except (TypeError, ValueError):
        raise InboxMisconfigured(f"account {account.id}: `smtp_port` is no number", code="no_server") from None
    return SMTP(
        hostname=host,
        port=number,
        # Its own name would take a look-up that can hang, and no server minds.
        local_hostname="localhost",
        timeout=CONNECT,
        use_tls=security == "tls",
        start_tls=security == "starttls",
    )


def _not_opened(error: BaseException, stage: str) -> DragomanError:
    name = type(error).__name__
    if isinstance(error.__cause__, SSLError):
        return AccountBroken("the mail server's certificate is not valid", code="bad_certificate")
    if stage == "login" and type(error) is SMTPException:
        return AccountBroken("the mail server offers no way to log in that we know", code="login_refused")
    return Unavailable(f"no connection to the mail server: {name}", code="no_connection")


async def _answers(line: Line, now: float) -> bool:
    """Whether a connection that was used before can be used again."""
    try:
        if now - line.used_at > IDLE:
            await line.smtp.noop(timeout=CONNECT)
        await line.smtp.rset(timeout=CONNECT)
    except LOST:
        return False
    return line.smtp.is_connected


@contextmanager
def _before_the_dot() -> Iterator[None]:
    """Until the final dot the server has nothing, so that whatever goes wrong can be tried again."""
    try:
        yield
    except SMTPSenderRefused as error:
        raise error_of("sender", error.code, error.message) from None
    except SMTPRecipientRefused as error:
        raise error_of("recipient", error.code, error.message) from None
    except SMTPResponseException as error:
        raise error_of("data", error.code, error.message) from None
    except LOST as error:
        name = type(error).__name__
        raise Unavailable(
            f"the connection was lost before the mail was whole: {name}", code="lost_before_the_dot"
        ) from None


async def _envelope(smtp: SMTP, mail: Mail) -> int:
    """MAIL, and RCPT for each; the first recipient's refusal is the mail's, the others' are counted."""
    options = [f"SIZE={len(mail.content)}"] if smtp.supports_extension("size") else []
    if mail.is_utf8:
        if not smtp.supports_extension("smtputf8"):
            raise Rejected("the mail server takes no addresses like this one", code="smtputf8_unsupported")
        options.append("SMTPUTF8")
    encoding = "utf-8" if mail.is_utf8 else "ascii"
    await smtp.mail(mail.sender, options=options, encoding=encoding, timeout=COMMAND)
    refused = 0
    for n, recipient in enumerate(mail.recipients):
        try:
            await _recipient(smtp, recipient, encoding)
        except SMTPRecipientRefused:
            if n == 0:
                raise
            refused += 1
    return refused


async def _recipient(smtp: SMTP, recipient: str, encoding: str) -> None:
    """252 is a yes too: the server does not know the address and will try."""
    try:
        await smtp.rcpt(recipient, encoding=encoding, timeout=COMMAND)
    except SMTPRecipientRefused as error:
        if error.code != 252:
            raise


async def _content(smtp: SMTP, mail: Mail) -> None:
    """Everything but the final dot, which goes by itself once all of this has left."""
    answer = await smtp.execute_command(b"DATA", timeout=COMMAND)
    if answer.code != 354:
        raise SMTPResponseException(answer.code, answer.message)
    content = LINE_END.sub(b"\r\n", mail.content)
    content = DOT_AT_START.sub(b"..", content if content.endswith(b"\r\n") else content + b"\r\n")
    if smtp.transport is None:
        raise ConnectionResetError
    transport = cast(asyncio.WriteTransport, smtp.transport)
    transport.write(content)
    # The library tells nobody when its buffer is empty.
    while smtp.is_connected and transport.get_write_buffer_size():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    if not smtp.is_connected:
        raise ConnectionResetError
