"""The costs of each family of keys so far: its loads and thaws, with their seconds. In Airflow a family is a DAG.

Costs outlive the entries: a DAG that never stays is the one to find. The number of families has no bound, so the most
expensive ones are kept. A family is dropped if 1,024 others took more seconds.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from heapq import nlargest

from dagcache.stats import FamilyCost

MOST = 1024
"""Families that are kept; up to twice as many between two clearings, of some 200 bytes each."""


_LONGEST = 1024
"""Characters or bytes of a family's name. Longer ones are not counted: they are kept outside of the budget."""


@dataclass(slots=True)
class _Cost:
    order: float
    """Of the newest version that was loaded."""
    newer_versions: int = 0
    loads: int = 0
    load_seconds: float = 0.0
    thaws: int = 0
    thaw_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        return self.load_seconds + self.thaw_seconds

    def snapshot(self) -> FamilyCost:
        return FamilyCost(self.loads, self.load_seconds, self.thaws, self.thaw_seconds, self.newer_versions)


class FamilyCosts:
    """The costs by family. Written and read under the cache's lock. A family of None is unknown, and not counted."""

    def __init__(self) -> None:
        self._costs: dict[Hashable, _Cost] = {}

    def loaded(self, family: Hashable | None, order: float, seconds: float) -> None:
        """Count a load of a version."""
        if family is None or (isinstance(family, (str, bytes)) and len(family) > _LONGEST):
            return
        cost = self._of(family, order)
        cost.loads += 1
        cost.load_seconds += seconds
        if order > cost.order:
            cost.order = order
            cost.newer_versions += 1

    def thawed(self, family: Hashable | None, seconds: float) -> None:
        """Count a thaw."""
        cost = None if family is None else self._costs.get(family)
        if cost is not None:  # else it was dropped, or its value was assigned
            cost.thaws += 1
            cost.thaw_seconds += seconds

    def clear(self) -> None:
        """Forget all."""
        self._costs.clear()

    def snapshot(self) -> dict[Hashable, FamilyCost]:
        """All families that are kept."""
        return {family: cost.snapshot() for family, cost in self._costs.items()}

    def _of(self, family: Hashable, order: float) -> _Cost:
        found = self._costs.get(family)
        if found is None:
            if len(self._costs) >= 2 * MOST:
                self._costs = dict(nlargest(MOST, self._costs.items(), key=lambda item: item[1].seconds))
            found = self._costs[family] = _Cost(order)
        return found
