"""Only what the issuer signed for us and for now is believed, and the issuer is not asked more than it must be."""

import time
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey
from joserfc.jws import JWSRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from services.router.oidc import AWAY_FOR, MOST_ASKED, BadToken, Issuer, issuer_of
from services.sandbox.oidc import Absence, Rotation
from shared.errors import InboxMisconfigured, Unavailable
from shared.settings import Settings
from tests.router import issuer as tokens
from tests.router.issuer import Served, an_issuer
from tests.router.world import MONDAY
from tests.sandbox.conftest import at_a_port

NOW = MONDAY.timestamp()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with an_issuer(lambda: MONDAY) as made:
        yield made


async def read(issuer: Issuer, token: str, now: float = NOW) -> str:
    await issuer.learn(token)
    return issuer.read(token, now)


async def why(issuer: Issuer, token: str, now: float = NOW) -> str:
    with pytest.raises(BadToken) as raised:
        await read(issuer, token, now)
    return raised.value.code


async def test_a_token_of_the_issuer_says_who_somebody_is(served: Served) -> None:
    issuer = served.issuer()
    assert await read(issuer, served.token("anna")) == "anna"
    assert await read(issuer, served.token("bernd", aud=["another", "dragoman"])) == "bernd"
    assert await read(served.issuer(claim="email"), served.token(email="a@example.com")) == "a@example.com"
    assert served.asked[:2] == ["/.well-known/openid-configuration", "/jwks"]
    assert len(served.asked) == 4


def shared_secret(served: Served) -> str:
    (key,) = served.oidc._keys
    return tokens.signed_with_the_public_key(served.token(), key)


def critical(served: Served) -> str:
    """The issuer's own signature over what we do not understand and must."""
    (key,) = served.oidc._keys
    header, claims = tokens.read(served.token())
    said = f"{tokens.encoded(header | {'crit': ['x'], 'x': 1})}.{tokens.encoded(claims)}"
    return f"{said}.{tokens.encoded(JWSRegistry.algorithms['ES256'].sign(said.encode(), key))}"


