"""A stand-in of an OpenID issuer for a public client: discovery, keys, the code flow with PKCE, signed tokens.

Sources: OpenID Connect Core 1.0 and Discovery 1.0, RFC 6749, RFC 7636 (PKCE), RFC 9068 (access tokens), RFC 9207.
Whoever opens its page is whom they say they are: that is its whole use, and why it never leaves a machine of one's own.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from services.sandbox.commands import WrongCommand
from services.sandbox.stand_in import Connection
from services.sandbox.state import State, keep
from shared.clock import utc_now

CHALLENGE = re.compile("[A-Za-z0-9_-]{43}")
VERIFIER = re.compile("[A-Za-z0-9._~-]{43,128}")
CODE_HOLDS = timedelta(seconds=60)
TOKEN_HOLDS = timedelta(hours=1)
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
PAGE_HEADERS = {**NO_STORE, "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
STYLE = "body{font:1rem sans-serif;margin:2rem auto;max-width:40rem}button{font:inherit;margin:.2rem;padding:.4rem}"

Parameters = Mapping[str, str]


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    """A new key signs from now on; the old ones stay published unless they are dropped."""

    drop: bool = False


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """An access token without a browser; `claims` replace those that it would have, null leaves one out."""

    user: str
    expires_in: float = TOKEN_HOLDS.total_seconds()
    claims: dict[str, Any] = {}


class Absence(msgspec.Struct, forbid_unknown_fields=True):
    """Whether every request is answered 503."""

    away: bool


class Wrong(Exception):
    """An error of RFC 6749: its code, and words for the developer."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(code)
        self.code, self.description = code, description


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a code stands for, until it is used or too old."""

    user: str
    redirect_uri: str
    challenge: str
    scope: str
    nonce: str | None
    at: datetime


class Oidc:
    """One issuer with one public client."""

    name = "oidc"

    def __init__(self, connections: Sequence[Connection], _state: State, now: Callable[[], datetime] = utc_now) -> None:
        (connection,) = connections
        settings = connection.settings
        self.issuer: str = settings["issuer"]
        self._client: str = settings["client_id"]
        self._audience: str = settings["audience"]
        self._redirect_uris = frozenset(settings["redirect_uris"])
        self._users: Mapping[str, str] = settings["users"]
        self._now = now
        self.forget()

    def routes(self) -> Sequence[Route]:
        return [
            Route("/.well-known/openid-configuration", self._here(self.configuration)),
            Route("/jwks", self._here(self.jwks)),
            Route("/authorize", self._here(self.authorize), methods=["GET", "POST"]),
            Route("/token", self._here(self.token), methods=["POST"]),
        ]

    def control(self) -> Sequence[Route]:
        return [
            Route("/rotate", _obeyed(Rotation, self.rotate), methods=["POST"]),
            Route("/tokens", _obeyed(Wish, self.mint), methods=["POST"]),
            Route("/away", _obeyed(Absence, self.leave), methods=["POST"]),
        ]

    @asynccontextmanager
    async def running(self, _http: httpx.AsyncClient) -> AsyncIterator[None]:
        """It calls nobody."""
        yield

    def forget(self) -> None:
        self._keys = [_new_key()]
        self._grants: dict[str, Grant] = {}
        self._is_away = False

    # whoever drives it

    def rotate(self, wanted: Rotation) -> dict[str, Any]:
        self._keys = [_new_key(), *([] if wanted.drop else self._keys)]
        return {"kid": self._keys[0].kid}

    def mint(self, wanted: Wish) -> dict[str, Any]:
        if wanted.user not in self._users:
            raise WrongCommand(f"there is no user {wanted.user}")
        claims = self._access(wanted.user, "openid", timedelta(seconds=wanted.expires_in)) | wanted.claims
        kept = {name: value for name, value in claims.items() if value is not None}
        return {"access_token": self._signed("at+jwt", kept), "token_type": "Bearer"}

    def leave(self, wanted: Absence) -> dict[str, Any]:
        self._is_away = wanted.away
        return {"away": wanted.away}

    # what browsers and services call

    async def configuration(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                "scopes_supported": ["openid", "profile"],
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "token_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def jwks(self, _request: Request) -> Response:
        return JSONResponse({"keys": [key.as_dict(private=False, use="sig", alg="ES256") for key in self._keys]})

    async def authorize(self, request: Request) -> Response:
        """A page to choose a user on; choosing posts the same parameters and `user`, and leads back with a code."""
        try:
            asked = _once(request.query_params.multi_items() if request.method == "GET" else await _form(request))
            self._check_client(asked)
        except Wrong as wrong:
            # To an address that is not the client's nobody is ever led.
            return HTMLResponse(f"<p>{escape(wrong.code)}: {escape(wrong.description)}</p>", 400, PAGE_HEADERS)
        try:
            self._check_request(asked)
            user = asked.get("user") if request.method == "POST" else None
            if user is None:
                return self._page(asked)
            return self._back(asked, {"code": self._code(asked, user)})
        except Wrong as wrong:
            return self._back(asked, {"error": wrong.code, "error_description": wrong.description})

    async def token(self, request: Request) -> Response:
        try:
            grant = self._redeemed(_once(await _form(request)))
        except Wrong as wrong:
            return JSONResponse({"error": wrong.code, "error_description": wrong.description}, 400, NO_STORE)
        now = int(self._now().timestamp())
        identity = {
            "iss": self.issuer, "sub": grant.user, "aud": self._client, "iat": now,
            "exp": now + int(TOKEN_HOLDS.total_seconds()), "auth_time": int(grant.at.timestamp()),
            "name": self._users[grant.user],
        }  # fmt: skip
        if grant.nonce is not None:
            identity["nonce"] = grant.nonce
        answer = {
            "access_token": self._signed("at+jwt", self._access(grant.user, grant.scope, TOKEN_HOLDS)),
            "id_token": self._signed("JWT", identity),
            "token_type": "Bearer",
            "expires_in": int(TOKEN_HOLDS.total_seconds()),
            "scope": grant.scope,
        }
        return JSONResponse(answer, headers=NO_STORE)

    def _here(self, work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return Response("away", 503) if self._is_away else await work(request)

        return endpoint

    def _check_client(self, asked: Parameters) -> None:
        if asked.get("client_id") != self._client:
            raise Wrong("invalid_client", "no such client")
        if asked.get("redirect_uri") not in self._redirect_uris:
            raise Wrong("invalid_request", "the redirect_uri is not one of the client's, to the letter")

    def _check_request(self, asked: Parameters) -> None:
        if asked.get("response_type") != "code":
            raise Wrong("unsupported_response_type", "response_type is code")
        if "openid" not in asked.get("scope", "").split():
            raise Wrong("invalid_scope", "scope has openid in it")
        if asked.get("code_challenge_method") != "S256" or not CHALLENGE.fullmatch(asked.get("code_challenge", "")):
            raise Wrong("invalid_request", "a code_challenge with S256 is required")
        if asked.get("prompt") == "none":
            raise Wrong("login_required", "nobody is signed in")

    def _page(self, asked: Parameters) -> Response:
        hidden = "".join(f'<input type="hidden" name="{escape(n)}" value="{escape(v)}">' for n, v in asked.items())
        buttons = "".join(
            f'<button name="user" value="{escape(handle)}">{escape(name)}</button>'
            for handle, name in sorted(self._users.items(), key=lambda user: user[0] != asked.get("login_hint"))
        )
        page = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Sandbox: sign in</title>'
            f"<style>{STYLE}</style><h1>Who are you?</h1>"
            f"<p>This stand-in of an OpenID issuer believes everybody.</p>"
            f'<form method="post" action="{escape(self.issuer)}/authorize">{hidden}{buttons}</form></html>'
        )
        return HTMLResponse(page, headers=PAGE_HEADERS)

    def _back(self, asked: Parameters, answer: dict[str, str]) -> Response:
        answer |= {"iss": self.issuer} | ({"state": asked["state"]} if "state" in asked else {})
        uri = asked["redirect_uri"]
        return RedirectResponse(f"{uri}{'&' if '?' in uri else '?'}{urlencode(answer)}", 303, NO_STORE)

    def _code(self, asked: Parameters, user: str) -> str:
        if user not in self._users:
            raise Wrong("access_denied", "no such user")
        code = secrets.token_urlsafe(24)
        grant = Grant(
            user=user, redirect_uri=asked["redirect_uri"], challenge=asked["code_challenge"], scope=asked["scope"],
            nonce=asked.get("nonce"), at=self._now(),
        )  # fmt: skip
        keep(self._grants, code, grant)
        return code

    def _redeemed(self, asked: Parameters) -> Grant:
        """The grant of a code, which is worth nothing afterwards. Raises Wrong."""
        if asked.get("client_id") != self._client:
            raise Wrong("invalid_client", "no such client")
        if asked.get("grant_type") != "authorization_code":
            raise Wrong("unsupported_grant_type", "grant_type is authorization_code")
        if missing := [name for name in ("code", "redirect_uri", "code_verifier") if not asked.get(name)]:
            raise Wrong("invalid_request", f"missing: {', '.join(missing)}")
        grant = self._grants.pop(asked["code"], None)
        if grant is None or self._now() - grant.at > CODE_HOLDS or grant.redirect_uri != asked["redirect_uri"]:
            raise Wrong("invalid_grant", "the code is unknown, used, too old, or of another redirect_uri")
        if not VERIFIER.fullmatch(asked["code_verifier"]) or challenge_of(asked["code_verifier"]) != grant.challenge:
            raise Wrong("invalid_grant", "the code_verifier does not fit")
        return grant

    def _access(self, user: str, scope: str, holds: timedelta) -> dict[str, Any]:
        now = self._now()
        return {
            "iss": self.issuer, "sub": user, "aud": self._audience, "client_id": self._client, "scope": scope,
            "iat": int(now.timestamp()), "exp": int((now + holds).timestamp()), "jti": secrets.token_urlsafe(12),
        }  # fmt: skip

    def _signed(self, typ: str, claims: dict[str, Any]) -> str:
        key = self._keys[0]
        return jwt.encode({"alg": "ES256", "kid": key.kid, "typ": typ}, claims, key, algorithms=["ES256"])


def challenge_of(verifier: str) -> str:
    """Of RFC 7636, S256."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _new_key() -> ECKey:
    return ECKey.generate_key("P-256", auto_kid=True)


def _once(given: Sequence[tuple[str, Any]]) -> Parameters:
    """Raises Wrong for a parameter that comes twice, or a file in its place."""
    asked = dict(given)
    if len(asked) != len(given) or not all(isinstance(value, str) for value in asked.values()):
        raise Wrong("invalid_request", "every parameter comes once, as text")
    return asked


async def _form(request: Request) -> Sequence[tuple[str, Any]]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Wrong("invalid_request", "the body is application/x-www-form-urlencoded")
    async with request.form() as form:
        return form.multi_items()


def _obeyed(
    kind: type[msgspec.Struct], work: Callable[[Any], dict[str, Any]]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(work(msgspec.json.decode(await request.body() or b"{}", type=kind)))
        except (msgspec.DecodeError, WrongCommand) as error:
            return JSONResponse({"message": str(error)}, 400)

    return endpoint
