"""`dagcache monitoring`: the dashboard and the alert rules, out of the installed package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dagcache.cli.main import main
from dagcache.cli.monitoring import command

PAGE = "https://wiki.example/dagcache"


def test_the_dashboard_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON that Grafana imports."""
    assert main(["monitoring", "dashboard"]) == 0
    assert json.loads(capsys.readouterr().out)["uid"] == "dagcache"


def test_the_alerts_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """With the section of each runbook, which is a path and so has no name that promises a URL."""
    assert main(["monitoring", "alerts"]) == 0
    printed = capsys.readouterr().out
    assert "\ngroups:\n  - name: dagcache\n" in printed
    assert ' runbook: "docs/' in printed
    assert "runbook_url" not in printed


def test_every_runbook_is_on_the_page_that_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Each in the section of its alert."""
    assert main(["monitoring", "alerts", "--runbooks", PAGE]) == 0
    printed = capsys.readouterr().out
    alerts = re.findall(r"- alert: (\w+)", printed)
    assert alerts
    assert re.findall(r'runbook_url: "(.*)"', printed) == [f"{PAGE}#{name.lower()}" for name in alerts]


def test_only_the_runbooks_change(capsys: pytest.CaptureFixture[str]) -> None:
    """The rules themselves stay."""
    printed = []
    for options in ([], ["--runbooks", PAGE]):
        main(["monitoring", "alerts", *options])
        printed.append([line for line in capsys.readouterr().out.splitlines() if "runbook" not in line])
    assert printed[0] == printed[1]


def test_a_page_is_quoted() -> None:
    """A backslash or a quote does not end the string."""
    found = command.with_runbooks('  runbook: "docs/operating.md#name"', 'https://host/\\1"')
    assert json.loads(found.partition(": ")[2]) == 'https://host/\\1"#name'


@pytest.mark.parametrize(
    "page", ["", "docs/operating.md", "wiki.example", "https://", "https://host/a b", f"{PAGE}#top"]
)
def test_a_page_that_is_not_absolute_is_refused(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message shows the accepted form."""
    assert main(["monitoring", "alerts", "--runbooks", page]) == 2
    assert f"expected an http:// or https:// URL without a fragment, found {page!r}" in capsys.readouterr().err


def test_a_dashboard_has_no_runbooks(capsys: pytest.CaptureFixture[str]) -> None:
    """An option without an effect is refused."""
    assert main(["monitoring", "dashboard", "--runbooks", PAGE]) == 2
    assert "accepted: with alerts only" in capsys.readouterr().err


def test_a_file_that_is_missing_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a packager left the data out."""
    monkeypatch.setattr(command, "files", lambda _: tmp_path)
    assert main(["monitoring", "dashboard"]) == 1
    assert "dashboard.json is missing from this installation" in capsys.readouterr().err
