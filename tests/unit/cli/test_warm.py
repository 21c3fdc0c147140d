"""`dagcache warm`: the content of the warm store on disk or in a database, and its removal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dagcache.cli.main import main
from tests.support import warm_database
from tests.support.warm import SECRET, filled, found_in, key_of, make_store


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


# ---- in a database ----


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with two generations, which is that of the settings."""
    (tmp_path / "warm.db").touch()
    url = f"sqlite:///{tmp_path}/warm.db"
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__DAGCACHE__WARM_START", "database")
    monkeypatch.setenv("AIRFLOW__DAGCACHE__WARM_START_URL", url)
    warm_database.filled(url, 2, digest="old", parts={"python": "3.10", "format": "1"}).close()
    return url


def test_the_status_of_a_database_is_a_line_for_each_generation(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    warm_database.filled(url, 3).close()
    assert main(["warm", "status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(": 3 records, " in line or ": 2 records, " in line for line in lines) == 2
    assert all(", in use" in line and "pack" not in line for line in lines[:2])
    assert lines[2] == "  differs from the first one in: python"


def test_the_status_of_a_database_as_json(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warm", "status", "--json", "--db", url]) == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    assert (found["database"], found["action"]) == (url, "status")
    [generation] = found["generations"]
    assert (generation["records"], generation["digest"], generation["parts"]["python"]) == (2, "old", "3.10")
    assert SECRET.decode() not in text


def test_clearing_a_database_removes_and_shows_all(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A running process then begins with an empty generation."""
    store = warm_database.make_store(url, digest="old")
    assert main(["warm", "clear"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("removed ")
    assert ": 2 records, " in line
    assert warm_database.rows_in(url) == []
    assert main(["warm", "clear"]) == 0
    assert capsys.readouterr().out == f"{url} has no records\n"
    assert found_in(store, 2) == []
    warm_database.put(store, key_of(1), 1)
    store.close()
    assert len(warm_database.rows_in(url)) == 1


def test_the_metadata_database_is_the_default_one(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AIRFLOW__DAGCACHE__WARM_START_URL")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", url)
    assert main(["warm", "status"]) == 0
    assert ": 2 records, " in capsys.readouterr().out
    monkeypatch.setenv("AIRFLOW__DAGCACHE__WARM_START_URL_CMD", "cat /nowhere")  # another database
    assert main(["warm", "status"]) == 2
    assert "a URL from a command or a secrets backend is not read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "code", "line"),
    [
        ("s3cr3t", 2, "the database URL is not understood; accepted: "),
        ("sqlite:///{folder}/none.db", 2, "expected an SQLite file; there is no file "),
        ("sqlite:///{folder}/empty.db", 2, "sqlite:///{folder}/empty.db has no tables of a warm store: "),
        ("sqlite:///{folder}/text.db", 1, "sqlite:///{folder}/text.db: file is not a database"),
        ("postgresql+psycopg2://u:s3cr3t@127.0.0.1:1/x", 1, "postgresql+psycopg2://u:***@127.0.0.1:1/x: connection to"),
    ],
)
def test_a_database_that_cannot_be_read_is_one_line_without_a_password(
    tmp_path: Path, wrong: str, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("no database " * 100)
    assert main(["warm", "status", "--db", wrong.format(folder=tmp_path)]) == code
    error = capsys.readouterr().err
    assert error.startswith(f"dagcache: {line.format(folder=tmp_path)}")
    assert "s3cr3t" not in error


def test_impossible_times_in_a_database_are_shown_and_cleared(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A writer to the table can store any number."""
    warm_database.execute(url, "UPDATE dagcache_warm_start SET stored_at = 9000000000000000000")
    for action in ("status", "clear"):
        assert main(["warm", action, "--db", url]) == 0
        assert "written at an impossible time" in capsys.readouterr().out
