"""Placing, following and ending calls.

Source: Twilio, "REST API: Call resource", API version 2010-04-01.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

import httpx

from shared.accounts import Account, Inbox
from shared.channels.contract import Draft, Permission, Placed, Try
from shared.channels.twilio.phone.inbound import SID, STATES, Leg, instant_of, whole_of
from shared.channels.twilio.phone.state import CallState, address_of, seal
from shared.channels.twilio.wire import get, post
from shared.errors import InboxMisconfigured, OutcomeUnknown, Rejected
from shared.events import CallProgressed, PlaceCall, SendReply

# Seconds that the agent's telephone rings.
RINGS = 30
EVENTS = ("initiated", "ringing", "answered", "completed")
# The vendor's clock and ours.
SKEW = timedelta(seconds=5)
# The newest calls between two numbers; one of them is the one that is looked for, if there is one.
LOOKED_AT = 20
OVER_ALREADY = "over_already"


def render(_reply: SendReply) -> NoReturn:
    """Raises Rejected: whoever is on a telephone line is called."""
    raise Rejected("a telephone line carries no texts", code="calls_only")


async def send(_http: httpx.AsyncClient, _attempt: Try, _account: Account, _inbox: Inbox) -> NoReturn:
    """Raises Rejected."""
    raise Rejected("a telephone line carries no texts", code="calls_only")


def may_write(_draft: Draft, _inbox: Inbox, _now: datetime) -> Permission:
    return Permission(allowed=False, reason="calls_only", sentence="This is a telephone line: call the customer.")


async def place(http: httpx.AsyncClient, command: PlaceCall, account: Account, inbox: Inbox, hook_url: str) -> str:
    """Has the agent called; what follows is said step by step when the vendor asks. The call's SID."""
    if not hook_url:
        raise InboxMisconfigured(f"account {account.id} has no secret `hook_token`", code="no_hook_token")
    state = CallState(
        reference=str(command.call_id),
        line=inbox.address,
        customer=command.customer_phone,
        whisper=command.whisper,
        language=command.language,
    )
    sealed = seal(state, account)
    form = {
        "To": command.agent_phone,
        "From": inbox.address,
        "Url": address_of(hook_url, "whisper", sealed),
        "Method": "POST",
        "StatusCallback": address_of(hook_url, "agent", sealed),
        "StatusCallbackMethod": "POST",
        "StatusCallbackEvent": EVENTS,
        "Timeout": str(RINGS),
    }
    placed = await post(http, account, "Calls.json", form)
    return _sid(placed)


def _sid(call: Mapping[str, Any]) -> str:
    sid = call.get("sid")
    if not isinstance(sid, str) or not SID.fullmatch(sid):
        raise OutcomeUnknown("the vendor's answer names no call", code="no_call")
    return sid


async def follow(http: httpx.AsyncClient, placed: Placed, account: Account, inbox: Inbox) -> Sequence[CallProgressed]:
    """How the call and the customer's side of it stand; nothing where the vendor never had it."""
    if placed.external_id is None:
        agent = await _found(http, placed, account, inbox)
    else:
        agent = await get(http, account, f"Calls/{placed.external_id}.json")
    if agent is None:
        return []
    sid = _sid(agent)
    customers = _calls(await get(http, account, "Calls.json", {"ParentCallSid": sid, "PageSize": str(LOOKED_AT)}))
    told = [_told(placed, "agent", agent)]
    if customers:
        # The vendor does not tell of keys; it dialled the customer, so it was pressed.
        told.append(_told(placed, "agent", {**agent, "status": "confirmed"}))
    return [*told, *(_told(placed, "customer", call) for call in customers)]


async def _found(http: httpx.AsyncClient, placed: Placed, account: Account, inbox: Inbox) -> Mapping[str, Any] | None:
    """The call that an unknown attempt began: the first one between these numbers since then."""
    query = {"To": placed.command.agent_phone, "From": inbox.address, "PageSize": str(LOOKED_AT)}
    since = placed.started_at - SKEW
    calls = [
        (instant_of(str(call.get("date_created"))), call)
        for call in _calls(await get(http, account, "Calls.json", query))
    ]
    begun = [(at, call) for at, call in calls if at is not None and at >= since]
    return min(begun, key=lambda one: one[0])[1] if begun else None


def _calls(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    calls = page.get("calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _told(placed: Placed, leg: Leg, call: Mapping[str, Any]) -> CallProgressed:
    status = str(call.get("status"))
    sid = _sid(call)
    by = call.get("answered_by")
    return CallProgressed(
        channel="phone",
        keys=[f"{sid}:{status}:asked"],
        reference=str(placed.command.call_id),
        external_id=sid,
        leg=leg,
        state=STATES.get(status, status),
        at=instant_of(str(call.get("date_updated"))) or placed.started_at,
        answered_by=by if isinstance(by, str) else "",
        seconds=whole_of(str(call.get("duration"))) if status == "completed" else None,
    )


async def hang_up(http: httpx.AsyncClient, external_id: str, account: Account, _inbox: Inbox) -> None:
    """Whether it rings or somebody talks; one that is over already stays so."""
    try:
        await post(http, account, f"Calls/{external_id}.json", {"Status": "completed"})
    except Rejected as error:
        if error.code != OVER_ALREADY:
            raise
