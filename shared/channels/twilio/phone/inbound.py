"""The webhooks of a call: each step answers with what happens next on the telephone, and tells how far it is.

Source: Twilio, "TwiML Voice" (Gather, Dial, Number, Say), "Call status callbacks", "Answering machine detection";
TwiML and API version 2010-04-01.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from twilio.twiml.voice_response import Gather, VoiceResponse

from shared import callbacks
from shared.accounts import Account, Inbox
from shared.channels.contract import Answer, Hook, Item, Received
from shared.channels.twilio.phone.speech import say, speech
from shared.channels.twilio.phone.state import CallState, address_of, unseal
from shared.channels.twilio.signature import Fields, check, fields_of
from shared.channels.twilio.wire import reason_of, tokens
from shared.errors import BadPayload, InboxMisconfigured, Rejected
from shared.events import Address, CallbackRequested, CallProgressed

TWIML = "text/xml; charset=utf-8"
SID = re.compile("CA[0-9a-fA-F]{32}")
NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
# What callers without a number seem to call from: the letters of ANONYMOUS, RESTRICTED and the like on a keypad.
WITHHELD = frozenset({"+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253"})
# The vendor's states in our words; others need nothing.
STATES: Mapping[str, str] = {
    "queued": "queued",
    "initiated": "initiated",
    "ringing": "ringing",
    "in-progress": "answered",
    "answered": "answered",
    "completed": "completed",
    "busy": "busy",
    "no-answer": "no-answer",
    "failed": "failed",
    "canceled": "canceled",
}
KEY = "1"
# Seconds: for a key after the sentences, and for the customer's telephone; then for the talk.
PRESS_WITHIN, RINGS, TALKS = 8, 25, 3 * 3600
EVENTS = "initiated ringing answered completed"
Leg = Literal["agent", "customer"]


def verify(hook: Hook, account: Account) -> None:
    """Raises BadSignature."""
    check(hook, tokens(account))


def receive(hook: Hook, account: Account) -> Received:
    """What a step tells, and the TwiML of the next one. Raises BadPayload for what is no request of a call."""
    fields = fields_of(hook)
    if not SID.fullmatch(fields.one("CallSid")):
        raise BadPayload("the request names no call", code="no_call")
    step = hook.parameter("step")
    if not step:
        return _rung(hook, fields, account)
    do = _STEPS.get(step)
    if do is None:
        raise BadPayload("a call has no such step", code="no_step")
    sealed = hook.parameter("call")
    return do(_Step(hook, fields, account, unseal(sealed, account), sealed))


class _Step:
    """One webhook of a call of ours."""

    def __init__(self, hook: Hook, fields: Fields, account: Account, state: CallState, sealed: str) -> None:
        self.hook, self.fields, self.account, self.state, self._sealed = hook, fields, account, state, sealed

    def one(self, name: str) -> str:
        return _one(self.fields, name)

    def address(self, step: str) -> str:
        return address_of(self.hook.url.partition("?")[0], step, self._sealed)

    def say(self, verb: VoiceResponse | Gather, text: str) -> None:
        say(verb, text, self.state.language, self.account)

    def told(self, leg: Leg, external_id: str, state: str, what: str, **more: object) -> Item:
        data = CallProgressed(
            channel="phone",
            keys=[f"{external_id}:{what}"],
            reference=self.state.reference,
            external_id=external_id,
            leg=leg,
            state=state,
            at=instant_of(self.one("Timestamp")) or self.hook.received_at,
            **more,  # type: ignore[arg-type]
        )
        return Item(address=self.state.line, lane=self.state.reference, data=data)


def _whisper(step: _Step) -> Received:
    """The agent has answered: who waits, and a key to press, which no answering machine does."""
    twiml = VoiceResponse()
    gather = twiml.gather(
        input="dtmf", num_digits=1, timeout=PRESS_WITHIN, action=step.address("key"), method="POST",
        action_on_empty_result=True,
    )  # fmt: skip
    for _ in range(2):
        step.say(gather, step.state.whisper)
        step.say(gather, speech(step.state.language).press)
        gather.pause(length=1)
    return Received([step.told("agent", step.one("CallSid"), "answered", "whisper")], _twiml(twiml))


def _key(step: _Step) -> Received:
    """Connects whoever pressed the key; anything else is nobody."""
    is_there = step.one("Digits") == KEY
    what = "confirmed" if is_there else "declined"
    twiml = VoiceResponse()
    if is_there:
        dial = twiml.dial(
            caller_id=step.state.line, answer_on_bridge=True, timeout=RINGS, time_limit=TALKS,
            action=step.address("bridged"), method="POST",
        )  # fmt: skip
        dial.number(
            step.state.customer,
            status_callback=step.address("customer"),
            status_callback_method="POST",
            status_callback_event=EVENTS,
            machine_detection="Enable",
            amd_status_callback=step.address("machine"),
            amd_status_callback_method="POST",
        )
    else:
        twiml.hangup()
    return Received([step.told("agent", step.one("CallSid"), what, what)], _twiml(twiml))


def _bridged(step: _Step) -> Received:
    """The customer's side is over; the agent hears why where nobody talked."""
    status = STATES.get(step.one("DialCallStatus"))
    twiml = VoiceResponse()
    words = speech(step.state.language)
    if said := {"no-answer": words.absent, "busy": words.busy, "failed": words.failed}.get(status or ""):
        step.say(twiml, said)
    twiml.hangup()
    if status is None:
        return Received([], _twiml(twiml))
    external_id = step.one("DialCallSid") or step.one("CallSid")
    seconds = whole_of(step.one("DialCallDuration"))
    return Received([step.told("customer", external_id, status, f"dial:{status}", seconds=seconds)], _twiml(twiml))


