"""What the vendor tells of a call's two telephones, in whatever order, and how the call ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shared.events import CallProgressed

Outcome = Literal["talked", "customer_absent", "machine", "busy", "agent_absent", "failed", "withdrawn"]
Legs = Mapping[str, Mapping[str, Any]]

RANK = {"queued": 0, "initiated": 1, "ringing": 2, "answered": 3}
ENDS = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})
# Whoever talks longer than this to what was taken for a machine talks to a person.
MACHINE_TALKS = 60


@dataclass(frozen=True, slots=True)
class End:
    outcome: Outcome
    seconds: int = 0
    code: str = ""


def fold(legs: Legs, told: CallProgressed) -> dict[str, dict[str, Any]]:
    """What is known of both telephones afterwards; an end is final, and nothing goes back."""
    leg = dict(legs.get(told.leg, {}))
    before = leg.get("state", "")
    if told.state in ("confirmed", "declined"):
        # The agent pressed the key, or did not: whoever pressed it once is there.
        leg["is_confirmed"] = leg.get("is_confirmed", False) or told.state == "confirmed"
        leg["is_declined"] = not leg["is_confirmed"]
    elif before not in ENDS and (told.state in ENDS or RANK.get(told.state, -1) >= RANK.get(before, -1)):
        leg["state"] = told.state
    if told.seconds is not None:
        leg["seconds"] = max(told.seconds, leg.get("seconds", 0))
    if told.answered_by and leg.get("answered_by", "unknown") == "unknown":
        leg["answered_by"] = told.answered_by
    if told.code and not leg.get("code"):
        leg["code"] = told.code
    return {**{name: dict(value) for name, value in legs.items()}, told.leg: leg}


def is_over(legs: Legs) -> bool:
    """Whether the agent's telephone was hung up, and with it everything."""
    return legs.get("agent", {}).get("state") in ENDS


def conclude(legs: Legs, *, is_withdrawn: bool = False, is_all: bool = False) -> End | None:
    """How the call ended; None while that is open. `is_all`: the vendor was asked, and nothing more will come."""
    agent, customer = legs.get("agent", {}), legs.get("customer", {})
    if customer.get("state") in ENDS:
        return _of_customer(customer, is_withdrawn)
    if not is_over(legs):
        return None
    if is_withdrawn and not customer.get("state"):
        return End("withdrawn")
    never_answered = agent["state"] != "completed" and not agent.get("is_confirmed")
    if never_answered or agent.get("is_declined") or is_all:
        return End("agent_absent", code=agent.get("code", ""))
    return None


def _of_customer(customer: Mapping[str, Any], is_withdrawn: bool) -> End:
    seconds, code = customer.get("seconds", 0), customer.get("code", "")
    match customer["state"]:
        case "completed" if _is_machine(customer.get("answered_by", "")) and seconds <= MACHINE_TALKS:
            return End("machine", seconds, code)
        case "completed":
            return End("talked", seconds, code)
        case "busy":
            return End("busy", code=code)
        case "no-answer":
            return End("customer_absent", code=code)
        case "failed":
            return End("failed", code=code or "customer_not_reachable")
    # Hung up on our side while the customer's telephone rang.
    return End("withdrawn" if is_withdrawn else "agent_absent", code=code)


def _is_machine(answered_by: str) -> bool:
    return answered_by.startswith(("machine", "fax"))
