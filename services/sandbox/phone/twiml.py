"""Carries out TwiML as the vendor does: strict about what a document may say, loud about what it may not.

Source: Twilio, "TwiML Voice", version 2010-04-01, and the error dictionary.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from services.sandbox.phone.telephones import Call, Telephone

# The attributes that a verb may have here; the names are case-sensitive.
VERBS: Mapping[str, frozenset[str]] = {
    "Say": frozenset({"language", "voice", "loop"}),
    "Pause": frozenset({"length"}),
    "Hangup": frozenset(),
    "Reject": frozenset({"reason"}),
    "Redirect": frozenset({"method"}),
    "Gather": frozenset({"input", "numDigits", "timeout", "action", "method", "actionOnEmptyResult", "finishOnKey"}),
    "Dial": frozenset({"callerId", "answerOnBridge", "timeout", "timeLimit", "action", "method"}),
    "Number": frozenset({
        "url", "statusCallback", "statusCallbackMethod", "statusCallbackEvent", "machineDetection",
        "amdStatusCallback", "amdStatusCallbackMethod",
    }),
}  # fmt: skip
LANGUAGES = frozenset({
    "da-DK", "de-DE", "en-GB", "en-US", "es-ES", "fi-FI", "fr-FR", "it-IT", "ja-JP", "nb-NO", "nl-NL", "pl-PL", "sv-SE",
})  # fmt: skip
LONGEST_SAY = 4096


class Wrong(Exception):
    """A document that the vendor does not carry out: "an application error has occurred"."""


# Posts a form to an address of ours, and gives the TwiML of the answer; says that a status changed.
Ask = Callable[[Call, str, Mapping[str, str]], Awaitable[bytes]]


@dataclass
class Line:
    """What a call needs of the vendor beside it."""

    ask: Ask
    dial: Callable[[Call, str, str], Call]
    tell: Callable[[Call, str, str, Sequence[str], str], Awaitable[None]]
    answers: Callable[[str], Telephone]
    lines: frozenset[str]
    hung_up: set[str] = field(default_factory=set)


async def carry_out(call: Call, document: bytes, line: Line) -> None:
    """Until it ends or hangs up. Raises Wrong."""
    for verb in _verbs(document):
        if call.cut.is_set():
            return
        if await _do(call, verb, line):
            return


def _verbs(document: bytes) -> list[ElementTree.Element]:
    try:
        root = ElementTree.fromstring(document)  # noqa: S314 - of our own side, on loopback
    except ElementTree.ParseError:
        raise Wrong("12100 the document cannot be parsed") from None
    if root.tag != "Response":
        raise Wrong("12100 the document has no Response")
    for element in root.iter():
        allowed = VERBS.get(element.tag)
        if element is not root and (allowed is None or not element.attrib.keys() <= allowed):
            raise Wrong(f"12200 {element.tag} or one of its attributes is not known")
    return list(root)


async def _do(call: Call, verb: ElementTree.Element, line: Line) -> bool:
    """Whether nothing after this verb is reached."""
    match verb.tag:
        case "Say":
            _say(call, verb)
        case "Gather":
            return await _gather(call, verb, line)
        case "Dial":
            return await _dial(call, verb, line)
        case "Redirect":
            await carry_out(call, await line.ask(call, verb.text or "", {}), line)
            return True
        case "Hangup" | "Reject":
            line.hung_up.add(call.sid)
            if verb.tag == "Reject":
                call.status = verb.get("reason", "rejected")
            return True
        case "Number":
            raise Wrong("12200 Number stands in Dial alone")
    return False


def _say(call: Call, verb: ElementTree.Element) -> None:
    text = verb.text or ""
    if not text.strip():
        raise Wrong("13520 there is nothing to say")
    if len(text) > LONGEST_SAY:
        raise Wrong("13521 it is too long to say")
    if verb.get("language") not in LANGUAGES:
        raise Wrong("13511 no voice speaks this language")
    call.said.append({"language": verb.get("language", ""), "text": text})


async def _gather(call: Call, verb: ElementTree.Element, line: Line) -> bool:
    for inner in verb:
        if inner.tag == "Say":
            _say(call, inner)
        elif inner.tag != "Pause":
            raise Wrong(f"12200 {inner.tag} does not stand in Gather")
    agent = line.answers(call.to)
    if agent.hangs_up == "whisper":
        call.cut.set()
        return True
    if agent.does == "machine" or not agent.presses:
        if verb.get("actionOnEmptyResult") != "true":
            return False
        digits = ""
    else:
        digits = agent.presses[: int(verb.get("numDigits", "99"))]
    action = verb.get("action")
    if action is None:
        raise Wrong("a Gather without an action would come again for ever")
    await carry_out(
        call, await line.ask(call, action, {"Digits": digits, "FinishedOnKey": "", "msg": "Gather End"}), line
    )
    return True


async def _dial(call: Call, verb: ElementTree.Element, line: Line) -> bool:
    number = verb.find("Number")
    if number is None or len(verb) != 1 or not number.text:
        raise Wrong("13224 there is no number to dial")
    if verb.get("callerId") not in line.lines:
        raise Wrong("13214 this number is not ours to show")
    customer = line.answers(number.text)
    leg = line.dial(call, number.text, verb.get("callerId", ""))
    await _ring(call, leg, number, customer, line)
    if call.cut.is_set():
        return True
    action = verb.get("action")
    if action is None:
        return False
    told = {"DialCallStatus": leg.status, "DialCallSid": leg.sid, "DialBridged": str(leg.status == "completed").lower()}
    if leg.status == "completed":
        told["DialCallDuration"] = str(leg.seconds)
    await carry_out(call, await line.ask(call, action, told), line)
    return True


async def _ring(call: Call, leg: Call, number: Any, customer: Telephone, line: Line) -> None:
    """The customer's telephone until that side is over; whoever hangs up on ours sets `call.cut`."""
    agent = line.answers(call.to)
    events, url = number.get("statusCallbackEvent", "completed").split(), number.get("statusCallback", "")

    async def now(status: str) -> None:
        leg.status = status
        await line.tell(leg, url, status, events, customer.callbacks)

    await now("initiated")
    await now("ringing")
    if agent.hangs_up == "customer_ringing":
        call.cut.set()
    if not await call.takes(customer.rings):
        return await now("canceled")
    ends = {"busy": "busy", "no_answer": "no-answer", "fail": "failed"}
    if customer.does in ends:
        return await now(ends[customer.does])
    await now("in-progress")
    call.callbacks.append("bridged")
    by = "machine_start" if customer.does == "machine" else "human"
    if number.get("machineDetection") is not None:
        leg.answered_by = by
        heard = {"AnsweredBy": by, "MachineDetectionDuration": "2300"}
        await line.ask(leg, number.get("amdStatusCallback", ""), heard)
    await call.takes(customer.lasts)
    if agent.hangs_up == "talking":
        call.cut.set()
    leg.seconds = customer.talks
    return await now("completed")
