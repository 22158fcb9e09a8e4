"""A figure, and the small tools that benches share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """`ratio` is this value by that of `against`, both of the same run."""

    name: str
    value: float
    unit: str
    against: str = ""
    ratio: float | None = None
    conditions: str = ""

    def line(self, machine: str) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": round(self.value, 3),
            "unit": self.unit,
            "against": self.against,
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "conditions": ", ".join(part for part in (self.conditions, machine) if part),
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
