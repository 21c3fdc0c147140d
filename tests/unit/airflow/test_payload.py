"""The sizes of rows in the database."""

from __future__ import annotations

import json
import zlib
from types import SimpleNamespace
from typing import Any

import pytest

from dagcache.airflow.payload import PayloadSizes


def _row(tasks: int, compressed: bytes | None = None) -> Any:
    task = {"__type": "operator", "__var": {"task_id": "load", "pool": "default", "command": "x" * 700}}
    dag = {"dag_id": "d", "tasks": [task] * tasks, "note": "y" * 700}
    return SimpleNamespace(data={"__version": 3, "dag": dag}, _data_compressed=compressed)


def _json_bytes(row: Any) -> int:
    return len(json.dumps(row.data))


def test_a_compressed_row_weighs_what_is_stored() -> None:
    """To the byte, without a look at its content."""
    stored = zlib.compress(b"content")
    assert PayloadSizes().bytes_of(SimpleNamespace(_data_compressed=stored)) == len(stored)


def test_the_first_rows_are_measured() -> None:
    """To some per cent of their JSON."""
    sizes = PayloadSizes()
    for tasks in range(1, 17):
        row = _row(tasks)
        assert sizes.bytes_of(row) == pytest.approx(_json_bytes(row), rel=0.06)


def test_later_rows_are_estimated_by_their_tasks() -> None:
    sizes = PayloadSizes()
    for tasks in range(1, 17):
        sizes.bytes_of(_row(tasks))
    for tasks in (3, 300):
        row = _row(tasks)
        assert sizes.bytes_of(row) == pytest.approx(_json_bytes(row), rel=0.1)


def test_estimates_follow_what_is_measured_later() -> None:
    """Each sixteenth row is still measured."""
    sizes = PayloadSizes()
    small, large = _row(2), _row(2)
    large.data["dag"]["tasks"] = [{"command": "z" * 7000}] * 2
    for _ in range(16):
        sizes.bytes_of(small)
    early = sizes.bytes_of(large)
    for _ in range(64):
        late = sizes.bytes_of(large)
    assert early < late <= _json_bytes(large)


def test_an_unknown_shape_is_an_error() -> None:
    """The caller decides on the consequence; nothing was counted."""
    sizes = PayloadSizes()
    with pytest.raises(KeyError):
        sizes.bytes_of(SimpleNamespace(data={}, _data_compressed=None))
    assert sizes.bytes_of(_row(1)) > 0
