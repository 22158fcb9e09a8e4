"""What an agent's request reads, below row-level security."""

import re

from services.router.store.screens import survivor
from tests.router.world import World, id_of


async def test_who_survived_a_merge_is_found_by_index(w: World) -> None:
    """With what the planner takes for leaky, such as coalesce, the condition filters every customer instead."""
    for column in ("id", "survivor_id"):
        async with w.api.transaction(brands=[id_of("shop")]) as tx:
            await tx.execute("SET LOCAL enable_seqscan = off")
            rows = await tx.fetch(
                f"EXPLAIN SELECT g.id FROM router.customer AS c JOIN router.customer AS g "
                f"ON g.{column} = {survivor('c')} WHERE c.id = $1",
                id_of("somebody"),
            )
        plan = "\n".join(row[0] for row in rows)
        assert re.search(rf"(Index|Recheck|Hash|Merge) Cond: \(.*{column} = CASE", plan), plan
