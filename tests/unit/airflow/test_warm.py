"""The warm store by its settings: which one, with which key, or one line in the log."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dagcache.airflow import warm, warm_key
from dagcache.airflow.settings import Settings, read_settings
from dagcache.warm_start.disk import DiskStore
from dagcache.warm_start.store import CountedStore
from tests.support.warm import key_of, record_of, settled

KEY = "a key of sixteen characters or more"


class Fingerprint:
    """A fingerprint of one part."""

    def digest(self) -> str:
        """Of the part."""
        return "0123abcd"

    def parts(self) -> Mapping[str, str]:
        """The part."""
        return {"format": "1"}


class Conf:
    """A stand-in for Airflow's configuration."""

    def __init__(self) -> None:
        self.texts: dict[str, str | Exception] = {}

    def get(self, section: str, name: str, fallback: str | None) -> str | None:
        """The text of a setting."""
        text = self.texts.get(f"{section}.{name}", fallback)
        if isinstance(text, Exception):
            raise text
        return text


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Conf:
    """Airflow's configuration, with an AIRFLOW_HOME of its own."""
    conf = Conf()
    configuration: Any = ModuleType("airflow.configuration")
    configuration.conf, configuration.AIRFLOW_HOME = conf, str(tmp_path)
    monkeypatch.setitem(sys.modules, "airflow", ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.configuration", configuration)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    return conf


def settings_of(**texts: str) -> Settings:
    """With the warm start on disk, unless a text says otherwise."""
    return read_settings(({"warm_start": "disk"} | texts).get, "scheduler")


def store_of(**texts: str) -> CountedStore | None:
    """The store by these settings, not opened yet."""
    return warm.store_for(settings_of(**texts), Fingerprint())


def is_off(**texts: str) -> bool:
    """Whether the store by these settings is off, or does not exist, once it was to be opened."""
    store = store_of(**texts)
    if store is None:
        return True
    store.get_many([])
    settled()
    found = store.stats().is_passed_over
    store.close()
    return found


def stored_with(conf: Conf, **texts: str) -> int:
    """Store a version, with these keys in the configuration; the number that the store then has."""
    conf.texts = {name.replace("__", "."): text for name, text in texts.items()}
    store = store_of()
    assert store is not None
    found = len(store.get_many([key_of(number) for number in range(9)]))
    settled()
    found = len(store.get_many([key_of(number) for number in range(9)]))
    store.put(key_of(found), record_of(found))
    store.close()
    return found


def messages(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """The level and the text of each line."""
    return [(record.levelno, record.getMessage()) for record in caplog.records]


def test_a_store_is_below_airflow_home_and_has_the_limit_of_the_setting(conf: Conf, tmp_path: Path) -> None:
    conf.texts["core.fernet_key"] = "fernet"
    store = store_of()
    assert isinstance(store, DiskStore)
    assert (store.path, store._max_bytes) == (tmp_path / "dagcache-warm", 256 * 2**20)
    other = store_of(warm_start=" Disk ", warm_start_path=" /elsewhere ", warm_start_max_bytes="0")
    assert isinstance(other, DiskStore)
    assert (other.path, other._max_bytes) == (Path("/elsewhere"), 2**63 - 1)
    assert not (tmp_path / "dagcache-warm").exists()  # before its first use


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ({"warm_start": "dsik"}, "warm_start = 'dsik' is not understood; accepted: disk, database, or empty for none"),
        (
            {"warm_start_max_bytes": "10%"},
            "warm_start_max_bytes = '10%' is not understood;"
            " accepted: bytes as 256MiB, 1.5GB, 268435456, or 0 for no limit",
        ),
        ({"warm_start_max_bytes": "big"}, "warm_start_max_bytes = 'big' is not understood; accepted: "),
    ],
)
def test_a_wrong_setting_is_one_line_and_no_store(
    conf: Conf, texts: dict[str, str], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    conf.texts["core.fernet_key"] = "fernet"
    assert store_of(**texts) is None
    assert store_of(**texts) is None
    [(level, message)] = messages(caplog)
    assert level == logging.ERROR
    assert message.startswith(f"warm start is off: [dagcache] {line}")


def test_without_any_secret_there_is_one_warning_and_no_store(conf: Conf, caplog: pytest.LogCaptureFixture) -> None:
    assert is_off()
    assert messages(caplog) == [
        (
            logging.WARNING,
            "warm start is off: there is no [dagcache] warm_start_key, and no [core] fernet_key to derive one from",
        )
    ]


def test_off_is_none_without_a_question_to_airflow(conf: Conf, caplog: pytest.LogCaptureFixture) -> None:
    conf.texts["dagcache.warm_start_key"] = RuntimeError()
    assert store_of(warm_start="") is None
    assert messages(caplog) == []


def test_an_explicit_key_precedes_airflows_own(conf: Conf) -> None:
    assert stored_with(conf, dagcache__warm_start_key=KEY, core__fernet_key="one") == 0
    assert stored_with(conf, dagcache__warm_start_key=KEY, core__fernet_key="two") == 1
    assert stored_with(conf, dagcache__warm_start_key=f"{KEY}!", core__fernet_key="two") == 0
    assert stored_with(conf, core__fernet_key="two") == 0


def test_of_several_fernet_keys_the_first_one_counts(conf: Conf) -> None:
    assert stored_with(conf, core__fernet_key="new, old") == 0
    assert stored_with(conf, core__fernet_key="new") == 1
    assert stored_with(conf, core__fernet_key="old") == 0


def test_a_secret_of_airflows_that_is_set_stands_in_for_the_fernet_key(
    conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its default is not used: it may be another one in each process."""
    conf.texts["api_auth.jwt_secret"] = "a default"
    assert is_off()
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "secret")
    assert warm_key.secret_key() == b"airflow\0secret"


@pytest.mark.parametrize("name", ["WARM_START_KEY_CMD", "WARM_START_KEY_SECRET"])
def test_airflows_own_key_does_not_stand_in_for_one_that_cannot_be_had(
    conf: Conf, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is weaker: task workers may have it."""
    conf.texts["core.fernet_key"] = "fernet"
    monkeypatch.setenv(f"AIRFLOW__DAGCACHE__{name}", "cat /nowhere")
    assert is_off()
    [(_, message)] = messages(caplog)
    assert message == f"warm start is off: [dagcache] {name.lower()} is set, and Airflow got no key from it"


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("s3cr3t", "[dagcache] warm_start_key has fewer than 16 characters"),
        (RuntimeError("output: s3cr3t"), "Airflow cannot read [dagcache] warm_start_key (RuntimeError)"),
    ],
)
def test_no_line_shows_a_key(conf: Conf, key: str | Exception, line: str, caplog: pytest.LogCaptureFixture) -> None:
    conf.texts |= {"dagcache.warm_start_key": key, "core.fernet_key": "fernet"}
    assert is_off()
    assert messages(caplog) == [(logging.WARNING, f"warm start is off: {line}")]
    assert "s3cr3t" not in caplog.text


