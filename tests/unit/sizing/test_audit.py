"""The second opinion: pympler agrees with walks on ordinary graphs, and says so when it gives up."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from dagcache.sizing.allocators import NoAccountError, allocated_bytes, bytes_per_copy
from dagcache.sizing.audit import AuditResult, audit, audit_copy
from dagcache.sizing.walk import weigh
from tests.support.accounts import needs_account
from tests.support.graphs import SHARED, make_dag
from tests.support.patience import PATIENCE


def test_walk_and_pympler_agree_on_a_dag() -> None:
    """Two ways that share no code, within 10 per cent."""
    result = audit(make_dag(80, 1), shared=SHARED)
    assert result.complete
    assert result.walk_error_ratio == pytest.approx(0, abs=0.1)


def test_the_walk_comes_first() -> None:
    """Pympler makes instances heavier; the walk must see them as they were."""
    expected = weigh(make_dag(80, 1), shared=frozenset(map(id, SHARED))).nbytes
    assert audit(make_dag(80, 1), shared=SHARED).walked_bytes == pytest.approx(expected, rel=0.01)


def test_the_error_of_an_estimate_is_told() -> None:
    """Against the walk, not against pympler."""
    result = AuditResult(pympler_bytes=80, walked_bytes=100, estimated_bytes=110, complete=True)
    assert result.estimate_error_ratio == pytest.approx(0.1)
    assert result.walk_error_ratio == pytest.approx(0.25)


def test_an_estimate_is_carried_through() -> None:
    """It may be left out."""
    assert audit([1.5], estimate=123).estimated_bytes == 123
    assert audit([1.5]).estimate_error_ratio is None


def test_what_weighs_nothing_has_a_finite_error() -> None:
    """The interpreter's own objects weigh nothing by the walk."""
    result = audit(None, estimate=5)
    assert result.walk_error_ratio == -1
    assert result.estimate_error_ratio == 4


def test_a_graph_too_deep_for_pympler_is_not_called_complete() -> None:
    """It would under-count in silence."""
    chain: list[Any] = []
    for _ in range(20_000):
        chain = [chain]
    result = audit(chain)
    assert not result.complete
    assert result.pympler_bytes is not None
    assert result.pympler_bytes < result.walked_bytes
    while chain:
        chain = chain.pop()


class Unsizeable:
    """Fails when asked for its size, in a way of its own."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __sizeof__(self) -> int:
        raise self.error


@pytest.mark.parametrize(
    "value",
    [slice(1, 2, 0), Unsizeable(ValueError("no")), Unsizeable(RecursionError()), memoryview(bytearray(100))[10:20]],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_pympler_is_part_of_the_answer(value: Any) -> None:
    """The walk's bytes and the estimate are there all the same; pympler sizes some of these on some versions."""
    result = audit([value, bytes(1000)], estimate=1100)
    assert result.walked_bytes > 1000
    assert result.estimate_error_ratio is not None
    assert (result.pympler_bytes is None) == (result.walk_error_ratio is None) == bool(result.pympler_error)
    assert not (result.complete and result.pympler_error)


def test_the_error_of_pympler_is_named() -> None:
    """It divides by a slice's step."""
    result = audit([slice(1, 2, 0)])
    assert result.pympler_error.startswith("ZeroDivisionError: ")
    assert not result.complete


def test_shared_objects_are_left_out_by_both() -> None:
    """They belong to no single graph."""
    common = [bytes(100_000)]
    result = audit([common], shared=[common])
    assert max(result.pympler_bytes or 1000, result.walked_bytes) < 1000


def test_each_audit_starts_anew() -> None:
    """Objects of one call must count again in the next."""
    graph = [bytes(5000)]
    first, second = audit(graph).pympler_bytes, audit(graph).pympler_bytes
    assert first == second
    assert first is not None
    assert first > 5000


@needs_account
@pytest.mark.parametrize(
    "make",
    [lambda: [bytes(300_000)], lambda: list(map(float, range(20_000))), lambda: make_dag(80, 1)],
    ids=["one large block", "many small blocks", "a DAG"],
)
def test_the_allocators_account_for_a_copy_as_the_walk_does(make: Callable[[], object]) -> None:
    """Pools, mapped blocks and heap blocks."""
    result = audit_copy(make, shared=SHARED)
    assert result.complete
    assert result.walk_allocation_error_ratio == pytest.approx(0, abs=0.05)


_LENGTHS = range(600, 1000, 16)


