"""What the API shows; tables are not API models."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

ID = "01936f5a-7c00-7000-8000-000000000001"
ANNA = "01936f5a-7c00-7000-8000-00000000000a"
# FastAPI leaves out what is None in an example, so none is.
NEXT = "WyIyMDI2LTExLTIzVDA5OjAwOjAwWiIsIjAxOTM2ZjVhLTdjMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMSJd"
AT, DUE = "2026-11-23T09:00:00Z", "2026-11-23T10:00:00Z"

MESSAGE: dict[str, Any] = {
    "id": ID,
    "conversation_id": ID,
    "kind": "reply",
    "author_kind": "agent",
    "author_id": ANNA,
    "text": "Ihr Paket ist unterwegs und kommt morgen an.",
    "language": "de",
    "attachments": [],
    "occurred_at": AT,
    "received_at": AT,
    "state": "delivered",
    "state_at": AT,
    "reason": "",
}
TOLD: dict[str, Any] = MESSAGE | {"channel": "messenger", "inbox_id": ID}
SUMMARY: dict[str, Any] = {
    "id": ID,
    "brand_id": ID,
    "brand_name": "Alpenlicht",
    "inbox_id": ID,
    "inbox_name": "Alpenlicht on Messenger",
    "customer_id": ID,
    "customer_name": "Ina Kunde",
    "channel": "messenger",
    "state": "assigned",
    "language": "de",
    "agent_id": ANNA,
    "agent_name": "Anna",
    "subject": "",
    "due_at": DUE,
    "unanswered_since": AT,
    "version": 7,
}
WEBHOOK: dict[str, Any] = {
    "id": ID,
    "handle": "operations",
    "url": "https://alerts.example/hook",
    "events": ["deadline.missed"],
    "brands": [],
    "enabled": True,
    "reason": "",
    "waiting": 0,
    "failed": 0,
}
DELIVERY: dict[str, Any] = {
    "event_id": ID,
    "event": "deadline.missed",
    "brand_id": ID,
    "at": AT,
    "state": "delivered",
    "attempts": 1,
    "next_at": AT,
    "status": 204,
    "reason": "",
    "settled_at": AT,
}
CLOCK: dict[str, Any] = {
    "target": "first_response",
    "started_at": AT,
    "due_at": DUE,
    "seconds_left": 3600,
    "is_missed": False,
    "warn_at": "2026-11-23T09:30:00Z",
    "state": "running",
    "family": "contract",
    "policy": "social",
    "sentence": "1 h around the clock; due Mon 10:00 UTC",
}
CHANGE: dict[str, Any] = {
    "seq": 4711,
    "kind": "assigned",
    "brand_id": ID,
    "conversation_id": ID,
    "n": 7,
    "at": AT,
    "agent_id": ANNA,
    "language": "de",
}
DEAD: dict[str, Any] = {
    "id": ID,
    "topic": "inbound",
    "key": "inbox:lane",
    "code": "unknown_inbox",
    "error": "the inbox is not configured",
}


def shown(**example: Any) -> ConfigDict:
    """The configuration of a document that shows this example of itself."""
    return ConfigDict(json_schema_extra={"examples": [example]})


class Me(BaseModel):
    model_config = shown(actor="anna", name="Anna", role="agent", agent_id=ANNA, brands=[ID], is_development=False)

    actor: str
    name: str = Field(description="For people: the agent's name, else the actor")
    role: str
    agent_id: UUID | None
    brands: list[UUID]
    is_development: bool = Field(description="A development token of the embedded default; never on a real cell")


class OpenIdDocument(BaseModel):
    """What a public client needs beside the issuer's own discovery document."""

    issuer: str
    client_id: str | None
    scopes: str = Field(description="To ask for, by blanks")


class SignInDocument(BaseModel):
    """The ways to come by a token here."""

    model_config = shown(
        development_tokens=False,
        openid={"issuer": "https://id.example.com", "client_id": "dragoman-console", "scopes": "openid"},
    )

    development_tokens: bool = Field(description="Whether `dev-` and a handle is a token: never on a real cell")
    openid: OpenIdDocument | None


KEY: dict[str, Any] = {
    "id": ID,
    "name": "shop-server",
    "role": "brand",
    "scopes": ["callbacks"],
    "brands": [ID],
    "expires_at": "2027-01-01T00:00:00Z",
    "created_at": AT,
    "created_by": "ada",
}


