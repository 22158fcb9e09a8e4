"""Tokens of an OpenID issuer: its keys by discovery, and whether a token is one of its own, for us, and holds now.

Sources: OpenID Connect Discovery 1.0, RFC 7515, 7517 and 7519, RFC 8725 (best current practices), RFC 9068.
Which agent, role and brands a token stands for is never the token's to say: that is our configuration's.
"""

import asyncio
import ipaddress
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from joserfc import jws, jwt
from joserfc.errors import (
    BadSignatureError,
    ClaimError,
    ExpiredTokenError,
    InvalidKeyCurveError,
    InvalidKeyIdError,
    InvalidKeyTypeError,
    JoseError,
    MissingAlgorithmError,
    UnsupportedAlgorithmError,
)
from joserfc.jwk import JWKRegistry, Key, KeySet

from shared.background import background
from shared.errors import DragomanError, InboxMisconfigured, Unavailable
from shared.settings import Settings
from shared.trust import trust

log = logging.getLogger(__name__)

# Never `none`, and never a shared secret: whoever can check those could also sign.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
LEEWAY = 60
TIMEOUT = 5.0
LARGEST_DOCUMENT = 1_000_000
# Keys that the issuer took back are gone after this; new ones are asked for when a token names them.
REFRESH_EVERY = 600.0
# Tokens that name keys nobody knows make us ask the issuer this often in a minute, not more.
MOST_ASKED, ASKED_WITHIN = 10, 60.0
ASK_AGAIN = 60.0
AWAY_FOR = 5.0
NEVER = float("-inf")
WELL_KNOWN = "/.well-known/openid-configuration"
# Unknown keys and verified tokens that are remembered.
KEPT = 10_000

Claims = dict[str, Any]


class BadToken(DragomanError):
    """The token is not one of the issuer's for us, or does not hold now; `code` says why."""

    code = "malformed"


class Discovery(msgspec.Struct):
    """What we need of `/.well-known/openid-configuration`."""

    issuer: str
    jwks_uri: str


class Keys(msgspec.Struct):
    """A JSON Web Key Set."""

    keys: list[dict[str, Any]]


class Issuer:
    """One issuer and the keys that it is known to sign with. `clock` in seconds that only grow."""

    def __init__(self, url: str, audience: str, claim: str = "sub", clock: Callable[[], float] = time.monotonic):
        self.url = url
        self._audience = audience
        self._claim = claim
        self._clock = clock
        self._registry = jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        # As the issuer published them; None before it was ever asked.
        self._published: list[dict[str, Any]] | None = None
        self._keys = KeySet([])
        self._kids: frozenset[str | None] = frozenset()
        # Kids that the issuer did not know when it was asked, and when that was.
        self._unknown: dict[str | None, float] = {}
        self._verified: dict[bytes, tuple[str, float]] = {}
        self._asked: deque[float] = deque(maxlen=MOST_ASKED)
        self._away_until = NEVER
        self._asking = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks for withdrawn keys until left."""
        async with background(self._look_again(), "the issuer's keys"):
            yield

    async def learn(self, token: str) -> None:
        """Asks the issuer for the key that the token names, where it is not known: once per key.

        Raises Unavailable where that key cannot be asked for now; what is known already needs no issuer.
        """
        try:
            kid = _kid(token)
        except BadToken:
            return
        if not self._is_news(kid):
            return
        async with self._asking:
            if self._is_news(kid):
                self._may_ask()
                await self._ask()
                if kid not in self._kids:
                    _keep(self._unknown, kid, self._clock())

    def read(self, token: str, now: float) -> str:
        """Who the token says it is for, by our claim. `now` is a Unix time. Raises BadToken.

        A token is checked once as long as the issuer's keys stay: all that time changes afterwards is its end.
        """
        digest = sha256(token.encode("utf-8", "replace")).digest()
        known = self._verified.get(digest)
        if known is None:
            known = self._checked(self._signed(token), int(now))
            _keep(self._verified, digest, known)
        subject, ends = known
        if int(now) >= ends:
            raise BadToken(code="expired")
        return subject

    async def refresh(self) -> None:
        """The issuer's keys as they are now. Raises Unavailable, and keeps what is known."""
        async with self._asking:
            await self._ask()

    def _is_news(self, kid: str | None) -> bool:
        if self._published is None:
            return True
        # A token may leave it out where there is one key; that one is known then.
        return kid is not None and kid not in self._kids and self._clock() - self._unknown.get(kid, NEVER) > ASK_AGAIN

    def _may_ask(self) -> None:
        now = self._clock()
        if now < self._away_until:
            raise Unavailable("the OpenID issuer is away", code="issuer_away")
        if len(self._asked) == MOST_ASKED and now - self._asked[0] < ASKED_WITHIN:
            raise Unavailable("too many unknown keys", code="issuer_busy")

    def _checked(self, claims: Claims, now: int) -> tuple[str, float]:
        """Whom the claims name, and when they end."""
        wanted = jwt.JWTClaimsRegistry(
            now=now, leeway=LEEWAY,
            iss={"essential": True, "value": self.url},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
        )  # fmt: skip
        try:
            wanted.validate(claims)
        except ExpiredTokenError:
            raise BadToken(code="expired") from None
        except ClaimError as error:
            code = {"iss": "issuer", "aud": "audience"}.get(error.claim, "claims")
            raise BadToken(code=code) from None
        subject = claims.get(self._claim)
        if not isinstance(subject, str) or not subject:
            raise BadToken(code="claims")
        return subject, claims["exp"] + LEEWAY

    def _signed(self, token: str) -> Claims:
        """The claims that the issuer signed."""
        # The library reads what anybody may have written: wrong types and depths come out of it as they are.
        try:
            return jwt.decode(token, self._keys, registry=self._registry).claims
        except (UnsupportedAlgorithmError, MissingAlgorithmError):
            raise BadToken(code="algorithm") from None
        except InvalidKeyIdError:
            raise BadToken(code="unknown_key") from None
        except (BadSignatureError, InvalidKeyTypeError, InvalidKeyCurveError):
            raise BadToken(code="signature") from None
        except (JoseError, ValueError, TypeError, RecursionError):
            raise BadToken(code="malformed") from None

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_EVERY)
            if self._published is not None:
                try:
                    await self.refresh()
                except Unavailable as error:
                    log.warning("%s; its known keys go on working", error)

    async def _ask(self) -> None:
        self._asked.append(self._clock())
        try:
            published = await self._discover()
        except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError, UnicodeError, _WrongAnswer) as error:
            self._away_until = self._clock() + AWAY_FOR
            # Its class alone: what the issuer answered is not ours to repeat.
            raise Unavailable(f"the OpenID issuer is away: {type(error).__name__}", code="issuer_away") from None
        if published != self._published:
            keys = [key for key in map(_imported, published) if key is not None]
            self._kids = frozenset(key.kid for key in keys)
            self._published, self._keys = published, KeySet(keys)
            self._verified.clear()

    async def _discover(self) -> list[dict[str, Any]]:
        # Asked a few times an hour: a connection that is kept open would only be found closed.
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False, verify=trust()) as http:
            found = msgspec.json.decode(await _get(http, self.url.rstrip("/") + WELL_KNOWN), type=Discovery)
            if found.issuer != self.url:
                raise _WrongAnswer("it calls itself otherwise")
            if urlsplit(self.url).scheme == "https" and not is_safe(found.jwks_uri):
                raise _WrongAnswer("its keys are not behind https")
            return msgspec.json.decode(await _get(http, found.jwks_uri), type=Keys).keys