class Cycle:
    """Garbage that only the collector frees, and a value to keep, in blocks of the same sizes."""

    def __init__(self) -> None:
        self.myself = self
        self.blocks = [_block(length) for length in _LENGTHS for _ in range(3)]
        self.kept = [_block(length) for length in _LENGTHS for _ in range(7)]


def _block(length: int) -> bytes:
    return b"x" * length  # not bytes(length): calloc takes nothing from that cache


@needs_account
def test_blocks_that_malloc_keeps_for_reuse_are_not_taken_for_a_copys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """In malloc's figures, freed blocks of its per-thread cache are in use; a copy that takes them seems weightless.

    A block from elsewhere may have 16 bytes more than the request.
    """
    monkeypatch.setattr("dagcache.sizing.audit._ENOUGH_BYTES", 1)
    gc.disable()
    try:
        result = audit_copy(lambda: Cycle().kept)
    finally:
        gc.enable()
    assert result.walk_allocation_error_ratio == pytest.approx(0, abs=0.05)


@needs_account
def test_of_a_small_value_the_allocators_account_for_several_copies() -> None:
    """Beside one copy, other allocations are a large share."""
    made: list[object] = []

    def make() -> object:
        made.append(None)
        return [bytes(5000)]

    audit_copy(make)
    small = len(made)
    audit_copy(lambda: [make(), bytes(1_000_000)])
    assert small > len(made) - small


@needs_account
def test_each_method_gets_copies_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pympler makes a copy heavier, so the allocators must not see that one."""
    monkeypatch.setattr("dagcache.sizing.audit._ENOUGH_BYTES", 1)
    made: list[int] = []

    def make() -> object:
        made.append(len(made))
        return [float(len(made))]

    audit_copy(make)
    assert len(made) == 5


def test_without_an_account_of_the_allocators_the_rest_of_an_audit_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, musl, and free-threaded interpreters."""

    def fail() -> int:
        raise NoAccountError

    monkeypatch.setattr("dagcache.sizing.allocators.allocated_bytes", fail)
    result = audit_copy(lambda: [1.5], estimate=80)
    assert result.allocated_bytes is result.walk_allocation_error_ratio is None
    assert result.walked_bytes > 0
    assert result.pympler_bytes


def test_an_error_of_the_maker_ends_an_audit() -> None:
    """A database that is away must not look like an allocator without an account."""

    def fail() -> object:
        raise OSError("the database is away")

    with pytest.raises(OSError, match="away"):
        audit_copy(fail)


def test_a_c_library_without_an_account_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as musl."""
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    with pytest.raises(NoAccountError, match="mallinfo2"):
        allocated_bytes()


def test_an_interpreter_without_pools_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A free-threaded one has other pools, and no report of them."""
    monkeypatch.setattr("dagcache.sizing.allocators._pool_report", lambda: "# mimalloc")
    monkeypatch.delenv("PYTHONMALLOC", raising=False)
    with pytest.raises(NoAccountError, match="PYTHONMALLOC"):
        allocated_bytes()


def test_a_debugger_of_the_allocators_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its marks around each block would make copies a fifth heavier."""
    monkeypatch.setenv("PYTHONMALLOC", "pymalloc_debug")
    with pytest.raises(NoAccountError, match="debug hooks"):
        allocated_bytes()


def test_the_development_mode_brings_a_debugger_of_the_allocators_unless_another_is_chosen() -> None:
    code = "from dagcache.sizing.allocators import has_debug_hooks; print(has_debug_hooks())"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONMALLOC"}
    for chosen, expected in ({}, "True"), ({"PYTHONMALLOC": "pymalloc"}, "False"):
        command = [sys.executable, "-X", "dev", "-c", code]
        done = subprocess.run(command, env={**env, **chosen}, capture_output=True, text=True, timeout=PATIENCE)
        assert done.stdout.strip() == expected, done.stderr


def test_an_interpreter_that_was_told_to_use_malloc_has_one_account() -> None:
    """Its pools are empty, and malloc has it all."""
    code = (
        "from dagcache.sizing.allocators import bytes_per_copy;"
        "print(bytes_per_copy(lambda: list(map(float, range(1000, 21000)))))"
    )
    env = {**os.environ, "PYTHONMALLOC": "malloc"}
    output = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=PATIENCE
    ).stdout
    assert 20_000 * (24 + 8) < float(output) < 20_000 * 50


@needs_account
def test_the_standard_error_stream_is_as_before_after_an_account(capfd: pytest.CaptureFixture[str]) -> None:
    """The report of the pools takes its place for a moment."""
    bytes_per_copy(lambda: [1.5])
    os.write(2, b"still there\n")
    assert capfd.readouterr().err == "still there\n"