FORGED: dict[str, tuple[Callable[[Served], str], str]] = {
    "no algorithm": (lambda s: tokens.unsigned(s.token()), "algorithm"),
    "no algorithm in capitals": (lambda s: tokens.unsigned(s.token(), "NONE"), "algorithm"),
    "the public key as a shared secret": (shared_secret, "algorithm"),
    "claims that were changed": (lambda s: tokens.altered(s.token(), sub="sam"), "signature"),
    "another's key under the issuer's name for its own": (lambda s: tokens.signed_by_another(s.token()), "signature"),
    "another's key": (lambda s: tokens.signed_by_another(s.token(), kid="mine"), "unknown_key"),
    "another's key without a name": (lambda s: tokens.signed_by_another(s.token(), kid=""), "unknown_key"),
    "a key that comes along": (
        lambda s: tokens.signed_by_another(s.token(), jwk=tokens.another_key().as_dict(private=False)), "signature",
    ),
    "the right length of nothing": (lambda s: s.token().rsplit(".", 1)[0] + "." + "A" * 86, "signature"),
    "an unknown critical header": (critical, "malformed"),
    "another issuer": (lambda s: s.token(iss="https://elsewhere.example"), "issuer"),
    "the issuer with a slash": (lambda s: s.token(iss=f"{s.url}/"), "issuer"),
    "no issuer": (lambda s: s.token(iss=None), "issuer"),
    "another audience": (lambda s: s.token(aud="another"), "audience"),
    "an audience that begins like ours": (lambda s: s.token(aud="dragoman2"), "audience"),
    "no audience": (lambda s: s.token(aud=None), "audience"),
    "no audience at all": (lambda s: s.token(aud=[]), "audience"),
    "no end": (lambda s: s.token(exp=None), "claims"),
    "an end that is none": (lambda s: s.token(exp="tomorrow"), "claims"),
    "an end that is true": (lambda s: s.token(exp=True), "claims"),
    "no subject": (lambda s: s.token(sub=None), "claims"),
    "a subject that is a number": (lambda s: s.token(sub=7), "claims"),
    "an empty subject": (lambda s: s.token(sub=""), "claims"),
    "nothing": (lambda _: "", "malformed"),
    "two dots": (lambda _: "..", "malformed"),
    "no token": (lambda _: "a key of somebody", "malformed"),
    "five parts": (lambda s: f"{s.token()}.a.b", "malformed"),
    "a header that is a list": (lambda s: f"{tokens.encoded([])}.{s.token().split('.', 1)[1]}", "algorithm"),
    "a header of great depth": (lambda _: f"{tokens.encoded(b'[' * 300)}.e30.AA", "malformed"),
    "an algorithm that is a list": (lambda s: f"{tokens.encoded({'alg': ['ES256']})}.e30.AA", "malformed"),
    "a key that is a list": (lambda s: f"{tokens.encoded({'alg': 'ES256', 'kid': ['x']})}.e30.AA", "malformed"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
async def test_what_is_not_the_issuers_for_us_is_refused_with_its_reason(served: Served, name: str) -> None:
    make, code = FORGED[name]
    assert await why(served.issuer(), make(served)) == code


TIMES = {
    # claim and its distance from now: whether it holds
    ("exp", 1): True, ("exp", -59): True, ("exp", -60): False, ("exp", -3600): False, ("exp", 1e18): True,
    ("nbf", 0): True, ("nbf", 60): True, ("nbf", 61): False, ("iat", 60): True, ("iat", 61): False,
}  # fmt: skip


@pytest.mark.parametrize(("claim", "distance"), TIMES)
async def test_clocks_may_differ_by_a_minute_and_no_more(served: Served, claim: str, distance: float) -> None:
    issuer, token = served.issuer(), served.token(**{claim: NOW + distance})
    if TIMES[claim, distance]:
        assert await read(issuer, token) == "anna"
    else:
        assert await why(issuer, token) == ("expired" if claim == "exp" else "claims")


async def test_a_token_that_was_good_ends_with_its_time(served: Served) -> None:
    issuer, token = served.issuer(), served.token(expires_in=300)
    assert await read(issuer, token, NOW + 359) == "anna"
    assert await why(issuer, token, NOW + 360) == "expired"


async def test_keys_are_changed_without_anybody_noticing(served: Served) -> None:
    issuer, before = served.issuer(), served.token()
    assert await read(issuer, before) == "anna"
    served.oidc.rotate(Rotation())
    after = served.token()
    assert tokens.read(before)[0]["kid"] != tokens.read(after)[0]["kid"]
    assert await read(issuer, after) == "anna"
    assert await read(issuer, before) == "anna"
    assert served.asked.count("/jwks") == 2


async def test_a_key_that_the_issuer_took_back_is_good_for_nothing_after_the_next_look(served: Served) -> None:
    issuer, before = served.issuer(), served.token()
    assert await read(issuer, before) == "anna"
    served.oidc.rotate(Rotation(drop=True))
    await issuer.refresh()
    assert await why(issuer, before) == "unknown_key"


async def test_an_unknown_key_is_asked_for_once(served: Served) -> None:
    issuer = served.issuer()
    stranger = tokens.signed_by_another(served.token(), kid="stranger")
    for _ in range(5):
        assert await why(issuer, stranger) == "unknown_key"
    assert served.asked.count("/jwks") == 1
    await read(issuer, served.token())
    assert served.asked.count("/jwks") == 1


async def test_made_up_keys_do_not_make_us_a_nuisance_to_the_issuer(served: Served) -> None:
    issuer = served.issuer()
    made_up = [tokens.signed_by_another(served.token(), kid=f"k{n}") for n in range(MOST_ASKED + 5)]
    for token in made_up[:MOST_ASKED]:
        assert await why(issuer, token) == "unknown_key"
    for token in made_up[MOST_ASKED:]:
        with pytest.raises(Unavailable):
            await issuer.learn(token)
    assert served.asked.count("/jwks") == MOST_ASKED
    # Whoever is known gets in meanwhile, and so does a real new key a little later.
    assert await read(issuer, served.token()) == "anna"
    served.oidc.rotate(Rotation())
    served.seconds += 61
    assert await read(issuer, served.token()) == "anna"


async def test_an_issuer_that_is_away_stops_nobody_whose_key_is_known(served: Served) -> None:
    issuer, known = served.issuer(), served.token()
    assert await read(issuer, known) == "anna"
    served.oidc.leave(Absence(away=True))
    assert await read(issuer, known) == "anna"
    assert await read(issuer, served.token("bernd")) == "bernd"
    with pytest.raises(Unavailable):
        await issuer.refresh()
    served.oidc.rotate(Rotation())
    unknown = served.token()
    asked = len(served.asked)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await issuer.learn(unknown)
    # Not one request more while it was away a moment ago.
    assert len(served.asked) == asked
    served.oidc.leave(Absence(away=False))
    served.seconds += AWAY_FOR
    assert await read(issuer, unknown) == "anna"


DISCOVERY = "/.well-known/openid-configuration"


def lies(url: str) -> dict[str, dict[str, Callable[[Request], Response]]]:
    """Answers that no issuer gives, by the path that they replace."""
    right = {"issuer": url, "jwks_uri": f"{url}/jwks"}
    return {
        "another's name": {DISCOVERY: lambda _: JSONResponse(right | {"issuer": "https://elsewhere.example"})},
        "no keys": {DISCOVERY: lambda _: JSONResponse({"issuer": url})},
        "a redirect": {DISCOVERY: lambda _: RedirectResponse(f"{url}/elsewhere")},
        "no JSON": {DISCOVERY: lambda _: Response("<html>")},
        "a list": {"/jwks": lambda _: JSONResponse([])},
        "keys that are text": {"/jwks": lambda _: JSONResponse({"keys": "none"})},
        "no end": {"/jwks": lambda _: Response(b" " * 1_000_001)},
        "an error": {"/jwks": lambda _: Response("{}", 500)},
        "no address": {DISCOVERY: lambda _: JSONResponse(right | {"jwks_uri": "http://[::1"})},
    }


@pytest.mark.parametrize("name", lies(""))
async def test_an_issuer_that_answers_nonsense_is_away(name: str) -> None:
    answers: dict[str, Callable[[Request], Response]] = {}

    async def endpoint(request: Request) -> Response:
        return answers[request.url.path](request)

    async with at_a_port(Starlette(routes=[Route("/{path:path}", endpoint)])) as url:
        answers[DISCOVERY] = lambda _: JSONResponse({"issuer": url, "jwks_uri": f"{url}/jwks"})
        answers["/jwks"] = lambda _: JSONResponse({"keys": []})
        await Issuer(url, "a").refresh()
        answers |= lies(url)[name]
        with pytest.raises(Unavailable) as raised:
            await Issuer(url, "a").refresh()
    assert raised.value.code == "issuer_away"


async def test_keys_of_other_kinds_are_passed_over() -> None:
    rsa = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
    shared = OctKey.generate_key(256, auto_kid=True)
    published = [
        {"kty": "lattice", "kid": "new"}, {"kty": "EC", "crv": "P-9", "kid": "odd", "x": "AA", "y": "AA"},
        {"kid": "none"}, shared.as_dict(), rsa.as_dict(private=False),
        rsa.as_dict(private=False) | {"use": "enc", "kid": "enc"},
    ]  # fmt: skip

    async def endpoint(request: Request) -> Response:
        if request.url.path == DISCOVERY:
            return JSONResponse({"issuer": url, "jwks_uri": f"{url}/jwks"})
        return JSONResponse({"keys": published})

    async with at_a_port(Starlette(routes=[Route("/{path:path}", endpoint)])) as url:
        issuer = Issuer(url, "a")
        claims = {"iss": url, "aud": "a", "sub": "anna", "exp": int(NOW) + 60}
        assert await read(issuer, jwt.encode({"alg": "RS256", "kid": rsa.kid}, claims, rsa)) == "anna"
        for_another = jwt.encode({"alg": "PS256", "kid": rsa.kid}, claims, RSAKey.import_key(rsa.as_pem(private=True)),
                                 algorithms=["PS256"])  # fmt: skip
        assert await why(issuer, for_another) == "unknown_key"
        assert await why(issuer, jwt.encode({"alg": "HS256", "kid": shared.kid}, claims, shared)) == "algorithm"


SETTINGS = {
    "no audience": {"oidc_issuer": "https://id.example.com"},
    "no https": {"oidc_issuer": "http://id.example.com", "oidc_audience": "a"},
    "no address": {"oidc_issuer": "id.example.com", "oidc_audience": "a"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_half_of_an_issuer_is_a_mistake_that_is_said(name: str) -> None:
    with pytest.raises(InboxMisconfigured, match="DRAGOMAN_OIDC"):
        issuer_of(Settings(**SETTINGS[name]))  # type: ignore[arg-type]


def test_an_issuer_is_behind_https_or_on_this_machine() -> None:
    assert issuer_of(Settings()) is None
    for url in ("https://id.example.com/realm", "http://127.0.0.1:8080/oidc", "http://localhost/oidc"):
        found = issuer_of(Settings(oidc_issuer=url, oidc_audience="a"))
        assert found is not None
        assert found.url == url


header = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "x5c"]),
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.text(max_size=3), max_size=3),
              st.sampled_from(["ES256", "RS256", "known"])),
)  # fmt: skip


@given(st.one_of(st.text(max_size=60), header.map(lambda h: f"{tokens.encoded(h)}.e30.{'A' * 86}")))
def test_whatever_comes_is_refused_and_nothing_breaks(token: str) -> None:
    issuer = Issuer("https://id.example.com", "a")
    issuer._keys = KeySet([tokens.another_key()])
    with pytest.raises(BadToken):
        issuer.read(token, time.time())
