"""The text that `make bench` writes into the page of benchmarks."""

from __future__ import annotations

import re

import pytest

from benchmarks import __main__ as benchmarks
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "benchmarks.md").read_text()


@pytest.fixture(autouse=True)
def _any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peers need not be installed."""
    monkeypatch.setattr(benchmarks, "machine", lambda: "a machine")


@pytest.fixture
def written() -> str:
    """The page after another run, in which each part printed its title."""
    return benchmarks.page({part.title: f"new: {part.title}" for part in benchmarks.PARTS}, PAGE)


def test_the_schedulers_section_stays_as_it_is(written: str) -> None:
    """Other commands write its tables, and people write its text."""
    section = re.compile(r"^## In a scheduler$.*?(?=^## )", re.MULTILINE | re.DOTALL)
    assert section.findall(written) == section.findall(PAGE) != []


def test_the_parts_are_written_anew(written: str) -> None:
    """Each under its heading, in the same order; the machine, too."""
    headings = re.compile(r"^##? .*$", re.MULTILINE)
    assert headings.findall(written) == headings.findall(PAGE)
    assert "The machine: a machine\n" in written
    for part in benchmarks.PARTS:
        assert f"{part.text}\n\n```text\nnew: {part.title}\n```\n" in written


def test_the_page_has_the_text_of_each_part() -> None:
    """A part whose code has changed is measured again, or the page describes another one."""
    for part in benchmarks.PARTS:
        assert f"## {part.title}\n\n{part.text}\n\n```text\n" in PAGE


def test_the_figures_of_a_part_that_does_not_run_stay(written: str) -> None:
    """They are read from the page."""
    for part in benchmarks.PARTS:
        assert benchmarks.figures_of(part, written) == f"new: {part.title}"
        assert f"```text\n{benchmarks.figures_of(part, PAGE)}\n```" in PAGE
        assert benchmarks.figures_of(part, PAGE)
    assert benchmarks.figures_of(benchmarks.PARTS[0], "# Another page") == ""


def test_writing_twice_changes_nothing(written: str) -> None:
    """The same run gives the same page."""
    assert benchmarks.page({part.title: f"new: {part.title}" for part in benchmarks.PARTS}, written) == written
