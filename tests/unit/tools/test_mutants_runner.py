"""The run of seeded faults: only a failed test is notice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tools.mutants import __main__ as command
from tools.mutants import runner
from tools.mutants.fault import Fault, replace
from tools.mutants.faults import FAULTS
from tools.mutants.runner import Result, Verdict, check_tests, judge, try_fault

FAULT = Fault("no sum", "dagcache.sums", "total", replace("A + B", "A - B"), ("test_total.py",))
TESTS = {
    "test_total.py": "from dagcache.sums import total\ndef test_total(): assert total(1, 2) == 3\n",
    "test_weak.py": "from dagcache.sums import total\ndef test_weak(): assert total(1, 0) == 1\n",
    "test_failing.py": "def test_failing(): assert False\n",
    "test_none.py": "",
    "conftest.py": "from hypothesis import settings\nsettings.register_profile('unshrunk')\n",
    "test_import.py": "import dagcache.gone\ndef test_import(): pass\n",
}


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small project."""
    for name in runner.COPIED:
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = ['.']\n")
    (tmp_path / "dagcache" / "__init__.py").touch()  # a folder without it gives way to an installed package
    (tmp_path / "dagcache" / "sums.py").write_text("def total(one, other):\n    return one + other\n")
    for name, text in TESTS.items():
        (tmp_path / "tests" / name).write_text(text)
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("tests", "verdict"),
    [
        (("test_total.py",), Verdict.KILLED),
        (("test_weak.py", "test_total.py"), Verdict.KILLED),
        (("test_weak.py",), Verdict.SURVIVED),
        (("test_none.py",), Verdict.BROKEN),
        (("test_import.py",), Verdict.BROKEN),
        (("test_gone.py",), Verdict.BROKEN),
    ],
)
@pytest.mark.usefixtures("checkout")
def test_a_fault_is_noticed_if_a_test_fails_and_in_no_other_case(tests: tuple[str, ...], verdict: Verdict) -> None:
    fault = Fault(FAULT.name, FAULT.module, FAULT.function, FAULT.patch, tests)
    assert try_fault(fault).verdict is verdict


@pytest.mark.parametrize(("module", "function"), [("dagcache.gone", "total"), ("dagcache.sums", "gone")])
@pytest.mark.usefixtures("checkout")
def test_a_fault_that_cannot_be_planted_is_broken_and_stops_no_other(module: str, function: str) -> None:
    result = try_fault(Fault(FAULT.name, module, function, FAULT.patch, FAULT.tests))
    assert result.verdict is Verdict.BROKEN
    assert "gone" in result.reason


@pytest.mark.parametrize(("tests", "failure"), [(("test_total.py",), ""), (("test_failing.py",), "test_failing")])
@pytest.mark.usefixtures("checkout")
def test_the_tests_are_run_without_a_fault_too(tests: tuple[str, ...], failure: str) -> None:
    reason = check_tests([Fault("any", "dagcache.sums", "total", FAULT.patch, tests)])
    assert failure in reason
    assert bool(reason) == bool(failure)


def test_a_run_changes_nothing_in_the_checkout(checkout: Path) -> None:
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    try_fault(FAULT)
    assert before == {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("code", "output", "expected"),
    [
        (0, "3 passed", (Verdict.SURVIVED, "3 passed")),
        (1, "FAILED tests/a.py::b - assert 1\n1 failed", (Verdict.KILLED, "tests/a.py::b")),
        (1, "ERROR tests/a.py::b - OSError\n1 error", (Verdict.KILLED, "ERROR tests/a.py::b")),
        (2, "ERROR tests/a.py - ImportError\n1 error", (Verdict.BROKEN, "ERROR tests/a.py")),
        (3, "", (Verdict.BROKEN, "no output")),
        (5, "no tests ran", (Verdict.BROKEN, "no tests ran")),
        (-9, "...", (Verdict.BROKEN, "...")),
    ],
)
def test_the_exit_code_of_pytest_decides(code: int, output: str, expected: tuple[Verdict, str]) -> None:
    assert judge(code, output) == expected


@pytest.mark.parametrize(
    ("verdicts", "failure", "code"),
    [
        ((Verdict.KILLED, Verdict.KILLED), "", 0),
        ((Verdict.KILLED, Verdict.SURVIVED), "", 1),
        ((Verdict.BROKEN, Verdict.KILLED), "", 1),
        ((Verdict.KILLED,), "tests/a.py::b", 1),
        ((), "", 1),
    ],
)
def test_a_run_passes_if_each_fault_is_noticed_and_the_tests_pass_without_one(
    monkeypatch: pytest.MonkeyPatch, verdicts: Sequence[Verdict], failure: str, code: int
) -> None:
    left = iter(verdicts)
    monkeypatch.setattr(command, "try_fault", lambda fault: Result(fault, next(left), "tests/a.py::c", 1.0))
    monkeypatch.setattr(command, "check_tests", lambda _: failure)
    assert command.run([FAULT] * len(verdicts), jobs=1) == code


def test_faults_are_chosen_by_parts_of_their_names() -> None:
    names = ("collector off", "an allowance has no")
    assert command.chosen(names) == [fault for fault in FAULTS if any(name in fault.name for name in names)]
    assert len(command.chosen(names)) == len(names)
    assert command.chosen([]) == list(FAULTS)