async def _get(http: httpx.AsyncClient, url: str) -> bytes:
    content = b""
    async with http.stream("GET", url, headers={"Accept": "application/json"}) as answer:
        if answer.status_code != 200:
            raise _WrongAnswer("it answers with another status")
        async for chunk in answer.aiter_bytes():
            content += chunk
            if len(content) > LARGEST_DOCUMENT:
                raise _WrongAnswer("it answers without end")
    return content


class _WrongAnswer(Exception):
    """The issuer answers what no issuer may."""


def issuer_of(settings: Settings) -> Issuer | None:
    """None where agents do not sign in with an issuer. Raises InboxMisconfigured for half of its settings."""
    if settings.oidc_issuer is None:
        return None
    if not settings.oidc_audience:
        raise InboxMisconfigured("DRAGOMAN_OIDC_ISSUER needs DRAGOMAN_OIDC_AUDIENCE beside it", code="bad_oidc")
    if not is_safe(settings.oidc_issuer) and not settings.development_tokens:
        raise InboxMisconfigured("DRAGOMAN_OIDC_ISSUER is an address with https", code="bad_oidc")
    return Issuer(settings.oidc_issuer, settings.oidc_audience, settings.oidc_claim)


def is_safe(url: str) -> bool:
    """Whether nobody on the way can answer in its place."""
    parts = urlsplit(url)
    try:
        is_here = ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        is_here = parts.hostname == "localhost"
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and is_here))


def _kid(token: str) -> str | None:
    """The key that the token names, unverified. Raises BadToken."""
    try:
        kid = jws.extract_compact(token.encode()).protected.get("kid")
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
        raise BadToken(code="malformed") from None
    if kid is not None and not isinstance(kid, str):
        raise BadToken(code="malformed")
    return kid


def _imported(data: dict[str, Any]) -> Key | None:
    """A public key to check signatures with, None for any other: an issuer may publish what we do not know."""
    if data.get("kty") not in ("RSA", "EC") or data.get("use", "sig") != "sig":
        return None
    try:
        return JWKRegistry.import_key(data)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _keep(known: dict[Any, Any], key: object, value: object) -> None:
    """Puts it in, and lets the oldest go where there are too many."""
    known[key] = value
    if len(known) > KEPT:
        del known[next(iter(known))]