def _status(step: _Step, leg: Leg) -> Received:
    status = STATES.get(step.one("CallStatus"))
    if status is None:
        return Received([], NOTHING)
    code = step.one("ErrorCode") if status == "failed" else ""
    network = step.one("SipResponseCode")[:3] if status == "failed" else ""
    told = step.told(
        leg,
        step.one("CallSid"),
        status,
        status,
        sequence=whole_of(step.one("SequenceNumber")),
        answered_by=step.one("AnsweredBy")[:40],
        seconds=whole_of(step.one("CallDuration")) if status == "completed" else None,
        code=reason_of(code) if code else f"sip_{network}" if network else "",
    )
    return Received([told], NOTHING)


def _machine(step: _Step) -> Received:
    """Who answered, as the vendor hears it some seconds later."""
    by = step.one("AnsweredBy")[:40]
    told = [step.told("customer", step.one("CallSid"), "answered", "machine", answered_by=by)] if by else []
    return Received(told, NOTHING)


_STEPS: Mapping[str, Callable[[_Step], Received]] = {
    "whisper": _whisper,
    "key": _key,
    "bridged": _bridged,
    "machine": _machine,
    "agent": lambda step: _status(step, "agent"),
    "customer": lambda step: _status(step, "customer"),
}


def _rung(hook: Hook, fields: Fields, account: Account) -> Received:
    """Somebody rings the line, perhaps because they missed our call: they are called back, unless they hide.

    Where nobody calls such a number they hear that the line is busy, and a person sees that they rang.
    """
    caller, line = _one(fields, "From"), _one(fields, "To")
    twiml = VoiceResponse()
    if not NUMBER.fullmatch(caller) or caller in WITHHELD:
        twiml.reject(reason="busy")
        return Received([], _twiml(twiml))
    inbox = account.inboxes.get(line)
    if inbox is not None and _is_called(caller, inbox, hook.received_at):
        language = inbox.locale.split("-")[0] if inbox.locale else None
        say(twiml, speech(language).called_back, language, account)
        twiml.hangup()
    else:
        twiml.reject(reason="busy")
    wish = CallbackRequested(
        channel="phone",
        keys=[f"call:{fields.one('CallSid')}"],
        # Not verified: anybody can show any number.
        sender=Address(kind="phone", value=caller),
        occurred_at=hook.received_at,
        raw=hook.body,
    )
    return Received([Item(address=line, lane=caller, data=wish)], _twiml(twiml))


def _is_called(number: str, inbox: Inbox, now: datetime) -> bool:
    try:
        callbacks.number(number, "", callbacks.rules_of(inbox), now)
    except (Rejected, InboxMisconfigured):
        return False
    return True


def _one(fields: Fields, name: str) -> str:
    """A field as PostgreSQL can keep it."""
    return fields.one(name).replace("\x00", "")


def _twiml(twiml: VoiceResponse) -> Answer:
    return Answer(body=str(twiml).encode(), media_type=TWIML)


NOTHING = _twiml(VoiceResponse())


def whole_of(text: str) -> int | None:
    """A figure of the vendor, which sends them as text; None where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


def instant_of(text: str) -> datetime | None:
    """An RFC 2822 date of the vendor in UTC; None where it is none."""
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
