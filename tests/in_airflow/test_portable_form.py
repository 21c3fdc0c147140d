"""Each shape of the zoo, frozen by another process with other hashes: a thawed copy is what Airflow loads here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from dagcache.airflow import fingerprint, graphs
from dagcache.airflow.allow_list import allow_list
from dagcache.airflow.fingerprint import Fingerprint, described_objects
from tests.in_airflow import exchange, test_zoo
from tests.in_airflow.test_example_dags import serialization

BOUND = {
    "connection_as_value",
    "exceptions_as_values",
    "plugin_delegating_getattr",
    "plugin_forgetful",
    "plugin_links",
    "plugin_lock",
    "plugin_mapper_and_window",
    "plugin_module_globals",
    "plugin_singleton",
    "plugin_state",
    "plugin_weights",
    "plugin_within_another",
}
"""The shapes without a portable form: what they need is the deployment's own, or not on the list."""
HASH_SEED = 4


@pytest.mark.parametrize("which", ["shapes", pytest.param("examples", marks=pytest.mark.soak)])
def test_what_another_process_froze_is_what_airflow_loads(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In lock-step, the order of sets included; exactly the bound shapes are left out."""
    # The other process loads links. Here a scheduler's bag may have switched them off for the whole process.
    monkeypatch.setattr(serialization(), "_load_operator_extra_links", True)
    path = tmp_path / "forms"
    subprocess.run(
        [sys.executable, "-m", exchange.__name__, which, str(path)],
        env=dict(os.environ, PYTHONHASHSEED=str(HASH_SEED)),
        check=True,
        timeout=600,
    )
    assert set(exchange.thaw(path)) <= BOUND


# ---- the fingerprint ----


def parts(links: bool = False) -> dict[str, str]:
    """Those of this process."""
    return dict(Fingerprint(described_objects(), load_op_links=links).parts())


def differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    """The names of the parts that differ."""
    assert one.keys() == other.keys()
    return {name for name in one if one[name] != other[name]}


def test_a_fingerprint_is_the_same_again() -> None:
    """After loads and writes, too."""
    before = Fingerprint(described_objects(), load_op_links=False)
    test_zoo.load(test_zoo.text_of("one_task"))
    after = Fingerprint(described_objects(), load_op_links=False)
    assert before.digest() == after.digest()
    assert differing(dict(before.parts()), dict(after.parts())) == set()
    assert len(after.digest()) == 64
    assert int(after.digest(), 16)


def test_links_are_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the bag loads them, and which ones plugins have registered."""
    without, before = parts(), parts(links=True)
    assert differing(without, before) == {"operator links"}
    link = Mock(operators=[int])
    monkeypatch.setattr("dagcache.airflow.foreign.registered_links", lambda: [link])
    assert differing(before, parts(links=True)) == {"operator links"}
    assert differing(without, parts()) == set()


@pytest.mark.parametrize("name", ["apache-airflow-core", "apache-airflow-task-sdk", "pendulum", "dagcache"])
def test_another_version_of_a_distribution_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an upgrade, or a downgrade."""
    before = parts()
    real = fingerprint._version
    monkeypatch.setattr(fingerprint, "_version", lambda asked: "0.0" if asked == name else real(asked))
    assert differing(before, parts()) == {name}


def test_a_changed_default_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load copies it into DAGs; it may come from the configuration."""
    kind: Any = graphs.classes_of_tasks()[0]
    before = parts()
    monkeypatch.setattr(kind, "queue", "another")
    assert differing(before, parts()) == {"shared objects"}


@pytest.mark.parametrize("kind", [lambda made: made, classmethod, staticmethod, property])
def test_a_function_of_airflow_that_was_replaced_is_named(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin may have done it: DAGs of such a process are not those of the next one without the plugin."""
    before = parts()

    def replaced(*_: Any) -> str:
        return "of a plugin"

    monkeypatch.setattr(graphs.classes_of_tasks()[0], "leaves", kind(replaced))
    assert differing(before, parts()) - {"shared objects"} == {"code of loads"}


def test_a_decoder_of_airflow_that_was_replaced_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With code within it, and with constants that have no order."""
    before = parts()

    def replaced(*_: Any) -> Any:
        return lambda name: name in {"one", "another"}

    monkeypatch.setattr(f"{serialization().__module__}.decode_timetable", replaced)
    assert differing(before, parts()) == {"code of loads"}


def test_a_changed_source_is_named_and_its_time_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with one module, and another one within it."""
    (tmp_path / "made_up" / "inner").mkdir(parents=True)
    (tmp_path / "made_up" / "__init__.py").write_text("")
    source = tmp_path / "made_up" / "inner" / "module.py"
    source.write_text("one = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = fingerprint._digest_of_source("made_up")
    os.utime(source, (1, 1))
    assert fingerprint._digest_of_source("made_up") == before
    source.write_text("one = 2\n")
    assert fingerprint._digest_of_source("made_up") != before
    source.rename(source.with_suffix(".pyc"))
    (tmp_path / "made_up" / "__init__.py").rename(tmp_path / "made_up" / "notes.txt")
    with pytest.raises(LookupError, match="made_up has no source"):
        fingerprint._digest_of_source("made_up")


def test_the_source_of_each_module_of_airflow_on_the_list_is_a_part() -> None:
    """Those of single names, too: until Airflow 3.1 a DAG has assets and parameters of the Task SDK."""
    names = {module for module, _ in allow_list().names if module.startswith("airflow.")}
    assert "airflow.sdk.definitions.asset" in names
    assert {f"source of {module}" for module in names} <= parts().keys()


def test_the_code_of_parameters_is_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the class that this Airflow's DAGs have: of the Task SDK until 3.1."""
    kind = type(test_zoo.load(test_zoo.text_of("params_with_schemas")).params.get_param("choice"))
    before = parts()
    monkeypatch.setattr(kind, "resolve", lambda *_: None)
    assert differing(before, parts()) - {"shared objects"} == {"code of loads"}


def test_two_objects_of_one_name_are_never_agreed_upon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either may come first."""
    monkeypatch.setattr(graphs, "named_objects", lambda: [("name", [1]), ("name", [2])])
    assert described_objects() != described_objects()


def test_the_description_has_no_address() -> None:
    """It would differ in each process."""
    assert " at 0x" not in json.dumps(described_objects())


def test_time_zones_are_frozen_without_a_look_up_of_a_method() -> None:
    """By name; one that is not from a name is left to pickle, which refuses it or binds it to the process."""
    import io
    import zoneinfo

    freezer, _ = graphs.freezer(allow_list())
    zone = zoneinfo.ZoneInfo("Europe/Rome")
    form = freezer.to_portable(freezer.freeze([zone]).data)
    assert form is not None
    assert freezer.from_portable(form)[0] == [zone]
    own = zoneinfo.ZoneInfo.no_cache("Europe/Rome")
    assert freezer.to_portable(freezer.freeze([own]).data) is None
    with pytest.raises(TypeError):
        graphs.zone_by_name(io.StringIO, "text")  # type: ignore[arg-type]


class Ambiguous:
    """An expression: neither true nor false."""

    def __bool__(self) -> bool:
        raise ValueError("the truth value is ambiguous")


def test_an_attribute_is_not_asked_for_its_truth() -> None:
    """An operator may have any attribute under the name of a set."""
    task = SimpleNamespace(tags=Ambiguous(), deps={"a", "b"})
    assert graphs.sets_of(SimpleNamespace(task_dict={"one": task})) == [{"a", "b"}]
