"""Under a limit that the kernel enforces: the cache keeps to its budget; without disposal it does not."""

from __future__ import annotations

import sys

import pytest

from tools.scorecard.measures.overload import in_a_process

BUDGET = 6  # MiB

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits private memory (RLIMIT_DATA)")


def test_ten_times_what_fits_is_survived_without_the_collectors_help() -> None:
    """In no more than the base and two budgets; the peak is a third above one budget at most."""
    result = in_a_process("ours-without-gc", "made-up", BUDGET)
    assert result["survived"]
    assert result["lookups"] == 2 * result["keys"]
    assert result["peak"] <= 1.3 * BUDGET * 2**20


@pytest.mark.parametrize("control", ["unbroken", "by-count"])
def test_a_cache_that_does_less_runs_out_of_memory(control: str) -> None:
    """The controls, without which the test above could not fail: no victim taken apart, and a bound by count."""
    assert not in_a_process(control, "made-up", BUDGET)["survived"]
