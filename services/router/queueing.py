"""Into the queues of a plan, and out of them where nobody has to answer."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from services.router.domain import clocks
from services.router.domain.conversation import Change, NoReplyNeeded, Queued, Resolved
from services.router.domain.plan import Configuration, by_hand, choose_plan, choose_policies, reached, steps_for
from services.router.store import conversations
from shared.errors import InboxMisconfigured


def enqueue(
    change: Change, configuration: Configuration, because: str, now: datetime, *, pool_id: UUID | None = None
) -> None:
    """Records that the conversation waits by the plan of its language; its age and its clock stay.

    With `pool_id` it waits in that pool alone, while that pool serves it: somebody gave it there by hand. Raises
    InboxMisconfigured where no plan fits, not even one without a language.
    """
    c = change.after
    picked = by_hand(configuration, pool_id, c.brand_id, c.channel)
    plan = picked or choose_plan(configuration, c.brand_id, c.language, c.channel)
    if plan is None:
        raise InboxMisconfigured("no plan fits, not even one for every language", code="no_plan")
    steps = steps_for(configuration, plan, c.brand_id, c.channel)
    queued_at = c.queued_at or now
    since = c.unanswered_since or queued_at
    due_at = c.due_at or conversations.order_of(replace(c, queued_at=queued_at), configuration)
    step, next_step_at = reached(steps, since, due_at, now)
    change.record(
        Queued(plan_id=plan.id, step=step, queued_at=queued_at, next_step_at=next_step_at, because=because), "router"
    )
    change.explain(
        "plan",
        plan=plan.handle,
        language=c.language,
        pools=[configuration.pools[s.pool_id].handle for s in steps],
        reached=step,
        because=because,
        by_hand=picked is not None,
    )


def start_clocks(
    change: Change, configuration: Configuration, country: str | None, since: datetime, actor: str
) -> None:
    """Somebody waits for an answer since then: a clock for each policy that holds there."""
    c = change.after
    for started in clocks.starting(c, choose_policies(configuration, c.brand_id, c.channel, country), since):
        change.record(started, actor)


def dismiss(change: Change, because: str, actor: str) -> None:
    """What is unanswered needs no answer; where nobody holds it that is the end of it for now."""
    change.record(NoReplyNeeded(because=because), actor)
    if change.after.state in ("waiting", "offered"):
        change.record(Resolved(because=because or "no reply needed"), actor)