class ApiKeyDocument(BaseModel):
    """A program's key, without what opens anything."""

    model_config = shown(**KEY)

    id: UUID
    name: str
    role: str
    scopes: list[str] = Field(description="Empty is all that its role may")
    brands: list[UUID]
    agent_id: UUID | None = Field(None, description="As whom it acts")
    expires_at: datetime | None = None
    created_at: datetime | None = Field(None, description="None for one of the configuration file")
    created_by: str | None = None
    revoked_at: datetime | None = None


class ApiKeyCreated(ApiKeyDocument):
    """The only answer that shows the key."""

    model_config = shown(**KEY, key="dragoman_u9YlZ3Zt0uJr2m8Qm6G3Zk1T0nq0oV4yR5bX7cD8eFg")

    key: str | None = Field(description="To be kept where secrets are kept; None where this answer is a repeated one")


class ApiKeysDocument(BaseModel):
    model_config = shown(items=[KEY])

    items: list[ApiKeyDocument]


class CallbackDocument(BaseModel):
    model_config = shown(
        id=ID, conversation_id=ID, phone="+493023125123", zone="Europe/Berlin", state="scheduled", call_at=DUE,
        attempts=0, outcome="",
    )  # fmt: skip

    id: UUID
    conversation_id: UUID
    phone: str = Field(description="E.164")
    zone: str
    state: str = Field(
        description="scheduled, queued, calling, done (talked), written (they are written to instead), unreached, "
        "failed, withdrawn"
    )
    call_at: datetime | None = Field(description="Of a scheduled one: when agents are asked to call")
    attempts: int = Field(description="Calls so far that reached nobody")
    outcome: str = Field(description="Of the last call: talked, customer_absent, busy, machine, agent_absent, failed")


class PresenceDocument(BaseModel):
    model_config = shown(status="available", until=DUE)

    status: str
    until: datetime | None = Field(description="The lease ends then unless it is renewed")


class Attachment(BaseModel):
    kind: str = Field(description="image, audio, video, file, or what the vendor calls it")
    url: str = Field("", description="At the vendor, where it may be gone")
    name: str = ""
    size: int | None = Field(None, description="Bytes")
    media_type: str = Field("", description="As the bytes say, once it is stored")
    sha256: str = ""
    state: str = Field("", description="stored, pending, failed, or elsewhere (only the vendor has it)")
    href: str | None = Field(None, description="Of a stored one: works for 15 minutes, without a token")
    error: str = Field("", description="Why it failed: too_large, private_address, gone, ...")


class Uploaded(BaseModel):
    """A file that a reply may name."""

    model_config = shown(brand_id=ID, sha256="0" * 64, name="label.pdf", media_type="application/pdf", size=48213)

    brand_id: UUID
    sha256: str
    name: str
    media_type: str = Field(description="As the bytes say, whatever was declared")
    size: int


class MessageDocument(BaseModel):
    id: UUID
    conversation_id: UUID
    kind: str = Field(description="inbound, reply, note, unrecognised, or elsewhere (the brand answered there)")
    author_kind: str
    author_id: UUID | None
    text: str
    language: str | None
    attachments: list[Attachment]
    occurred_at: datetime
    received_at: datetime
    state: str | None = Field(description="Of a reply: queued, accepted, sent, delivered, read, refused, unknown, …")
    state_at: datetime | None
    reason: str


class TimelineMessage(MessageDocument):
    channel: str
    inbox_id: UUID


class ClockDocument(BaseModel):
    target: str = Field(description="first_response, or next_response once they had an answer")
    started_at: datetime
    warn_at: datetime = Field(description="From then on it is near")
    due_at: datetime
    seconds_left: float = Field(description="Negative where it is missed; of one that ended, what was left then")
    is_missed: bool
    state: str = Field(description="running, met (answered), or stopped")
    ended_at: datetime | None = None
    family: str = Field(description="Whose rule: contract, or marketplace")
    policy: str = Field(description="By which policy; empty where none held")
    sentence: str


class MayWrite(BaseModel):
    allowed: bool
    reason: str
    until: datetime | None
    sentence: str
    text_limit: int = Field(description="Characters of one message; a longer text leaves as several")


class DecisionDocument(BaseModel):
    sentence: str
    evidence: dict[str, Any]


