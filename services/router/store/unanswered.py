"""What an answer leaves unanswered: messages that came too late for whoever wrote it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.db.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a conversation: by a reply of ours, or elsewhere at an instant."""

    id: UUID
    conversation_id: UUID
    reply_id: UUID | None = None
    occurred_at: datetime | None = None


async def after(tx: Transaction, answers: Sequence[Answer]) -> dict[UUID, datetime]:
    """Since when something is unanswered after each answer that left something, by the answer's id.

    Left is what a person wrote after the answer was written and that came in after it, unless something accepted,
    resolved or said to need no reply came later still. One statement, none without answers.
    """
    if not answers:
        return {}
    rows = await tx.fetch(
        """
        SELECT a.id, min((h.data ->> 'occurred_at')::timestamptz) AS since
        FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[])
             AS a (id, conversation_id, reply_id, occurred_at)
        LEFT JOIN router.message AS r ON r.id = a.reply_id AND r.conversation_id = a.conversation_id
        JOIN router.history AS h ON h.conversation_id = a.conversation_id AND h.kind = 'message_received'
         AND h.n > coalesce(r.number, 0)
         AND (h.data ->> 'occurred_at')::timestamptz > coalesce(r.occurred_at, a.occurred_at)
        WHERE coalesce(h.data ->> 'late', 'false') = 'false'
          AND coalesce(h.data ->> 'automatic', 'false') = 'false'
          AND NOT EXISTS (
            SELECT FROM router.history AS d
            WHERE d.conversation_id = h.conversation_id AND d.n > h.n AND d.kind IN ('no_reply_needed', 'resolved'))
          AND NOT EXISTS (
            SELECT FROM router.message AS l
            WHERE l.conversation_id = h.conversation_id
              AND ((l.kind = 'reply' AND l.number > h.n AND l.state IN ('accepted', 'sent', 'delivered', 'read'))
                OR (l.kind = 'elsewhere' AND l.occurred_at >= (h.data ->> 'occurred_at')::timestamptz)))
        GROUP BY a.id
        """,
        [answer.id for answer in answers],
        [answer.conversation_id for answer in answers],
        [answer.reply_id for answer in answers],
        [answer.occurred_at for answer in answers],
    )
    return {row["id"]: row["since"] for row in rows}
