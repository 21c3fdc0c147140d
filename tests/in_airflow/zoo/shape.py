"""A shape of the zoo, and what builders of shapes have in common. Imports nothing of Airflow until a DAG is built."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import import_module
from itertools import pairwise
from typing import Any

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
OLDER = (ImportError, AttributeError)
_REFUSED = "unexpected keyword argument"
_DEEP = 20_000  # calls; Airflow's SDK takes some for each nested group, and more than one for each chained task


class MissingShapeError(Exception):
    """The installed version of Airflow cannot build the shape."""


@dataclass(frozen=True)
class Shape:
    """A kind of DAG. ``steps``: how many of a run are compared with stock's; 0 if it has none."""

    name: str
    build: Callable[[], Any]
    steps: int = 8

    def dag(self) -> Any:
        """A new DAG, as a DAG file gives it.

        Raises:
            MissingShapeError: this version of Airflow does not have its parts.

        """
        try:
            built = self.build()
        except OLDER as error:
            raise MissingShapeError(f"{self.name}: {error}") from error
        except TypeError as error:
            if _REFUSED not in str(error):
                raise
            raise MissingShapeError(f"{self.name}: {error}") from error
        built.relative_fileloc = "zoo.py"  # as if it were read from a file
        return built


@dataclass(frozen=True)
class Later:
    """A setting that is made when the DAG is built: it needs Airflow."""

    make: Callable[[], Any]


class Shapes(list[Shape]):
    """The shapes of one module, each added by a decorator of the function that adds its tasks."""

    def add(self, *, steps: int = 8, **settings: Any) -> Callable[[Callable[[], object]], Callable[[], object]]:
        """Add a shape under the name of the decorated function. The settings are the DAG's, some to be made `Later`."""

        def take(fill: Callable[[], object]) -> Callable[[], object]:
            def build() -> Any:
                made = {key: each.make() if isinstance(each, Later) else each for key, each in settings.items()}
                with dag(fill.__name__, **made) as built:
                    fill()
                return built

            self.append(Shape(fill.__name__, build, steps))
            return fill

        return take


def sdk(name: str, module: str = "airflow.sdk") -> Any:
    """A public name of Airflow."""
    return getattr(import_module(module), name)


def dag(name: str, **settings: Any) -> Any:
    """A DAG with the common settings."""
    return sdk("DAG")(name, **{"schedule": None, "start_date": BEGIN, "catchup": False, **settings})


def empty(name: str, **settings: Any) -> Any:
    """A task that does nothing."""
    return sdk("EmptyOperator", "airflow.providers.standard.operators.empty")(task_id=name, **settings)


def bash(name: str, command: str = "true", **settings: Any) -> Any:
    """A task with a command."""
    return sdk("BashOperator", "airflow.providers.standard.operators.bash")(
        task_id=name, bash_command=command, **settings
    )


def chained(*names: str) -> None:
    """Empty tasks, one after the other."""
    made = [empty(name) for name in names]
    for one, other in pairwise(made):
        one >> other


def show(name: str, value: Any) -> Any:
    """A task that returns its argument."""
    return sdk("task")(_show).override(task_id=name)(value)


def show_each(name: str, **settings: Any) -> Any:
    """The same task, to be mapped."""
    return sdk("task")(_show).override(task_id=name, **settings)


def add_each(name: str, **settings: Any) -> Any:
    """A task with two arguments, to be mapped."""
    return sdk("task")(_add).override(task_id=name, **settings)


def numbers(name: str = "numbers") -> Any:
    """A task that returns several numbers."""
    return sdk("task")(_numbers).override(task_id=name)()


def rows(name: str = "rows") -> Any:
    """A task that returns several sets of arguments for `add_each`."""
    return sdk("task")(_rows).override(task_id=name)()


def _show(value: Any) -> Any:
    return value


def _add(a: int, b: int = 1) -> int:
    return a + b


def _numbers() -> list[int]:
    return [1, 2]


def _rows() -> list[dict[str, int]]:
    return [{"a": 1}, {"a": 2, "b": 3}]


@contextmanager
def deep_calls() -> Iterator[None]:
    """Airflow's SDK calls itself once and more for each level of a DAG: the process that parses files has the room."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(_DEEP)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