class ConversationSummary(BaseModel):
    id: UUID
    brand_id: UUID
    brand_name: str
    inbox_id: UUID
    inbox_name: str
    customer_id: UUID
    customer_name: str
    channel: str
    state: str
    language: str | None
    agent_id: UUID | None
    agent_name: str | None
    offered_until: datetime | None = Field(None, description="While it is held out to `agent_id`: when that lapses")
    subject: str
    due_at: datetime | None
    unanswered_since: datetime | None
    version: int


class ConversationDocument(ConversationSummary):
    model_config = shown(
        **SUMMARY,
        language_by="words",
        thread="t_1001",
        matter="order 4711",
        messages=[MESSAGE],
        clock=CLOCK,
        clocks=[CLOCK],
        may_write={
            "allowed": True, "reason": "response", "until": DUE, "sentence": "Free to write for a day.",
            "text_limit": 2000,
        },
        decision={"sentence": "Anna answers in German as a native speaker and was free.", "evidence": {}},
        timeline=[TOLD],
    )  # fmt: skip

    language_by: str
    thread: str | None
    matter: str | None
    messages: list[MessageDocument]
    clock: ClockDocument | None = Field(description="Of those that run the one that is due first")
    clocks: list[ClockDocument] = Field(description="Those that run, then the newest that ended")
    may_write: MayWrite
    decision: DecisionDocument | None
    timeline: list[TimelineMessage] = Field(description="The customer's newest 50 messages over all inboxes")


class ConversationPage(BaseModel):
    model_config = shown(items=[SUMMARY], next=NEXT)

    items: list[ConversationSummary]
    next: str | None


class TimelinePage(BaseModel):
    model_config = shown(items=[TOLD], next=NEXT)

    items: list[TimelineMessage]
    next: str | None


class Address(BaseModel):
    kind: str
    value: str
    name: str
    verified_by: str | None = Field(description="channel, dmarc or agent; null where it is only claimed")
    customer_id: UUID = Field(description="Whom this address brought: to be split off where it is not theirs")


class SuggestionDocument(BaseModel):
    customer_id: UUID
    name: str
    reasons: list[str] = Field(description="Sentences")
    at: datetime


class CustomerDocument(BaseModel):
    """One customer over all their addresses; asked for by any of `merged`, the survivor is shown."""

    model_config = shown(
        id=ID,
        brand_id=ID,
        name="Ina Kunde",
        country="DE",
        languages={"de": 3},
        addresses=[
            {
                "kind": "phone",
                "value": "+4915112345678",
                "name": "Ina Kunde",
                "verified_by": "channel",
                "customer_id": ID,
            }
        ],
        merged=[ANNA],
        suggestions=[{"customer_id": ANNA, "name": "Ina Kunde", "reasons": ["Both have the same name."], "at": AT}],
    )

    id: UUID
    brand_id: UUID
    name: str
    country: str | None
    languages: dict[str, int]
    addresses: list[Address]
    merged: list[UUID] = Field(description="Customers who were found to be this one")
    suggestions: list[SuggestionDocument] = Field(description="Who may be the same: confirm or dismiss")


class CustomerEvent(BaseModel):
    id: UUID
    at: datetime
    actor: str
    action: str = Field(description="customer.merged, customer.split, or customer.kept_apart")
    customers: list[UUID]
    reasons: list[str] = Field(description="Sentences")


class CustomerHistory(BaseModel):
    model_config = shown(
        items=[
            {"id": ID, "at": AT, "actor": "anna", "action": "customer.merged", "customers": [ID, ANNA],
             "reasons": ["Both have the same name."]}
        ],
        next=NEXT,
    )  # fmt: skip

    items: list[CustomerEvent]
    next: str | None


class HistoryEntry(BaseModel):
    n: int
    at: datetime
    kind: str
    actor: str
    data: dict[str, Any]


class HistoryDocument(BaseModel):
    model_config = shown(
        items=[
            {"n": 7, "at": AT, "kind": "assigned", "actor": "anna", "data": {"agent_id": ANNA, "because": "accepted"}}
        ]
    )

    items: list[HistoryEntry]


class QueueDocument(BaseModel):
    pool_id: UUID
    name: str
    language: str | None
    waiting: int
    oldest_at: datetime | None
    first_due_at: datetime | None
    agents_present: int = Field(description="Members who are there now")