def test_a_fault_of_the_fingerprint_is_one_line_and_no_store(conf: Conf, caplog: pytest.LogCaptureFixture) -> None:
    conf.texts["core.fernet_key"] = "fernet"

    class Broken(Fingerprint):
        def digest(self) -> str:
            raise AttributeError("moved")

    assert warm.store_for(settings_of(), Broken()) is None
    assert messages(caplog) == [(logging.ERROR, "warm start is off, because it failed (AttributeError)")]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"warm_start": ""}, {"kind": ""}),
        ({"warm_start": "dsik"}, {"kind": "dsik", "error": "is not understood"}),
        ({}, {"kind": "disk", "missing": True}),
        ({"warm_start_path": "/dev/null"}, {"kind": "disk", "error": "Not a directory"}),
    ],
)
def test_the_facts_for_the_doctor(conf: Conf, texts: dict[str, str], expected: dict[str, Any]) -> None:
    conf.texts["core.fernet_key"] = "fernet"
    found = warm.diagnose(settings_of(**texts))
    assert expected["kind"] == found["kind"]
    assert expected.get("error", "") in found.get("error", "")
    assert expected.get("missing") == found.get("missing")


# ---- in a database ----


@pytest.mark.parametrize("key", ["", "too short"])
def test_a_database_needs_a_separate_key(conf: Conf, key: str, caplog: pytest.LogCaptureFixture) -> None:
    """Task workers, which may reach the database, often have Airflow's own."""
    conf.texts |= {
        "dagcache.warm_start_url": "postgresql+psycopg2://u:s3cr3t@127.0.0.1:1/none",
        "dagcache.warm_start_key": key,
        "core.fernet_key": "fernet",
    }
    assert is_off(warm_start="database")
    [(level, message)] = messages(caplog)
    assert level == logging.WARNING
    expected = "has fewer than 16 characters" if key else "needs [dagcache] warm_start_key, a key that task workers do"
    assert expected in message
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("sqlite:////tmp/warm.db", "warm_start = database is refused on SQLite, where another writer can fail the"),
        ("SQLite+pysqlite:///s3cr3t", "warm_start = database is refused on SQLite, where another writer can fail the"),
        ("s3cr3t", "[dagcache] warm_start_url: the database URL is not understood; accepted: "),
        ("postgresql+asyncpg://u:s3cr3t@host/db", "[dagcache] warm_start_url: postgresql+asyncpg is an asynchronous"),
        ("postgresql+psycopg2://u:s3cr3t@x@host/db", "[dagcache] warm_start_url: the database URL has more than one @"),
    ],
)
def test_a_url_that_cannot_be_used_is_one_line_without_the_password(
    conf: Conf, url: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    conf.texts |= {"dagcache.warm_start_url": url, "dagcache.warm_start_key": KEY}
    assert is_off(warm_start="database")
    [(level, message)] = messages(caplog)
    assert level == logging.ERROR
    assert message.startswith(f"warm start is off: {line}")
    assert "s3cr3t" not in caplog.text
    fact = warm.diagnose(settings_of(warm_start="database"))
    assert fact["error"].startswith(line)
    assert "s3cr3t" not in str(fact)


def test_a_database_that_refuses_connections_shows_no_password(conf: Conf, caplog: pytest.LogCaptureFixture) -> None:
    url = "postgresql+psycopg2://user:s3cr3t@127.0.0.1:1/none"
    conf.texts |= {"dagcache.warm_start_url": url, "dagcache.warm_start_key": KEY}
    assert is_off(warm_start="database")
    [(level, message)] = messages(caplog)
    assert level == logging.WARNING
    assert message.startswith("warm start passes over postgresql+psycopg2://user:***@127.0.0.1:1/none for 30 s: open")
    fact = warm.diagnose(settings_of(warm_start="database"))
    assert fact["database"] == "postgresql+psycopg2://user:***@127.0.0.1:1/none"
    assert "refused" in fact["error"]
    assert "s3cr3t" not in f"{fact} {caplog.text}"


@pytest.mark.parametrize("name", ["WARM_START_URL_CMD", "WARM_START_URL_SECRET"])
def test_the_metadata_database_does_not_stand_in_for_a_url_that_cannot_be_had(
    conf: Conf, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    conf.texts["dagcache.warm_start_key"] = KEY
    monkeypatch.setenv(f"AIRFLOW__DAGCACHE__{name}", "cat /nowhere")
    assert is_off(warm_start="database")
    [(_, message)] = messages(caplog)
    assert message == f"warm start is off: [dagcache] {name.lower()} is set, and Airflow got no URL from it"


OFF = """
import sys, threading
from pathlib import Path
from dagcache.airflow.component import Component
from dagcache.airflow.settings import read_settings
from dagcache.airflow.warm import store_for
settings = read_settings({"metrics_port": "0", "airflow_metrics": "0"}.get, "scheduler")
assert store_for(settings, None) is None
loaded = ("dagcache.warm_start", "dagcache.database", "sqlalchemy")
assert not [name for name in sys.modules if name.startswith(loaded)]
assert len(threading.enumerate()) == 1
assert not list(Path(sys.argv[1]).iterdir())
"""


def test_switched_off_it_costs_no_import_no_thread_and_no_file(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", OFF, str(tmp_path)], check=True, env={"AIRFLOW_HOME": str(tmp_path)})
