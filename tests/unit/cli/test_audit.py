"""`dagcache audit`: which DAGs it picks, and how it shows what was found. With a real Airflow: tests/in_airflow."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from dagcache.airflow import throw_away
from dagcache.cli.audit import command, heaviest
from dagcache.cli.main import main
from tests.support.databases import Database, payload


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """An empty database in the place of Airflow's, and copies that are lists."""
    made = Database(tmp_path / "airflow.db")
    monkeypatch.setattr(command, "has_airflow", lambda: True)
    monkeypatch.setattr(throw_away, "shared_objects", list)
    monkeypatch.setattr(throw_away, "load", lambda _: [str(number) * 100 for number in range(1000, 2000)])
    return made


@pytest.fixture(autouse=True)
def _engine(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    engine = sa.create_engine(database.url)
    monkeypatch.setattr(throw_away, "engine", lambda: engine)
    yield
    engine.dispose()


def audited(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    """The DAGs in the output as JSON."""
    assert main(["audit", "--json", *options]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["dags"]
    return found


def test_the_heaviest_dags_are_audited_by_their_newest_versions(
    database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the borders of batches."""
    monkeypatch.setattr(heaviest, "_BATCH", 2)
    for tasks in (3, 30, 9, 20, 1):
        database.version(f"dag_{tasks}", data=payload(f"dag_{tasks}", tasks))
    database.version("dag_30", 2, data=payload("dag_30", 10))
    found = audited(capsys, "--top", "3")
    assert [(each["dag_id"], each["version_number"]) for each in found] == [("dag_20", 1), ("dag_30", 2), ("dag_9", 1)]
    assert found[0]["serialized_bytes"] > found[1]["serialized_bytes"] > found[2]["serialized_bytes"] > 0


def test_each_method_weighs_the_same_graph(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand texts of 449 bytes, and the list that holds them."""
    database.version("numbers", data=payload("numbers", 3))
    (found,) = audited(capsys)
    assert found["walked_bytes"] == pytest.approx(465_000, rel=0.05)
    assert found["pympler_bytes"] == pytest.approx(found["walked_bytes"], rel=0.05)
    assert found["complete"]
    assert not found["error"]
    if found["allocated_bytes"] is not None:  # glibc only
        assert abs(found["walk_allocation_error_ratio"]) < 0.05


def test_the_table_has_a_line_for_each_dag(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """With sizes for people."""
    for name in ("one", "two"):
        database.version(name, data=payload(name, 3))
    assert main(["audit"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == [*command._HEADINGS]
    assert [line.split()[0] for line in lines] == ["one", "two"]
    assert all("KiB" in line for line in lines)


def test_a_version_that_cannot_be_loaded_is_a_note(
    database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the type of the error: its text may hold a password."""
    database.version("broken", data=payload("broken", 3))

    def load(_: UUID) -> Any:
        raise ValueError("s3cr3t")

    monkeypatch.setattr(throw_away, "load", load)
    assert main(["audit"]) == 0
    output = "".join(capsys.readouterr())
    assert "note: broken: ValueError" in output
    assert "s3cr3t" not in output


def test_a_graph_that_pympler_cannot_weigh_is_a_note(
    database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other methods have their figures."""
    database.version("sliced", data=payload("sliced", 3))
    monkeypatch.setattr(throw_away, "load", lambda _: [slice(1, 2, 0)])
    assert main(["audit"]) == 0
    line, note = capsys.readouterr().out.splitlines()[1:]
    assert line.split()[4] == "-"
    assert note.startswith("note: sliced: ")


def test_a_graph_that_was_not_seen_completely_is_a_note(
    database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pympler is recursive."""
    database.version("deep", data=payload("deep", 3))

    def load(_: UUID) -> Any:
        chain: list[Any] = []
        for _number in range(20_000):
            chain = [chain]
        return chain

    monkeypatch.setattr(throw_away, "load", load)
    assert main(["audit"]) == 0
    assert "note: deep: " in capsys.readouterr().out


def test_what_airflow_prints_does_not_reach_the_result(
    database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to stderr."""
    database.version("loud", data=payload("loud", 3))
    monkeypatch.setattr(throw_away, "load", lambda _: print("a line of Airflow"))  # noqa: T201
    assert main(["audit", "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["dags"][0]["dag_id"] == "loud"
    assert "a line of Airflow" in output.err


def test_without_airflow_it_says_what_it_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2."""
    monkeypatch.setattr(command, "has_airflow", lambda: False)
    assert main(["audit"]) == 2
    assert "Airflow, which is not installed in this Python's environment" in capsys.readouterr().err


def test_an_airflow_that_cannot_be_imported_is_bad_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the type of the error."""

    def engine() -> Any:
        raise RuntimeError("postgresql://airflow:s3cr3t@db")

    monkeypatch.setattr(throw_away, "engine", engine)
    assert main(["audit"]) == 2
    output = capsys.readouterr().err
    assert "Airflow cannot be imported: RuntimeError" in output
    assert "s3cr3t" not in output


def test_a_database_without_serialised_dags_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing can be audited."""
    assert main(["audit"]) == 2
    assert "expected serialised DAGs in the database, found none" in capsys.readouterr().err


def test_a_database_that_cannot_be_read_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the driver's reason."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/empty.db")
    monkeypatch.setattr(throw_away, "engine", lambda: engine)
    assert main(["audit"]) == 2
    assert "no such table" in capsys.readouterr().err
    engine.dispose()


def test_the_database_can_be_chosen(
    database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow reads its URL from the environment."""
    monkeypatch.setenv(command._URL_VARIABLE, "sqlite:///elsewhere.db")
    database.version("one", data=payload("one", 3))
    assert audited(capsys, "--db", database.url)
    assert os.environ[command._URL_VARIABLE] == database.url
