"""Calls to vendors: one client per account, and what each way of failing means.

The difference that matters: nothing was written (try again) or it may have arrived (unknown).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from shared.clock import utc_now
from shared.errors import AccountBroken, DragomanError, OutcomeUnknown, Rejected, Throttled, Unavailable
from shared.trust import trust

CONNECTIONS = 8
TIMEOUTS = httpx.Timeout(connect=5, write=10, read=20, pool=5)
LONGEST_WAIT = timedelta(hours=1)
# Shorter than what vendors keep an idle connection for: a call on one that they just closed ends in doubt.
IDLE = 30.0
# Raised while there was no connection for the request yet.
NEVER_CONNECTED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)


def client(*, plain_httpx: bool = False) -> httpx.AsyncClient:
    """A client for one account: few connections, all four timeouts, no redirects, nothing from the environment.

    The aiohttp transport knows no limit for writing, so whoever calls puts one round the whole call as well.
    """
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=IDLE)
    if plain_httpx:
        return httpx.AsyncClient(timeout=TIMEOUTS, limits=limits, trust_env=False, verify=trust())
    transport = AiohttpTransport(limits=limits, verify=trust())
    return httpx.AsyncClient(timeout=TIMEOUTS, transport=transport, trust_env=False)


@contextmanager
def calling(*, sent: bool = True) -> Iterator[None]:
    """Turns the client's exceptions into ours. Raises Unavailable where nothing was written, else OutcomeUnknown.

    `sent` says that the request would have had an effect: where it has none, nothing is in doubt.
    """
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError) as error:
        # The aiohttp transport lets through what it has no translation for, such as an answer that is not HTTP.
        name = type(error.__cause__ or error).__name__
        if _nothing_was_written(error):
            raise Unavailable(f"no connection to the vendor: {name}", code="no_connection") from None
        if not sent:
            raise Unavailable(f"no answer from the vendor: {name}", code="no_answer") from None
        raise OutcomeUnknown(f"no answer from the vendor: {name}", code="no_answer") from None


def _nothing_was_written(error: Exception) -> bool:
    """Whether there never was a connection for this request.

    The aiohttp transport calls a connection that broke in the middle a ConnectTimeout too, so its cause decides.
    """
    cause = error.__cause__
    return isinstance(cause if isinstance(cause, aiohttp.ClientError) else error, NEVER_CONNECTED)


def error_of_status(response: httpx.Response, *, sent: bool = True) -> DragomanError:
    """What a status means where the vendor gives no code of its own.

    `sent` says that the request would have had an effect: a failing server then leaves it unknown.
    """
    status = response.status_code
    code = f"http_{status}"
    wait = retry_after(response)
    if status == 429 or (status == 503 and wait is not None):
        return Throttled(f"the vendor answered {status}", code=code, retry_after=wait)
    if status == 401:
        return AccountBroken("the vendor does not accept the account's credentials", code=code)
    if status >= 500 or status == 408 or status < 400:
        if sent:
            return OutcomeUnknown(f"the vendor answered {status}", code=code)
        return Unavailable(f"the vendor answered {status}", code=code)
    return Rejected(f"the vendor answered {status}", code=code)


def retry_after(response: httpx.Response) -> timedelta | None:
    """The wait that the vendor asks for, in seconds or as a date, at most an hour."""
    given = response.headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit():
        # Longer figures than an hour's need not be read.
        return min(timedelta(seconds=int(given[:9])), LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(given)
    except (ValueError, TypeError, OverflowError):
        return None
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(aware - utc_now(), timedelta(0)), LONGEST_WAIT)


def instant(value: str) -> datetime:
    """A vendor's ISO 8601 instant, in UTC. Raises ValueError."""
    at = datetime.fromisoformat(value)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
