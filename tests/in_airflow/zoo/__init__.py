"""A zoo of DAGs: one small DAG for each shape that Airflow's users write, named by its shape.

A builder that asks for a class or an argument that this version of Airflow does not have is `missing`.
"""

from __future__ import annotations

from tests.in_airflow.zoo import depth, groups, known, mapping, plugins, schedules, tasks
from tests.in_airflow.zoo.shape import Shape

_ROOMS = (groups, mapping, schedules, tasks, plugins, depth, known)
SHAPES: dict[str, Shape] = {shape.name: shape for room in _ROOMS for shape in room.SHAPES}
"""All shapes, by name."""
assert len(SHAPES) == sum(len(room.SHAPES) for room in _ROOMS), "two shapes have one name"
