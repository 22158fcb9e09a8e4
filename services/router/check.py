"""`dragoman check`: folds every history again and compares it with what is stored; survivors are survivors."""

from dataclasses import replace
from uuid import UUID

from services.router.domain.clocks import Clock, fold_clocks
from services.router.domain.conversation import Opened, fold, open_conversation
from services.router.store import clocks as stored_clocks
from services.router.store import conversations
from shared.db.transaction import Database, Transaction

PAGE = 200


async def check(database: Database) -> tuple[int, list[str]]:
    """How many conversations were looked at, and a line for each that differs, and for each customer astray."""
    looked_at, wrong, last = 0, await database.retrying(_astray), UUID(int=0)
    while True:

        async def work(tx: Transaction, after: UUID = last) -> list[tuple[UUID, str | None]]:
            rows = await tx.fetch("SELECT id FROM router.conversation WHERE id > $1 ORDER BY id LIMIT $2", after, PAGE)
            return [(row["id"], await _difference(tx, row["id"])) for row in rows]

        page = await database.retrying(work)
        wrong += [f"{id_}: {difference}" for id_, difference in page if difference]
        looked_at += len(page)
        if len(page) < PAGE:
            return looked_at, wrong
        last = page[-1][0]


async def _astray(tx: Transaction) -> list[str]:
    """Customers who were merged into one who was merged too: whoever asks by one step would miss the rest."""
    rows = await tx.fetch(
        "SELECT c.id FROM router.customer AS c JOIN router.customer AS s ON s.id = c.survivor_id "
        "WHERE s.survivor_id IS NOT NULL ORDER BY c.id"
    )
    return [f"{row['id']}: its survivor was merged itself" for row in rows]


async def _difference(tx: Transaction, id_: UUID) -> str | None:
    stored = (await conversations.lock(tx, [id_]))[id_]
    rows = await conversations.history(tx, id_)
    if [row.n for row in rows] != list(range(1, len(rows) + 1)):
        return "its history has a gap"
    opened = rows[0].entry
    if not isinstance(opened, Opened):
        return "its history does not begin with its opening"
    folded = open_conversation(id_, stored.brand_id, opened, rows[0].at)
    clocks: dict[UUID, Clock] = {}
    for row in rows:
        folded = fold(folded, row.entry, row.at)
        clocks = fold_clocks(clocks, row)
    # The channel's own value is kept, not folded.
    folded = replace(folded, reply_context=stored.reply_context)
    names = [name for name in conversations.COLUMNS if getattr(folded, name) != getattr(stored, name)]
    if names:
        return f"differs in {', '.join(names)}"
    if {clock.id: clock for clock in clocks.values()} != await stored_clocks.of_conversation(tx, id_):
        return "its clocks differ"
    return None