class QueuesDocument(BaseModel):
    model_config = shown(
        items=[
            {
                "pool_id": ID, "name": "German", "language": "de", "waiting": 2, "oldest_at": AT, "first_due_at": DUE,
                "agents_present": 2,
            }
        ]
    )  # fmt: skip

    items: list[QueueDocument]


class Colleague(BaseModel):
    agent_id: UUID
    name: str
    languages: list[str] = Field(description="Of the pools that they stand in")
    status: str = Field(description="available or away")
    load: int = Field(description="Units that they hold or that are held out to them")
    capacity: int


class Colleagues(BaseModel):
    model_config = shown(
        items=[{"agent_id": ANNA, "name": "Anna", "languages": ["de"], "status": "available", "load": 2, "capacity": 4}]
    )

    items: list[Colleague]


class Changed(BaseModel):
    """What a change led to."""

    model_config = shown(conversation_id=ID, state="assigned", version=8, agent_id=ANNA, message_id=ID)

    conversation_id: UUID
    state: str
    version: int
    agent_id: UUID | None = None
    message_id: UUID | None = None


class DeadSummary(BaseModel):
    id: UUID
    brand_id: UUID | None
    topic: str
    key: str
    code: str
    error: str
    count: int
    size: int
    first_at: datetime
    last_at: datetime
    replayed_at: datetime | None


class DeadPage(BaseModel):
    model_config = shown(
        items=[{**DEAD, "brand_id": ID, "count": 1, "size": 512, "first_at": AT, "last_at": AT, "replayed_at": AT}],
        next=NEXT,
    )

    items: list[DeadSummary]
    next: str | None


class DeadDocument(BaseModel):
    model_config = shown(**DEAD, headers={"ce_type": "dragoman.message.received.v1"}, value_base64="e30=")

    id: UUID
    topic: str
    key: str
    code: str
    error: str
    headers: dict[str, str]
    value_base64: str = Field(description="The item as it came; it may hold what a customer wrote")


class Replayed(BaseModel):
    model_config = shown(id=ID, replayed=True)

    id: UUID
    replayed: bool


class WebhookDocument(BaseModel):
    model_config = shown(**WEBHOOK)

    id: UUID
    handle: str
    url: str
    events: list[str] = Field(description="Empty: all")
    brands: list[UUID] = Field(description="Empty: all")
    enabled: bool
    reason: str = Field(description="Why it is disabled")
    failing_since: datetime | None = Field(None, description="Since when nothing gets through")
    waiting: int
    failed: int


class WebhooksDocument(BaseModel):
    model_config = shown(items=[WEBHOOK])

    items: list[WebhookDocument]


class WebhookDeleted(BaseModel):
    model_config = shown(id=ID)

    id: UUID


class WebhookSecrets(BaseModel):
    """Two while one is being rotated: each call is signed by both."""

    model_config = shown(secrets=["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="])

    secrets: list[str]


class WebhookTest(BaseModel):
    model_config = shown(event_id=ID)

    event_id: UUID = Field(description="Its `webhook-id`")


class DeliveryDocument(BaseModel):
    event_id: UUID = Field(description="The `webhook-id` of all its attempts")
    event: str
    brand_id: UUID | None
    at: datetime
    state: str = Field(description="waiting, delivered or failed")
    attempts: int
    next_at: datetime = Field(description="Of one that waits")
    status: int | None = Field(description="What the receiver answered last")
    reason: str
    settled_at: datetime | None


class DeliveryPage(BaseModel):
    model_config = shown(items=[DELIVERY], next=NEXT)

    items: list[DeliveryDocument]
    next: str | None


class ReplayedAlerts(BaseModel):
    model_config = shown(alerts=3)

    alerts: int = Field(description="How many are sent again")


class ConversationChange(BaseModel):
    model_config = shown(**CHANGE)

    seq: int = Field(description="Its place in the stream")
    kind: str = Field(description="queued, offered, assigned, requeued, answered, resolved, or changed")
    brand_id: UUID
    conversation_id: UUID
    n: int = Field(description="The conversation's version after it")
    at: datetime
    agent_id: UUID | None = Field(description="Who holds it, or held it until then")
    language: str | None


class Changes(BaseModel):
    model_config = shown(items=[CHANGE], seq=4711, resync=False)

    items: list[ConversationChange]
    seq: int = Field(description="Ask with this as `since` next")
    resync: bool = Field(description="Something between is not here: look at everything again")
