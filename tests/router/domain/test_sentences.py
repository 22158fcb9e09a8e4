"""Decisions read as sentences."""

from typing import Any
from uuid import UUID

import pytest

from services.router.domain import sentences
from services.router.domain.plan import Agent

ANNA, BERND = UUID(int=1), UUID(int=2)
AGENTS = {
    id_: Agent(id=id_, handle=name.lower(), name=name, role="agent", capacity=2, brands=frozenset())
    for id_, name in ((ANNA, "Anna"), (BERND, "Bernd"))
}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"language": "de", "level": "native"}, "Anna answers in German as a native speaker and was free."),
        ({"language": None, "level": "fluent"}, "Anna answers in any language and was free."),
        (
            {"language": "tlh", "level": "fluent", "step": 1, "same_agent": True},
            "Anna answers in tlh as a fluent speaker and was free, and knows this customer; step 2 of the plan, "
            "for the time of the earlier ones was used up.",
        ),
        (
            {"language": "nb", "level": "native",
             "passed_over": [{"agent": str(BERND), "why": "declined it in this round"},
                             {"agent": str(UUID(int=3)), "why": "too little capacity left"}]},
            "Anna answers in Norwegian as a native speaker and was free; passed over: "
            "Bernd (declined it in this round), an agent who has left (too little capacity left).",
        ),
        ({"how": "claimed", "pool": "de"}, "Anna took it from the queue de."),
        ({"how": "transferred", "by": "Bernd", "because": "shift ends"}, "Bernd gave it to Anna (shift ends)."),
        ({"how": "transferred", "by": "key:crm", "because": ""}, "key:crm gave it to Anna."),
    ],
)  # fmt: skip
def test_who_got_it_and_why(data: dict[str, Any], sentence: str) -> None:
    assert sentences.of_agent({"agent": str(ANNA), **data}, AGENTS) == sentence


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            {"plan": "p", "language": "de", "pools": ["de", "all"], "reached": 0, "because": "new"},
            "Waits for de by the plan p for German (new).",
        ),
        (
            {"plan": "p", "language": None, "pools": ["de", "all"], "reached": 1, "because": "declined"},
            "Waits for de, all by the plan p for a language that is not known yet (declined).",
        ),
        (
            {"plan": "vip", "pools": ["vip"], "because": "warranty", "by_hand": True},
            "Waits for vip, where somebody gave it (warranty).",
        ),
    ],
)
def test_why_it_waits(data: dict[str, Any], sentence: str) -> None:
    assert sentences.of_waiting(data) == sentence
