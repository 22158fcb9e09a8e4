"""States, verdicts and receipts as rules."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.responder.domain.delivery import ORDER, SCHEDULE, reply_state, retry_at, verdict
from services.responder.domain.receipts import RANK, join, of_reply
from shared.errors import (
    AccountBroken,
    DragomanError,
    InboxMisconfigured,
    OutcomeUnknown,
    Rejected,
    Throttled,
    Unavailable,
    WindowClosed,
)  # fmt: skip

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
STATES = [*RANK, "failed"]


@given(st.lists(st.sampled_from(STATES)), st.randoms(use_true_random=False))
def test_receipts_come_to_the_same_in_any_order_and_never_go_back(told: list[str], random: object) -> None:
    def fold(states: list[str]) -> str:
        known = ""
        for state in states:
            before, known = known, join(known, state)
            assert before not in ("delivered", "read") or RANK.get(known, -1) >= RANK[before]
        return known

    shuffled = [*told, *told]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fold(told) == fold(shuffled)


def test_a_reply_is_where_its_worst_part_is() -> None:
    assert reply_state(["accepted", "waiting"]) == "waiting"
    assert reply_state(["accepted", "refused", "unknown"]) == "refused"
    assert of_reply(["read", "delivered"]) == "delivered"
    assert of_reply(["read", "failed"]) == "failed"
    assert set(ORDER) == {"accepted", "waiting", "sending", "unknown", "withdrawn", "expired", "refused"}


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Rejected(), "refused"),
        (WindowClosed(), "refused"),
        (InboxMisconfigured(), "refused"),
        (Unavailable(), "waiting"),
        (Throttled(retry_after=timedelta(seconds=7)), "waiting"),
        (AccountBroken(), "waiting"),
        (OutcomeUnknown(), "unknown"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_the_class_of_the_error_decides_what_is_next(error: DragomanError, state: str) -> None:
    outcome = verdict(error, 1, NOW, 0.0)
    assert outcome.state == state
    assert (outcome.next_at is not None) == (state != "refused")
    assert outcome.counts != isinstance(error, AccountBroken)


@given(st.integers(0, 100), st.floats(-1, 1))
def test_tries_become_ever_rarer_and_what_the_vendor_asks_wins(attempts: int, jitter: float) -> None:
    wait = retry_at(attempts, NOW, jitter) - NOW
    assert SCHEDULE[0] * 0.8 <= wait <= SCHEDULE[-1] * 1.2
    assert retry_at(attempts, NOW, jitter, timedelta(seconds=9)) == NOW + timedelta(seconds=9)
