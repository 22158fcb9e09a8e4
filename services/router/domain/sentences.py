"""A decision as a sentence for people."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from services.router.domain.clocks import FIRST_RESPONSE, Clock
from services.router.domain.hours import DAYS
from services.router.domain.plan import Agent

# English names of the languages that brands of ours serve; another one is named by its code.
LANGUAGES: Mapping[str, str] = {
    "ar": "Arabic", "bg": "Bulgarian", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "et": "Estonian", "fi": "Finnish", "fr": "French", "hr": "Croatian", "hu": "Hungarian",
    "it": "Italian", "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "nb": "Norwegian",
    "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sk": "Slovak", "sl": "Slovenian", "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian", "zh": "Chinese",
}  # fmt: skip


def of_agent(data: Mapping[str, Any], agents: Mapping[UUID, Agent]) -> str:
    """Why this agent: language and level, the step of the plan, who was passed over; or who took or gave it."""
    name = _name(data.get("agent"), agents)
    if data.get("how") == "claimed":
        return f"{name} took it from the queue {data.get('pool')}."
    if data.get("how") == "transferred":
        return f"{data.get('by')} gave it to {name}{_reason(data.get('because'))}."
    language = data.get("language")
    speaks = f"answers in {named(language)} as a {data.get('level')} speaker" if language else "answers in any language"
    sentence = f"{name} {speaks} and was free"
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
    pools = data.get("pools") or []
    if data.get("by_hand"):
        return f"Waits for {', '.join(pools)}, where somebody gave it{_reason(data.get('because'))}."
    language = named(data["language"]) if data.get("language") else "a language that is not known yet"
    asked = ", ".join(pools[: data.get("reached", 0) + 1])
    return f"Waits for {asked} by the plan {data.get('plan')} for {language}{_reason(data.get('because'))}."


def of_suggestion(reasons: Sequence[str]) -> list[str]:
    """Why two customers may be one."""
    return [_alike(*reason.split(" ", 1)) for reason in reasons]


def _alike(what: str, which: str = "") -> str:
    match what:
        case "name":
            return "Both have the same name."
        case "matter":
            return f"Both wrote about {which}."
        case "address":
            return f"Both wrote from the same address ({which}), but it is not proven to be theirs in both cases."
        case "vouched":
            return "The vendor says that both addresses are one person's."
        case "moved":
            return "The vendor says that one address became the other."
        case _:
            return "Somebody took them apart before."


def of_clock(clock: Clock) -> str:
    """By what it goes, and when it is due where its calendar is; how it ended."""
    allowed = timedelta(seconds=clock.allowed) if clock.allowed else clock.due_at - clock.started_at
    counted = f"of {clock.hours}" if clock.hours else "around the clock"
    rule = " by the marketplace's rule" if clock.family == "marketplace" else ""
    sentence = f"{span(allowed)} {counted}{rule}; due {_when(clock, clock.due_at)}"
    if clock.state == "running" or clock.ended_at is None:
        return sentence
    return f"{sentence}; {'answered' if clock.state == 'met' else 'stopped'} {_when(clock, clock.ended_at)}"


def of_deadline(clock: Clock, now: datetime) -> str:
    """What is due or late, by how much in plain time, and why."""
    target = "first response" if clock.target == FIRST_RESPONSE else "next response"
    late = now >= clock.due_at
    how = f"is {span(now - clock.due_at)} late" if late else f"is due in {span(clock.due_at - now)}"
    return f"The {target} {how} ({of_clock(clock)})."


def span(length: timedelta) -> str:
    """Such as `45 s`, `15 min`, `1 h 30 min`; seconds only where there are no minutes."""
    seconds = int(length.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    return " ".join([f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0))


def _when(clock: Clock, at: datetime) -> str:
    """On the clocks of its zone; with the date where the weekday alone could be another one."""
    local = at.astimezone(ZoneInfo(clock.zone or "UTC"))
    far = abs(at - clock.started_at) >= timedelta(days=6)
    date = f" {local:%Y-%m-%d}" if far else ""
    return f"{DAYS[local.weekday()]}{date} {local:%H:%M}{'' if clock.zone else ' UTC'}"


def named(language: str) -> str:
    """The language's English name, its code where we know none."""
    return LANGUAGES.get(language, language)


def _reason(because: str | None) -> str:
    return f" ({because})" if because else ""


def _name(id_: Any, agents: Mapping[UUID, Agent]) -> str:
    agent = agents.get(UUID(str(id_))) if id_ else None
    return agent.name if agent else "an agent who has left"
