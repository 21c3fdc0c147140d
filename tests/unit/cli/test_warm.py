"""`dagcache warm`: the content of the warm store on disk, and its removal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dagcache.cli.main import main
from tests.support.warm import SECRET, filled, found_in, make_store


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in AIRFLOW_HOME, with two generations."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.delenv("AIRFLOW__DAGCACHE__WARM_START_PATH", raising=False)
    filled(tmp_path / "dagcache-warm", 2, digest="old", parts={"python": "3.10", "format": "1"}).close()
    return tmp_path / "dagcache-warm"


def test_the_status_is_a_line_for_each_generation(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last one first, with the parts of the fingerprint in which the others differ."""
    store = filled(path, 3)
    assert main(["warm", "status"]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert ": 3 records, " in first
    assert first.endswith(", in use")
    assert ": 2 records, " in second
    assert second.endswith(", not in use")
    assert third == "  differs from the first one in: python"
    assert found_in(store, 3) == [0, 1, 2]


def test_the_status_as_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warm", "status", "--json", "--path", str(path)]) == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    assert (found["path"], found["action"]) == (str(path), "status")
    [generation] = found["generations"]
    assert (generation["records"], generation["packs"], generation["digest"]) == (2, 1, "old")
    assert generation["parts"]["python"] == "3.10"
    assert SECRET.decode() not in text


def test_clearing_removes_and_shows_all(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warm", "clear"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("removed ")
    assert ": 2 records, " in line
    assert list(path.iterdir()) == []
    assert main(["warm", "clear"]) == 0
    assert capsys.readouterr().out == f"{path} has no records\n"


def test_the_setting_names_the_directory(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW__DAGCACHE__WARM_START_PATH", str(path.with_name("other")))
    make_store(path.with_name("other"))
    assert main(["warm", "status"]) == 0
    assert ": 0 records, " in capsys.readouterr().out


@pytest.mark.parametrize("action", ["status", "clear"])
def test_a_directory_that_does_not_exist_is_wrong_input(
    path: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["warm", action, "--path", str(path / "none")]) == 2
    assert capsys.readouterr().err.startswith(f"dagcache: there is no directory {path / 'none'}: ")


def test_a_directory_of_others_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path / "notes.txt").touch()
    assert main(["warm", "clear"]) == 2
    assert "is not the folder of a warm store: it has 'notes.txt'" in capsys.readouterr().err
    path.chmod(0o755)
    assert main(["warm", "status"]) == 2
    assert "has mode 0755, expected 0700" in capsys.readouterr().err


def test_a_file_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["warm", "status", "--path", str(tmp_path / "file")]) == 1
    assert "Not a directory" in capsys.readouterr().err


def test_airflow_is_not_imported(path: Path) -> None:
    code = (
        "import sys; from dagcache.cli.main import main; main(['warm', 'status']); sys.exit('airflow' in sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, env={"AIRFLOW_HOME": str(path.parent)}
    )
