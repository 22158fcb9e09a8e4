"""Where the demo is played: what cannot be played on is said in a line, with what to do."""

from collections.abc import Callable

import httpx
import pytest

from services.demo.house import lacks
from tests.test_main import dragoman

Handler = Callable[[httpx.Request], httpx.Response]


def answering(sign_in: httpx.Response, stand_ins: int = 200, agents: int = 200) -> Handler:
    answers = {"/v1/sign-in": sign_in, "/v1/me": httpx.Response(agents, json={})}
    return lambda request: answers.get(request.url.path, httpx.Response(stand_ins, json=[]))


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (answering(httpx.Response(200, json={"development_tokens": True, "openid": None})), ""),
        (answering(httpx.Response(200, text="<h1>It works!</h1>")), "is no Dragoman"),
        (answering(httpx.Response(404)), "is no Dragoman"),
        (answering(httpx.Response(200, json=["development_tokens"])), "is no Dragoman"),
        (answering(httpx.Response(200, json={"development_tokens": False})), "takes no development tokens"),
        (answering(httpx.Response(200, json={"development_tokens": True}), 404), "has no stand-ins of the vendors"),
        (
            answering(httpx.Response(200, json={"development_tokens": True}), agents=401),
            "does not have the agents of the sample configuration",
        ),
    ],
    ids=["one", "another page", "nothing there", "another JSON", "a real one", "without stand-ins", "other agents"],
)
async def test_what_a_dragoman_lacks_for_a_demo(handler: Handler, says: str) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as http:
        assert await lacks(http, "http://there") == says


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "not an address", "http://["])
def test_an_address_where_nobody_answers_is_said_in_a_line(url: str) -> None:
    done = dragoman("demo", DRAGOMAN_DEMO_URL=url)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"no_dragoman: {url} does not answer: start one with `make run`, or leave DRAGOMAN_DEMO_URL out"
    ]
