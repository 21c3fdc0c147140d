"""The probe of the machine's slowness in a process of its own."""

from __future__ import annotations

import pytest

from benchmarks.probe_process import ProbeProcess


def test_each_question_has_an_answer_and_the_process_ends() -> None:
    """In units of the machine of the constants."""
    with ProbeProcess() as probe:
        assert 0 < probe.slowness(1) < 1000
        assert 0 < probe.slowness(2) < 1000
    assert probe._process.returncode == 0


def test_a_process_that_ended_is_an_error() -> None:
    """Not a number."""
    with ProbeProcess() as probe:
        probe._process.kill()
        probe._process.wait()
        with pytest.raises((ChildProcessError, BrokenPipeError)):
            probe.slowness(1)
