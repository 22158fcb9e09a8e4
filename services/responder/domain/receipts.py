"""Receipts form a lattice: accepted < sent < delivered < read, and `failed` apart."""

RANK = {"": 0, "accepted": 1, "sent": 2, "delivered": 3, "read": 4}


def join(known: str, told: str) -> str:
    """What is known after both, in whatever order they came.

    Proof that it arrived outweighs `failed`: with several devices one may fail and another deliver.
    """
    if "failed" in (known, told):
        other = told if known == "failed" else known
        return other if RANK.get(other, 0) >= RANK["delivered"] else "failed"
    return max(known, told, key=lambda state: RANK[state])


def of_reply(parts: list[str]) -> str:
    """The receipt of a reply: that of its worst part."""
    if "failed" in parts:
        return "failed"
    return min(parts, key=lambda state: RANK[state], default="")
