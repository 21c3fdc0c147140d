"""The module that Airflow imports in every process: small, silent, harmless."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dagcache.airflow import bootstrap, hook

SITE = "site_for_bootstrap_tests"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A use site that can be imported, and nothing of what was there before left behind."""
    (tmp_path / f"{SITE}.py").write_text("executed = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(bootstrap, "SITES", {SITE: "scheduler"})
    others = [finder for finder in sys.meta_path if not isinstance(finder, bootstrap.UseSiteFinder)]
    monkeypatch.setattr(sys, "meta_path", others)
    yield SITE
    sys.modules.pop(SITE, None)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ModuleType, str]]:
    """What was handed to the hook."""
    calls: list[tuple[ModuleType, str]] = []
    monkeypatch.setattr(hook, "install", lambda module, component: calls.append((module, component)))
    return calls


def test_a_use_site_is_handed_over_once_it_has_been_executed(
    site: str, installed: list[tuple[ModuleType, str]]
) -> None:
    """Not before: the class to be replaced must be there."""
    bootstrap.watch()
    assert not installed
    module = importlib.import_module(site)
    assert installed == [(module, "scheduler")]
    assert module.executed


def test_a_use_site_that_was_imported_before_is_handed_over_at_once(
    site: str, installed: list[tuple[ModuleType, str]]
) -> None:
    """The order of imports is not ours."""
    module = importlib.import_module(site)
    bootstrap.watch()
    assert installed == [(module, "scheduler")]


def test_watching_twice_is_harmless(site: str, installed: list[tuple[ModuleType, str]]) -> None:
    """One finder, one installation."""
    before = len(sys.meta_path)
    bootstrap.watch()
    bootstrap.watch()
    importlib.import_module(site)
    assert len(installed) == 1
    assert len(sys.meta_path) <= before + 1


def test_other_modules_are_none_of_its_business(site: str) -> None:
    """The finder answers for the use sites only."""
    finder = bootstrap.UseSiteFinder()
    assert finder.find_spec("json") is None
    assert finder.find_spec(site) is not None


def test_a_use_site_that_nobody_finds_is_not_found(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Airflow without that module imports, or does not, as it would without us."""
    monkeypatch.setattr(bootstrap, "SITES", {"no_such_site": "scheduler"})
    bootstrap.watch()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_site")


def test_a_failing_hook_leaves_the_module_as_it_is(
    site: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line with the reason; the import goes on."""

    def fail(*_: object) -> None:
        raise RuntimeError("not today")

    monkeypatch.setattr(hook, "install", fail)
    bootstrap.watch()
    with caplog.at_level(logging.ERROR, "dagcache"):
        assert importlib.import_module(site).executed
    assert [record.message for record in caplog.records] == [f"dagcache is off in {SITE}: Airflow's own cache serves"]


def test_it_imports_nothing_but_itself_and_the_standard_library() -> None:
    """Processes that run tasks pay for this module only, not for the cache."""
    code = (
        "import sys; before = set(sys.modules); import dagcache.airflow.bootstrap;"
        "known = {*sys.stdlib_module_names};"
        "print(sorted(name for name in set(sys.modules) - before if name.partition('.')[0] not in known))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert output.stdout.strip() == "['dagcache', 'dagcache.airflow', 'dagcache.airflow.bootstrap']"
