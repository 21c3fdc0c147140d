"""Groups within groups, and long chains of tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.in_airflow.zoo.shape import Shape, bash, dag, deep_calls, empty, sdk

LEVELS = (60, 150, 280)
CHAINS = (3_000, 5_000, 20_000)
"""Tasks of the chains that only `make soak` builds."""


def nested(levels: int) -> Any:
    """A task within so many groups, and one beside each tenth group."""
    with deep_calls(), dag(f"{levels}_nested_groups") as made:
        opened = []
        for level in range(levels):
            group = sdk("TaskGroup")(f"group_{level}", prefix_group_id=False)
            group.__enter__()
            opened.append(group)
            if level % 10 == 0:
                bash(f"beside_{level}")
        empty("innermost")
        for group in reversed(opened):
            group.__exit__(None, None, None)
    return made


def chain(tasks: int) -> Any:
    """Tasks one after the other."""
    with deep_calls(), dag(f"chain_of_{tasks}") as made:
        before = bash("task_0")
        for number in range(1, tasks):
            after = bash(f"task_{number}")
            before >> after
            before = after
    return made


def chain_as_text(tasks: int, serialize: Callable[[Any], dict[str, Any]]) -> str:
    """The row of such a chain. Airflow serialises a short one, and its middle task stands for all others."""
    row = serialize(chain(3))
    first, middle, last = row["dag"]["tasks"]
    between = (_renumbered(middle, 1, number) for number in range(1, tasks - 1))
    row["dag"]["tasks"] = [first, *between, _renumbered(last, 2, tasks - 1)]
    row["dag"]["dag_id"] = f"chain_of_{tasks}"
    children = row["dag"]["task_group"]["children"]
    kind, _ = children["task_0"]
    row["dag"]["task_group"]["children"] = {f"task_{number}": [kind, f"task_{number}"] for number in range(tasks)}
    return json.dumps(row)


def _renumbered(task: Any, before: int, number: int) -> Any:
    text = json.dumps(task)
    for step in (-1, 0, 1):
        text = text.replace(f'"task_{before + step}"', f'"task#{number + step}"')
    return json.loads(text.replace("task#", "task_"))


SHAPES = [
    *(Shape(f"{levels}_nested_groups", partial(nested, levels)) for levels in LEVELS),
    Shape("chain_of_200", partial(chain, 200), steps=2),
]
