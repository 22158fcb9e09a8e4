"""An OpenID issuer on a real port, and tokens that are not its own."""

import base64
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from services.router.oidc import Issuer
from services.sandbox.oidc import Oidc, Wish
from services.sandbox.stand_in import Connection
from services.sandbox.state import State
from tests.sandbox.conftest import address, at_a_port

AUDIENCE = "dragoman"


@cache
def another_key() -> ECKey:
    """Nobody's; made once."""
    return ECKey.generate_key("P-256")


@dataclass
class Served:
    """The stand-in at `url`; `asked` are the paths of the requests that it got."""

    oidc: Oidc
    url: str
    asked: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def issuer(self, **more: Any) -> Issuer:
        return Issuer(self.url, AUDIENCE, clock=lambda: self.seconds, **more)

    def token(self, user: str = "anna", expires_in: float = 3600, **claims: Any) -> str:
        """As its owner would get it; a claim that is None is left out."""
        minted: str = self.oidc.mint(Wish(user=user, expires_in=expires_in, claims=claims))["access_token"]
        return minted


@asynccontextmanager
async def an_issuer(now: Callable[[], datetime]) -> AsyncIterator[Served]:
    """Its users are the agents of the world, and one whom nobody knows."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = address(listening)
    users = {handle: handle.title() for handle in ("anna", "bernd", "claire", "gina", "olaf", "sam", "stranger")}
    settings = {
        "issuer": url, "client_id": "console", "audience": AUDIENCE, "users": users,
        "redirect_uris": [f"{url}/console"],
    }  # fmt: skip
    served = Served(Oidc([Connection(name="oidc", settings=settings)], State(), now), url)
    app = Starlette(routes=served.oidc.routes())

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        served.asked.append(scope["path"])
        await app(scope, receive, send)

    async with at_a_port(counted, listening):
        yield served


def read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, unverified."""
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    return header, claims


def encoded(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def unsigned(token: str, algorithm: str = "none") -> str:
    header, claims = read(token)
    return f"{encoded(header | {'alg': algorithm})}.{encoded(claims)}."


def altered(token: str, **claims: object) -> str:
    """Other claims under the signature that it had."""
    header, before = read(token)
    return f"{encoded(header)}.{encoded(before | claims)}.{token.rsplit('.', 1)[1]}"


def signed_by_another(token: str, **header: object) -> str:
    before, claims = read(token)
    return jwt.encode({**before, **header}, claims, another_key(), algorithms=["ES256"])


def signed_with_the_public_key(token: str, key: ECKey) -> str:
    """HMAC with what everybody knows, for a verifier that lets the token choose its algorithm."""
    header, claims = read(token)
    secret = key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    said = f"{encoded(header | {'alg': 'HS256'})}.{encoded(claims)}"
    return f"{said}.{encoded(hmac.digest(secret, said.encode(), hashlib.sha256))}"
