"""Frozen DAGs for another process: ``python -m tests.in_airflow.exchange shapes|examples FILE`` writes them.

The file has the rows of all shapes, or of Airflow's example DAGs, with their portable forms. `thaw` compares each form
with this process's own load of the row, in lock-step.
"""

from __future__ import annotations

import pickle
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import tests.in_airflow.conftest  # noqa: F401 - a home of Airflow's, before anything imports Airflow
from dagcache.airflow import graphs
from dagcache.airflow.allow_list import allow_list
from dagcache.airflow.fingerprint import described_objects
from dagcache.errors import FreezeError
from dagcache.freezing.pickle_freezer import PickleFreezer
from tests.in_airflow import test_zoo
from tests.in_airflow.zoo import SHAPES
from tests.in_airflow.zoo.shape import MissingShapeError


def shapes() -> dict[str, str]:
    """The rows of all shapes, as JSON."""
    found = {}
    for name in SHAPES:
        with suppress(MissingShapeError):
            found[name] = test_zoo.text_of(name)
    return found


def examples() -> dict[str, str]:
    """The rows of Airflow's example DAGs, as JSON."""
    from importlib import import_module

    from tests.in_airflow.test_example_dags import FOLDERS, as_json, dag_bag_class

    found = {}
    for name in FOLDERS:
        folder = str(Path(str(import_module(name).__file__)).parent)
        for dag_id, dag in dag_bag_class()(folder).dags.items():
            text = as_json(dag)
            if text is not None:
                found[dag_id] = text
    return found


def portable(freezer: PickleFreezer, text: str) -> bytes | None:
    """The portable form of a row; None if it has none."""
    try:
        return freezer.to_portable(freezer.freeze(test_zoo.load_as_the_bag_does(text)).data)
    except FreezeError:
        return None


def freeze(rows: dict[str, str], path: Path) -> None:
    """Write the forms, the dictionaries that they name, and the description of the shared objects."""
    freezer, _ = graphs.freezer(allow_list())
    forms = {name: (text, portable(freezer, text)) for name, text in rows.items()}
    words = dict(freezer.words_of(form) for _, form in forms.values() if form is not None)
    path.write_bytes(pickle.dumps((described_objects(), words, forms)))


def thaw(path: Path) -> list[str]:
    """Thaw and compare each form; the names of the rows without one."""
    described, words, forms = pickle.loads(path.read_bytes())
    assert described_objects() == described
    freezer, _ = graphs.freezer(allow_list())
    for text in filter(None, words.values()):
        assert freezer.adopt_words(text)
    for name, (text, form) in forms.items():
        if form is not None:
            try:
                compare(freezer, text, form)
            except AssertionError as difference:
                raise AssertionError(f"{name}: {difference}") from None
    return [name for name, (_, form) in forms.items() if form is None]


def compare(freezer: PickleFreezer, text: str, form: bytes) -> None:
    """A thawed form, and a copy of the frozen bytes that come with it, with this process's own load."""
    dag, data = freezer.from_portable(form)
    test_zoo.assert_equals_a_load(in_order_of_a_load(dag, text), text)
    copy: Any = freezer.thaw(data)
    test_zoo.assert_equals_a_load(in_order_of_a_load(copy, text), text)
    assert freezer.to_portable(data) == form


def in_order_of_a_load(dag: Any, text: str) -> Any:
    """The graph with its tasks' attributes in the order in which a load of this process sets them.

    Until Airflow 3.1 that is the order of a set of names, which another process has otherwise. The parameters are
    immutable since 3.2.
    """
    if not graphs.classes_of_parameters():
        for task_id, loaded in test_zoo.load(text).task_dict.items():
            task = dag.task_dict[task_id]
            if vars(task).keys() == vars(loaded).keys():
                task.__dict__ = {name: vars(task)[name] for name in vars(loaded)}
    return dag


if __name__ == "__main__":
    freeze({"shapes": shapes, "examples": examples}[sys.argv[1]](), Path(sys.argv[2]))
