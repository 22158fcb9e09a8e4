"""A decision as a sentence for people."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from services.router.domain.plan import Agent


def of_agent(data: Mapping[str, Any], agents: Mapping[UUID, Agent]) -> str:
    """Why this agent: language and level, the step of the plan, who was passed over."""
    language = data.get("language")
    level = data.get("level")
    speaks = f"answers {language} as a {level} speaker" if language else "is one of the generalists"
    sentence = f"{_name(data.get('agent'), agents)} {speaks} and was free"
    if data.get("same_agent"):
        sentence += ", and knows this customer"
    if data.get("step"):
        sentence += f"; step {data['step'] + 1} of the plan, for the time of the earlier ones was used up"
    passed = data.get("passed_over") or []
    if passed:
        sentence += "; passed over: " + ", ".join(f"{_name(p['agent'], agents)} ({p['why']})" for p in passed)
    return sentence + "."


def of_waiting(data: Mapping[str, Any]) -> str:
    """Why it waits where it waits."""
    language = data.get("language") or "an undetermined language"
    asked = ", ".join((data.get("pools") or [])[: data.get("reached", 0) + 1])
    return f"Waits for {asked} by the plan {data.get('plan')}, as it speaks {language} ({data.get('because')})."


def _name(id_: Any, agents: Mapping[UUID, Agent]) -> str:
    agent = agents.get(UUID(str(id_))) if id_ else None
    return agent.name if agent else "an agent who has left"
