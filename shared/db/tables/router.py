"""Schema `router`, written by the router."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from shared.db.tables.columns import binary, document, instant, number, reference, small, text, texts, uuid, uuids

SCHEMA = {"schema": "router"}
IS_HELD = sql("agent_id IS NOT NULL")


def conversation_reference() -> Any:
    return reference(["brand_id", "conversation_id"], "router.conversation", ["brand_id", "id"])


class Seen(SQLModel, table=True):
    """What came from outside and has had its effect; nothing else decides that something is new."""

    __tablename__ = "seen"
    __table_args__ = (Index(None, "at"), SCHEMA)
    inbox_id: UUID = uuid(primary_key=True)
    kind: str = text(primary_key=True)
    key: str = text(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    message_id: UUID | None = uuid(nullable=True)
    at: datetime = instant(nullable=False)


class Customer(SQLModel, table=True):
    """A person or firm within one brand. `survivor_id` points at the one it was merged into, kept flat."""

    __tablename__ = "customer"
    __table_args__ = (
        UniqueConstraint("brand_id", "id"),
        Index(None, "brand_id", "survivor_id"),
        Index("ix_customer_survivor", "survivor_id", postgresql_where=sql("survivor_id IS NOT NULL")),
        Index("ix_customer_name", "brand_id", sql("lower(name)")),
        reference(["brand_id"], "config.brand", ["id"]),
        reference(["brand_id", "survivor_id"], "router.customer", ["brand_id", "id"]),
        CheckConstraint("survivor_id <> id", name="ck_customer_survivor"),
        SCHEMA,
    )
    id: UUID = uuid(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    name: str = text()
    country: str | None = text(nullable=True)
    # How often each language was established, e.g. {"de": 3}.
    languages: dict[str, int] = document(nullable=False)
    survivor_id: UUID | None = uuid(nullable=True)
    created_at: datetime = instant(nullable=False)


class Identity(SQLModel, table=True):
    """One address of a customer on one kind of channel, and how we know it.

    `scope` is where it is one and the same: empty for the whole brand, for an unverified one its inbox's id.
    """

    __tablename__ = "identity"
    __table_args__ = (
        UniqueConstraint("brand_id", "kind", "value", "scope"),
        CheckConstraint("(verified_by IS NULL) = (scope <> '')", name="ck_identity_scope"),
        reference(
            ["brand_id", "customer_id"], "router.customer", ["brand_id", "id"], deferrable=True, initially="DEFERRED"
        ),
        Index(None, "brand_id", "customer_id"),
        SCHEMA,
    )
    id: UUID = uuid(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    kind: str = text()
    value: str = text()
    scope: str = text()
    name: str = text()
    customer_id: UUID = uuid(nullable=False)
    verified_by: str | None = text(nullable=True)
    created_at: datetime = instant(nullable=False)


class Conversation(SQLModel, table=True):
    """Messages with one customer in one inbox about one matter: the fold of its history, kept for reading."""

    __tablename__ = "conversation"
    __table_args__ = (
        UniqueConstraint("brand_id", "id"),
        reference(["brand_id", "inbox_id"], "config.inbox", ["brand_id", "id"]),
        reference(["brand_id", "customer_id"], "router.customer", ["brand_id", "id"]),
        Index(None, "brand_id", "customer_id", "id"),
        Index(None, "inbox_id", "customer_id", "id"),
        Index(None, "inbox_id", "thread", "id"),
        Index("ix_conversation_matter", "brand_id", "matter", postgresql_where=sql("matter IS NOT NULL")),
        Index("ix_conversation_step", "next_step_at", postgresql_where=sql("next_step_at IS NOT NULL")),
        # The list's, one for each choice of filters: an agent holds so few that no other filter matters there.
        Index(None, "brand_id", "due_at", "id"),
        Index(None, "brand_id", "state", "due_at", "id"),
        Index(None, "brand_id", "language", "due_at", "id"),
        Index(None, "brand_id", "state", "language", "due_at", "id"),
        Index("ix_conversation_held", "agent_id", "brand_id", "due_at", "id", postgresql_where=IS_HELD),
        SCHEMA,
    )
    id: UUID = uuid(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    inbox_id: UUID = uuid(nullable=False)
    customer_id: UUID = uuid(nullable=False)
    channel: str = text()
    thread: str | None = text(nullable=True)
    matter: str | None = text(nullable=True)
    subject: str = text()
    version: int = number()
    state: str = text()
    language: str | None = text(nullable=True)
    language_by: str = text()
    priority: int = small()
    weight: int = small()
    live: bool
    agent_id: UUID | None = uuid(nullable=True)
    last_agent_id: UUID | None = uuid(nullable=True)
    last_agent_at: datetime | None = instant(nullable=True)
    declined_by: list[UUID] = uuids(nullable=False)
    plan_id: UUID | None = uuid(nullable=True)
    step: int = small()
    next_step_at: datetime | None = instant(nullable=True)
    opened_at: datetime = instant(nullable=False)
    queued_at: datetime | None = instant(nullable=True)
    unanswered_since: datetime | None = instant(nullable=True)
    due_at: datetime | None = instant(nullable=True)
    last_inbound_at: datetime | None = instant(nullable=True)
    answered_at: datetime | None = instant(nullable=True)
    resolved_at: datetime | None = instant(nullable=True)
    reply_context: bytes = binary(nullable=False)


class Message(SQLModel, table=True):
    """Inbound, reply or note; a reply's `state` follows what the responder tells."""

    __tablename__ = "message"
    __table_args__ = (
        UniqueConstraint("brand_id", "id"),
        conversation_reference(),
        Index(None, "conversation_id", "occurred_at", "received_at", "id"),
        SCHEMA,
    )
    id: UUID = uuid(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    conversation_id: UUID = uuid(nullable=False)
    kind: str = text()
    author_kind: str = text()
    author_id: UUID | None = uuid(nullable=True)
    text_: str = text(sa_column_kwargs={"name": "text"})
    language: str | None = text(nullable=True)
    attachments: list[dict[str, Any]] = document(nullable=False)
    occurred_at: datetime = instant(nullable=False)
    received_at: datetime = instant(nullable=False)
    number: int | None = number(nullable=True)
    state: str | None = text(nullable=True)
    state_at: datetime | None = instant(nullable=True)
    reason: str = text()
    raw: bytes | None = binary(nullable=True)
    # SHA-256 in the object store of what is too large for `raw`.
    raw_ref: str = text()


class History(SQLModel, table=True):
    """Every change of a conversation, dense by `n` under its lock; never updated except by erasure."""

    __tablename__ = "history"
    __table_args__ = (conversation_reference(), SCHEMA)
    conversation_id: UUID = uuid(primary_key=True)
    n: int = number(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    at: datetime = instant(nullable=False)
    kind: str = text()
    actor: str = text()
    data: dict[str, Any] = document(nullable=False)


class Queue(SQLModel, table=True):
    """A waiting conversation, one row per pool that it may now go to."""

    __tablename__ = "queue"
    __table_args__ = (
        conversation_reference(),
        Index("ix_queue_order", "pool_id", "sort_at", "queued_at", "conversation_id"),
        Index("ix_queue_conversation", "conversation_id"),
        SCHEMA,
    )
    pool_id: UUID = uuid(primary_key=True)
    conversation_id: UUID = uuid(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    step: int = small()
    sort_at: datetime = instant(nullable=False)
    queued_at: datetime = instant(nullable=False)


class Assignment(SQLModel, table=True):
    """A conversation held by an agent (`held`) or held out to one (`offered`); `ended` keeps the record."""

    __tablename__ = "assignment"
    __table_args__ = (
        conversation_reference(),
        Index("ix_assignment_open", "conversation_id", unique=True, postgresql_where=sql("state <> 'ended'")),
        Index("ix_assignment_load", "agent_id", postgresql_where=sql("state <> 'ended'")),
        Index("ix_assignment_lapse", "lapses_at", postgresql_where=sql("state = 'offered'")),
        SCHEMA,
    )
    id: UUID = uuid(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    conversation_id: UUID = uuid(nullable=False)
    agent_id: UUID = uuid(nullable=False)
    state: str = text()
    weight: int = small()
    since: datetime = instant(nullable=False)
    lapses_at: datetime | None = instant(nullable=True)
    ended_at: datetime | None = instant(nullable=True)
    reason: str = text()


class Decision(SQLModel, table=True):
    """Why something was decided: evidence, candidates, who was passed over."""

    __tablename__ = "decision"
    __table_args__ = (conversation_reference(), SCHEMA)
    conversation_id: UUID = uuid(primary_key=True)
    n: int = number(primary_key=True)
    kind: str = text(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    at: datetime = instant(nullable=False)
    data: dict[str, Any] = document(nullable=False)


class ClockRow(SQLModel, table=True):
    """One target of one conversation; a fold over its history, with the marks of its alerts."""

    __tablename__ = "clock"
    __table_args__ = (
        conversation_reference(),
        Index("ix_clock_due", "due_at", postgresql_where=sql("state = 'running' AND missed_at IS NULL")),
        Index(None, "conversation_id"),
        Index("ix_clock_warn", "warn_at", postgresql_where=sql("state = 'running' AND near_at IS NULL")),
        SCHEMA,
    )
    id: UUID = uuid(primary_key=True)
    conversation_id: UUID = uuid(nullable=False)
    brand_id: UUID = uuid(nullable=False)
    target: str = text()
    state: str = text()
    started_at: datetime = instant(nullable=False)
    warn_at: datetime = instant(nullable=False)
    due_at: datetime = instant(nullable=False)
    ended_at: datetime | None = instant(nullable=True)
    near_at: datetime | None = instant(nullable=True)
    missed_at: datetime | None = instant(nullable=True)
    family: str = text()
    policy: str = text()
    allowed: int = number()
    calendar_id: UUID | None = uuid(nullable=True)
    hours: str = text()
    zone: str = text()


class WebhookDelivery(SQLModel, table=True):
    """An alert for a webhook, with the very bytes that are signed: `waiting`, `delivered` or `failed`."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        reference(["webhook_id"], "config.webhook", ["id"], ondelete="CASCADE"),
        Index("ix_webhook_delivery_due", "webhook_id", "next_at", postgresql_where=sql("state = 'waiting'")),
        Index(None, "webhook_id", "at", "event_id"),
        SCHEMA,
    )
    webhook_id: UUID = uuid(primary_key=True)
    event_id: UUID = uuid(primary_key=True)
    # None for what concerns no brand alone, such as a queue.
    brand_id: UUID | None = uuid(nullable=True)
    event: str = text()
    at: datetime = instant(nullable=False)
    body: bytes = binary(nullable=False)
    state: str = text()
    # Of this round of attempts, and of all rounds: the latter fences claims.
    attempts: int = small()
    claims: int = number()
    next_at: datetime = instant(nullable=False)
    status: int | None = small(nullable=True)
    reason: str = text()
    settled_at: datetime | None = instant(nullable=True)


class Presence(SQLModel, table=True):
    """An agent's lease on being there; its row is the lock under which the load is summed."""

    __tablename__ = "presence"
    __table_args__ = (reference(["agent_id"], "config.agent", ["id"]), SCHEMA)
    agent_id: UUID = uuid(primary_key=True)
    status: str = text()
    until: datetime = instant(nullable=False)
    idle_since: datetime = instant(nullable=False)
    lapses: int = small()


class Idempotency(SQLModel, table=True):
    """The answer to a request that had an effect, for 24 hours."""

    __tablename__ = "idempotency"
    __table_args__ = (Index(None, "at"), SCHEMA)
    actor: str = text(primary_key=True)
    key: str = text(primary_key=True)
    request: bytes = binary(nullable=False)
    status: int = small()
    headers: dict[str, str] = document(nullable=False)
    body: bytes = binary(nullable=False)
    at: datetime = instant(nullable=False)


class Audit(SQLModel, table=True):
    """What happened beside conversations: configuration, forced states, secrets read."""

    __tablename__ = "audit"
    __table_args__ = (
        Index(None, "at"),
        Index(
            "ix_audit_customers", sql("(data -> 'customers')"), postgresql_using="gin",
            postgresql_where=sql("data ? 'customers'"),
        ),
        SCHEMA,
    )  # fmt: skip
    id: UUID = uuid(primary_key=True)
    brand_id: UUID | None = uuid(nullable=True)
    at: datetime = instant(nullable=False)
    actor: str = text()
    action: str = text()
    data: dict[str, Any] = document(nullable=False)


class Dead(SQLModel, table=True):
    """Items that could not be read or handled: the one place where people look."""

    __tablename__ = "dead"
    __table_args__ = (Index(None, "last_at"), SCHEMA)
    id: UUID = uuid(primary_key=True)
    brand_id: UUID | None = uuid(nullable=True)
    topic: str = text()
    key: str = text()
    headers: dict[str, str] = document(nullable=False)
    value: bytes = binary(nullable=False)
    code: str = text()
    error: str = text()
    count: int = number()
    first_at: datetime = instant(nullable=False)
    last_at: datetime = instant(nullable=False)
    replayed_at: datetime | None = instant(nullable=True)


class OptOut(SQLModel, table=True):
    """Who does not want messages from an inbox: the newest word of each address, a yes too.

    What is said of marketing alone (`marketing_only`) stands apart: whoever writes is answered all the same.
    """

    __tablename__ = "opt_out"
    __table_args__ = (reference(["brand_id", "inbox_id"], "config.inbox", ["brand_id", "id"]), SCHEMA)
    inbox_id: UUID = uuid(primary_key=True)
    kind: str = text(primary_key=True)
    value: str = text(primary_key=True)
    marketing_only: bool = Field(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    opted_out: bool
    at: datetime = instant(nullable=False)


class Suggestion(SQLModel, table=True):
    """Two customers who may be one: weaker than a link, for a person to confirm (`open`, `confirmed`, `refused`)."""

    __tablename__ = "suggestion"
    __table_args__ = (
        reference(["brand_id", "customer_id"], "router.customer", ["brand_id", "id"]),
        reference(["brand_id", "other_id"], "router.customer", ["brand_id", "id"]),
        Index(None, "other_id"),
        SCHEMA,
    )
    # The smaller id first, so that a pair is one row.
    customer_id: UUID = uuid(primary_key=True)
    other_id: UUID = uuid(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    reasons: list[str] = texts(nullable=False)
    state: str = text()
    actor: str = text()
    at: datetime = instant(nullable=False)


class Callback(SQLModel, table=True):
    """A wish to be called back and its attempts; `next_at` is when it may be called next, or how long."""

    __tablename__ = "callback"
    __table_args__ = (
        conversation_reference(),
        UniqueConstraint("brand_id", "id"),
        Index("ix_callback_due", "next_at", postgresql_where=sql("state IN ('scheduled', 'queued')")),
        Index(None, "conversation_id"),
        Index(None, "brand_id", "phone", "created_at"),
        SCHEMA,
    )
    id: UUID = uuid(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    conversation_id: UUID = uuid(nullable=False)
    phone: str = text()
    zone: str = text()
    preferred_at: datetime | None = instant(nullable=True)
    state: str = text()
    attempts: int = small()
    next_at: datetime | None = instant(nullable=True)
    call_id: UUID | None = uuid(nullable=True)
    outcome: str = text()
    created_at: datetime = instant(nullable=False)
