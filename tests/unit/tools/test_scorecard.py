"""The scorecard's own machinery: a failure is reported, and a part of the table leaves the other rows."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tools.scorecard import __main__ as command
from tools.scorecard import interpreters
from tools.scorecard.board import BOARD
from tools.scorecard.outcome import Check, Outcome, not_run
from tools.scorecard.processes import MeasureError, measure, read_report, run_tests
from tools.scorecard.reruns import CORE_TESTS
from tools.scorecard.table import row, write_page

REPORT = """<testsuites><testsuite>
<testcase name="good"/><testcase name="bad"><failure/></testcase><testcase name="broken"><error/></testcase>
<testcase name="left_out"><skipped message="not here"/></testcase>
</testsuite></testsuites>"""


def checks(*outcomes: Outcome) -> tuple[Check, ...]:
    """A board with one line for each outcome."""
    return tuple(
        Check(f"R{number}", "something", "none", lambda _, outcome=outcome: outcome)  # type: ignore[misc]
        for number, outcome in enumerate(outcomes, 1)
    )


def measured(monkeypatch: pytest.MonkeyPatch, board: tuple[Check, ...], *arguments: str) -> tuple[int, str]:
    """The exit code and the output of the command, over another board."""
    monkeypatch.setattr(command, "BOARD", board)
    with redirect_stdout(io.StringIO()) as out:
        return command.main(arguments), out.getvalue()


def test_the_board_has_every_line() -> None:
    """R1 to R19, and no two rows of one name."""
    assert {check.line for check in BOARD} == {f"R{number}" for number in range(1, 20)}
    assert len({(check.line, check.what) for check in BOARD}) == len(BOARD)


def test_the_tests_that_lines_run_are_there() -> None:
    """A line with renamed tests must not pass because pytest finds none."""
    source = (ROOT / "tools" / "scorecard" / "board.py").read_text().replace("{_IN_AIRFLOW}", "tests/in_airflow")
    named = re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", source)
    assert named
    for path, test in named:
        assert f"def {test}" in (ROOT / path).read_text()


def test_a_line_that_fails_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that could not be run does not, and is never called passed."""
    assert measured(monkeypatch, checks(Outcome("1", passed=True), not_run("no such thing")))[0] == 0
    code, output = measured(monkeypatch, checks(Outcome("1", passed=True), Outcome("2", passed=False)))
    assert code == 1
    assert [line.split(" | ")[-1] for line in output.splitlines() if line.startswith("| R")] == ["passed |", "FAILED |"]


def test_a_measurement_that_breaks_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are still measured."""

    def broken(_: bool) -> Outcome:
        raise MeasureError("it ended with 1")

    board = (Check("R1", "broken", "none", broken), *checks(Outcome("1", passed=True)))
    code, output = measured(monkeypatch, board)
    assert code == 1
    assert "it ended with 1" in output
    assert "passed" in output


def test_only_the_lines_asked_for_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """And an unknown one is an error."""
    board = checks(Outcome("first", passed=False), Outcome("second", passed=True))
    code, output = measured(monkeypatch, board, "--line", "R2")
    assert (code, "first" in output, "second" in output) == (0, False, True)
    with pytest.raises(SystemExit):
        measured(monkeypatch, board, "--line", "R20")


def test_a_part_of_the_table_leaves_the_other_rows(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- scorecard -->\n<!-- /scorecard -->\nafter\n")
    board = checks(Outcome("old", passed=True), Outcome("a | b", passed=None))
    write_page(page, board, [row(board[1], board[1].measure(False)), row(board[0], board[0].measure(False))])
    write_page(page, board, [row(board[0], Outcome("new", passed=False))])
    text = page.read_text()
    assert re.findall(r"^\| R.*$", text, re.MULTILINE) == [
        "| R1 | something | new | none | FAILED |",
        "| R2 | something | a / b | none | not run |",
    ]
    assert text.startswith("before\n<!-- scorecard -->\nThe machine of the latest measurements: CPython")
    assert text.endswith("<!-- /scorecard -->\nafter\n")


def test_a_page_without_marks_is_an_error(tmp_path: Path) -> None:
    """Rather than a page that is silently left as it is."""
    page = tmp_path / "page.md"
    page.touch()
    with pytest.raises(ValueError, match="scorecard"):
        write_page(page, (), [])


def test_a_report_of_tests_is_read(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    told = read_report(report)
    assert (told.passed, told.failed, told.skipped) == (1, ("bad", "broken"), ("not here",))
    assert told.outcome.passed is False
    report.write_text('<testsuite><testcase name="x"><skipped message="not here"/></testcase></testsuite>')
    assert read_report(report).outcome == not_run("not here")


def test_tests_are_run_in_a_process_of_their_own() -> None:
    """And a path that leads nowhere is not taken for success."""
    assert run_tests("tests/unit/test_stats.py").outcome.passed is True
    assert run_tests("tests/test_which_is_not_there.py").outcome.passed is not True


def test_a_measurement_without_figures_is_an_error() -> None:
    """As one that does not exist."""
    with pytest.raises(MeasureError, match="ended with 1"):
        measure("nothing_of_the_sort")


def test_an_interpreter_that_is_not_there_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not called passed."""
    monkeypatch.setattr(interpreters, "interpreter", lambda _: None)
    assert interpreters.mapping_tests(("3.10",)).passed is None
    assert interpreters.free_threaded().passed is None


@pytest.mark.parametrize("path", [*CORE_TESTS, *interpreters._LEFT_OUT])
def test_the_tests_that_other_interpreters_run_and_leave_out_are_there(path: str) -> None:
    """Tests that move take their places in these lists along."""
    assert (ROOT / path).exists()
