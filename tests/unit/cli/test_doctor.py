"""`dagcache doctor` without an Airflow: its conclusions, its queries to the network, and its time limits."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dagcache.airflow.provider_info import OPTIONS
from dagcache.cli.doctor import checks, endpoints
from dagcache.cli.doctor import command as doctor
from dagcache.cli.doctor.checks import Check
from dagcache.cli.doctor.endpoints import Port, Response
from dagcache.cli.main import main
from dagcache.cli.shared import installed
from dagcache.cli.shared.endpoint import Endpoint, announced, parse_endpoint
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.metrics.endpoint import MetricsEndpoint
from dagcache.metrics.scrape import parse
from tests.stress.test_threads import until
from tests.support.caches import make_cache
from tests.support.patience import PATIENCE

SECRET = "s3cr3t"

AIRFLOW = {"fact": "airflow", "version": "3.3.2", "home": "/opt/airflow"}
SETTINGS = {
    "fact": "settings",
    "settings": [
        {"name": "mode", "value": "enforce", "source": "default", "error": ""},
        {"name": "max_bytes", "value": "1GiB", "source": "environment", "error": ""},
    ],
    "unknown": [],
}
BOOTSTRAP = {"fact": "bootstrap", "loaded": True}
SETTLED = {
    "enabled": True,
    "mode": "enforce",
    "max_bytes": "1GiB",
    "budget": 2**30,
    "workers": 1,
    "memory_limit": 2**32,
    "memory_source": "cgroup2",
    "memory_file": "/sys/fs/cgroup/memory.max",
    "metrics_host": "127.0.0.1",
    "metrics_ports": [],
    "targets": "/nowhere",
}
SCHEDULER = {
    "fact": "component",
    "component": "scheduler",
    "module": "airflow.jobs.scheduler_job_runner",
    "name": "CachedDBDagBag",
    "class": "dagcache.airflow.bag.DagCacheCachedDBDagBag",
    "hooked": True,
    "replaced": "airflow.models.dagbag.CachedDBDagBag",
    "unknown": "",
    **SETTLED,
}
DATABASE = {"fact": "database", "dialect": "postgresql", "host": "db", "port": 5432, "database": "airflow"}
API_SERVER = {**SCHEDULER, "component": "api_server", "module": "airflow.api_fastapi.common.dagbag"}
ALL = [AIRFLOW, SETTINGS, BOOTSTRAP, SCHEDULER, API_SERVER, DATABASE]


def concluded(*facts: Any, ending: str = "") -> dict[str, Check]:
    """The checks by name."""
    return {check.name: check for check in checks.of_airflow(facts, ending)}


def without(fact: dict[str, Any], *names: str, **changed: Any) -> dict[str, Any]:
    """The fact without some of its content, and with some that is changed."""
    return {name: value for name, value in fact.items() if name not in names} | changed


# ---- conclusions ----


def test_when_all_is_well_each_check_is() -> None:
    found = concluded(*ALL)
    assert {check.status for check in found.values()} == {"ok"}
    hooks = ["hook, scheduler", "hook, api_server"]
    assert list(found) == ["airflow", "settings", *hooks, "memory, scheduler, api_server", "database"]
    assert "in place of airflow.models.dagbag.CachedDBDagBag" in found["hook, scheduler"].message
    assert "max_bytes = 1GiB (environment)" in found["settings"].details
    assert (
        "1073741824 bytes (1.0 GiB); cgroup2 allows 4.0 GiB (/sys/fs/cgroup/memory.max)"
        in found["memory, scheduler, api_server"].message
    )


def test_bounds_of_airflows_own_bag_are_named_where_the_cache_is_in() -> None:
    """They have no effect there."""
    name = "bounds of Airflow's own bag"
    set_ = [without(SCHEDULER, without_effect=["[scheduler] dag_cache_size"])]
    found = concluded(*set_)[name]
    assert found.status == "warning"
    assert "without effect: [scheduler] dag_cache_size;" in found.message
    assert name not in concluded(*ALL)
    assert name not in concluded(without(set_[0], hooked=False, enabled=False, without_effect=["[api] x"]))


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("2.11.0", "failed"),
        ("3.0.6", "failed"),
        ("3.1.8", "ok"),
        ("3.3.2", "ok"),
        ("3.4.0b2", "ok"),
        ("3.4.0", "ok"),
        ("3.5.0", "warning"),
        ("4.0", "warning"),
    ],
)
def test_each_airflow_is_known_or_not(version: str, status: str) -> None:
    """Older ones lack what is needed, newer ones are not tested."""
    assert concluded(without(AIRFLOW, version=version))["airflow"].status == status


@pytest.mark.parametrize(
    ("fact", "status", "said"),
    [
        (without(SCHEDULER, *SETTLED, hooked=False, refused="max_bytes = '10XB' is not"), "failed", "'10XB'"),
        (without(SCHEDULER, hooked=False, enabled=False), "warning", "mode = off"),
        (without(SCHEDULER, hooked=False, unknown="no class CachedDBDagBag"), "failed", "no class CachedDBDagBag"),
        (without(SCHEDULER, **{"hooked": False, "class": "other.Bag"}), "failed", "other.Bag is in place"),
        ({"fact": "component", "component": "scheduler", "error": "ImportError: gone"}, "failed", "ImportError: gone"),
    ],
)
def test_a_hook_that_is_not_in_says_why(fact: dict[str, Any], status: str, said: str) -> None:
    found = concluded(AIRFLOW, SETTINGS, BOOTSTRAP, fact, DATABASE)["hook, scheduler"]
    assert found.status == status
    assert said in found.message
    assert found.remedy


def test_an_entry_point_that_airflow_did_not_load_is_why() -> None:
    silent = {"fact": "component", "component": "scheduler", "module": "airflow.jobs", **SETTLED}
    found = concluded(AIRFLOW, without(BOOTSTRAP, loaded=False), silent)
    assert found["hook, scheduler"].status == "failed"
    assert "has not loaded the entry point" in found["hook, scheduler"].message


def test_what_a_command_line_may_change_is_said() -> None:
    """The number of workers that divides a percentage is the API server's to know."""
    found = concluded({**SCHEDULER, "component": "api_server", "workers": 2})
    assert "in each of 2 workers" in found["memory, api_server"].message
    assert "--workers" in found["memory, api_server"].details[0]
    assert not concluded(SCHEDULER)["memory, scheduler"].details


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        ({"budget": 0, "max_bytes": "0"}, "warning", "unbounded"),
        ({"budget": 2**32}, "warning", "4.0 GiB"),
        ({"budget": 2**30, "workers": 4}, "warning", "in each of 4 workers"),
        ({"budget": 512, "max_bytes": "512"}, "warning", "max_bytes = 512 is 512 bytes"),
        ({"memory_source": "machine"}, "ok", "the machine has 4.0 GiB"),
        ({"memory_source": "memory_limit", "memory_file": ""}, "ok", "memory_limit is 4.0 GiB"),
    ],
)
def test_a_budget_is_held_against_the_memory(changed: dict[str, Any], status: str, said: str) -> None:
    """That of all workers together."""
    found = concluded(*ALL[:3], {**SCHEDULER, **changed})["memory, scheduler"]
    assert found.status == status
    assert said in found.message


def test_components_with_one_budget_share_a_line() -> None:
    """And those with different ones do not."""
    api = {**SCHEDULER, "component": "api_server"}
    assert "memory, scheduler, api_server" in concluded(SCHEDULER, api)
    assert "memory, api_server" in concluded(SCHEDULER, {**api, "workers": 2})


def test_a_setting_that_there_is_not_is_a_warning() -> None:
    """A typing error would go unnoticed otherwise."""
    found = concluded(AIRFLOW, without(SETTINGS, unknown=["max_byte"]))["settings"]
    assert (found.status, found.message) == ("warning", "[dagcache] has no max_byte")
    assert "max_bytes" in found.remedy


def test_a_setting_that_airflow_cannot_read_is_a_failure() -> None:
    """It is named."""
    row = {"name": "max_bytes", "value": "25%", "source": "airflow.cfg", "error": "% is written %%"}
    found = concluded(AIRFLOW, without(SETTINGS, settings=[row]))["settings"]
    assert (found.status, found.message) == ("failed", "[dagcache] max_bytes: % is written %%")


WARM = {"fact": "warm_start", "kind": "disk", "path": "/opt/airflow/dagcache-warm", "has_separate_key": True}
IN_DATABASE = {
    "fact": "warm_start",
    "kind": "database",
    "database": "postgresql://db/airflow",
    "has_separate_key": True,
}
GENERATIONS = [
    {"records": 700, "bytes": 2**20, "is_in_use": True, "parts": {"airflow": "3.3.2", "python": "3.11"}},
    {"records": 600, "bytes": 2**19, "is_in_use": False, "parts": {"airflow": "3.3.1", "python": "3.11"}},
]


@pytest.mark.parametrize(
    ("fact", "status", "message"),
    [
        ({"fact": "warm_start", "kind": ""}, "ok", "off: warm_start is empty"),
        (
            WARM | {"generations": GENERATIONS},
            "ok",
            "disk in /opt/airflow/dagcache-warm: 700 records, 1.0 MiB, in use;"
            " the generation before it differs in airflow; a separate key",
        ),
        (WARM | {"generations": []}, "ok", "disk in /opt/airflow/dagcache-warm: no records; a separate key"),
        (
            WARM | {"missing": True, "has_separate_key": False},
            "ok",
            "disk: no process has stored a version in /opt/airflow/dagcache-warm yet;"
            " a key derived from Airflow's own, which task workers often have: set warm_start_key",
        ),
        (
            IN_DATABASE | {"generations": GENERATIONS[:1]},
            "ok",
            "database in postgresql://db/airflow: 700 records, 1.0 MiB, in use; a separate key",
        ),
        (IN_DATABASE | {"error": "refused"}, "warning", "off in postgresql://db/airflow: refused"),
        (WARM | {"error": "there is no key"}, "warning", "off in /opt/airflow/dagcache-warm: there is no key"),
        ({"fact": "warm_start", "error": "no answer"}, "warning", "off: no answer"),
    ],
)
def test_the_warm_store_is_on_with_its_content_or_off_with_the_reason(
    fact: dict[str, Any], status: str, message: str
) -> None:
    found = concluded(AIRFLOW, SETTINGS, BOOTSTRAP, SCHEDULER, fact)["warm start"]
    assert (found.status, found.message) == (status, message)


def test_the_generations_of_a_warm_store_are_details_if_there_are_several() -> None:
    """The line has a single one."""
    several = concluded(AIRFLOW, SETTINGS, BOOTSTRAP, SCHEDULER, WARM | {"generations": GENERATIONS})["warm start"]
    assert several.details == ("700 records, 1.0 MiB, in use", "600 records, 512.0 KiB, not in use")
    one = concluded(AIRFLOW, SETTINGS, BOOTSTRAP, SCHEDULER, WARM | {"generations": GENERATIONS[:1]})["warm start"]
    assert one.details == ()


def test_a_database_that_does_not_answer_is_a_failure() -> None:
    found = concluded(AIRFLOW, {**DATABASE, "error": "OperationalError: refused"})["database"]
    assert (found.status, found.message) == ("failed", "postgresql airflow on db: OperationalError: refused")


def test_an_airflow_that_cannot_be_imported_is_one_failure_per_check() -> None:
    facts = [{"fact": name, "error": "ImportError: no"} for name in ("airflow", "settings", "components", "database")]
    found = concluded(*facts)
    assert {name: check.status for name, check in found.items()} == {
        "airflow": "failed",
        "settings": "unknown",
        "hook, all": "failed",
        "database": "failed",
    }


def test_what_was_not_said_in_time_is_unknown() -> None:
    found = concluded(AIRFLOW, SETTINGS, ending="no answer within 5 s")
    assert (found["airflow"].status, found["settings"].status) == ("ok", "ok")
    for name in ("hook, scheduler", "hook, api_server", "database"):
        assert found[name].status == "unknown"
        assert "no answer within 5 s" in found[name].message
    assert concluded(ending="it died")["airflow"].status == "failed"


def test_one_component_that_was_not_looked_at_is_unknown_beside_one_that_was() -> None:
    """The time may end between the two."""
    found = concluded(AIRFLOW, SETTINGS, BOOTSTRAP, SCHEDULER, ending="no answer within 5 s")
    assert (found["hook, scheduler"].status, found["hook, api_server"].status) == ("ok", "unknown")


def test_the_components_are_those_of_the_hook() -> None:
    """The checks cannot import the hook's module, which installs it."""
    source = Path(checks.__file__).parents[2] / "airflow" / "bootstrap.py"
    (sites,) = re.findall(r"SITES = \{(.*?)\}", source.read_text(), re.DOTALL)
    assert tuple(re.findall(r': "(\w+)"', sites)) == checks.COMPONENTS


def test_settings_are_compared_by_value() -> None:
    """`airflow db migrate` writes all defaults into a new airflow.cfg."""
    rows = [{"name": option.name, "value": option.default, "source": "airflow.cfg", "error": ""} for option in OPTIONS]
    found = concluded(AIRFLOW, {"fact": "settings", "settings": rows, "unknown": []})["settings"]
    assert found.message == f"[dagcache] 0 of {len(OPTIONS)} settings are not at their defaults"
    changed = [{**row, "value": "1GiB"} if row["name"] == "max_bytes" else row for row in rows]
    found = concluded(AIRFLOW, {"fact": "settings", "settings": changed, "unknown": []})["settings"]
    assert found.message.endswith("1 of 16 settings are not at their defaults: max_bytes".replace("16", str(len(rows))))


@pytest.mark.parametrize(
    ("python", "packages", "status"),
    [
        ((3, 12, 1), {"dagcache": "0.1", "sqlalchemy": "2.0"}, "ok"),
        ((3, 9, 1), {"dagcache": "0.1"}, "warning"),
        ((3, 15, 0), {"dagcache": "0.1"}, "warning"),
        ((3, 12, 1), {"dagcache": None}, "failed"),
    ],
)
def test_versions_are_told_and_judged(python: tuple[int, ...], packages: dict[str, str | None], status: str) -> None:
    assert checks.versions(python, packages).status == status


def test_a_free_threaded_build_is_reported_as_unsupported() -> None:
    """Not as failed: the cache as a library works there."""
    check = checks.versions((3, 14, 0), {"dagcache": "0.1"}, free_threaded=True)
    assert check.status == "warning"
    assert "a free-threaded build is not supported in Airflow" in check.message


def test_an_entry_point_must_lead_to_the_hook() -> None:
    """One that is missing, or leads elsewhere, is a failure."""
    assert checks.entry_point(["dagcache.airflow.bootstrap"]).status == "ok"
    assert "dagcache has none" in checks.entry_point([]).message
    assert "elsewhere" in checks.entry_point(["elsewhere"]).message
    assert checks.entry_point(["elsewhere"]).status == "failed"


def test_ports_are_enough_or_not() -> None:
    """One free port is enough. Without one, the result depends on the processes that use the ports."""
    taken, ours = Port(1, "Address already in use", holder="nginx, pid 7"), Port(2, "Address already in use", ours=True)
    assert checks.ports("h", [], []).status == "ok"
    assert checks.ports("h", [1, 2, 3], [taken, ours, Port(3)]).status == "ok"
    assert "the next process gets 3; 2 are taken" in checks.ports("h", [1, 2, 3], [taken, ours, Port(3)]).message
    assert checks.ports("h", [1, 2], [taken, ours]).status == "warning"
    alone = checks.ports("h", [1], [taken])
    assert (alone.status, alone.message) == ("failed", "h, 1: none is free (1: taken, nginx, pid 7)")
    assert "not permitted" in checks.ports("h", [1], [Port(1, "not permitted")]).message


def test_endpoints_answer_or_not() -> None:
    """Silence is a warning, because a killed process leaves its announcement."""
    there, gone, other = Endpoint("http://a/metrics"), Endpoint("http://b/metrics"), Endpoint("http://c/metrics")
    good = (there, Response(("scheduler",)))
    assert checks.endpoints([good], "").status == "ok"
    found = checks.endpoints([good, (gone, Response(error="refused")), (other, Response())], "")
    assert (found.status, found.message[:38]) == ("warning", "2 of 3 do not answer with metrics of a")
    assert found.details == (
        "http://a/metrics: scheduler",
        "http://b/metrics: refused",
        "http://c/metrics: no metrics of dagcache",
    )
    assert checks.endpoints([], "/targets").status == "skipped"


def test_processes_whose_values_have_no_frozen_form_are_told_of() -> None:
    """A plugin's class is to blame, or damaged memory; a process of an older version counts nothing."""
    one, other = Endpoint("http://a/metrics"), Endpoint("http://b/metrics")
    good = (one, Response(("scheduler",)))
    assert checks.frozen_copies([good]).status == "ok"
    found = checks.frozen_copies([good, (other, Response(("api_server",), unfrozen=3, thaw_failures=1))])
    assert (found.status, found.message[:39]) == ("warning", "3 loads had no frozen form, and 1 thaws")
    assert found.details[1] == "http://b/metrics: 3 without a frozen form, 1 thaws failed"
    assert checks.frozen_copies([(one, Response(error="refused"))]).status == "unknown"


# ---- the network ----


@pytest.fixture
def exposition(tmp_path: Path) -> Iterator[MetricsEndpoint]:
    """A cache's endpoint, announced in a directory."""
    made = MetricsEndpoint(make_cache(name="scheduler")[0], None, host="127.0.0.1", ports=[0], targets=tmp_path)
    yield made
    made.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Another process that listens, and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as made:
        yield made


def test_announced_endpoints_are_found_and_asked(exposition: MetricsEndpoint, tmp_path: Path) -> None:
    """Files that are none are left out."""
    (tmp_path / "garbage.json").write_text("[{")
    (tmp_path / "strange.json").write_text('[{"targets": 7}, 8]')
    (tmp_path / "deep.json").write_text("[" * 50_000)
    [found] = announced(tmp_path)
    assert found == Endpoint(f"http://127.0.0.1:{exposition.port}/metrics", "scheduler")
    assert endpoints.query_all([found]) == [Response(("scheduler",))]
    assert announced(tmp_path / "missing") == []


def test_an_endpoint_tells_what_it_could_not_freeze(tmp_path: Path) -> None:
    """As its statistics count it."""
    cache, _ = make_cache(name="scheduler", freezer=PickleFreezer(), sizer=lambda _: 1)
    cache["a lock"] = threading.Lock()
    made = MetricsEndpoint(cache, None, host="127.0.0.1", ports=[0], targets=tmp_path)
    try:
        assert endpoints.query(f"http://127.0.0.1:{made.port}/metrics") == Response(("scheduler",), unfrozen=1)
    finally:
        made.close()


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1"])
def test_an_endpoint_with_impossible_figures_is_named_with_the_reason(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not an endpoint that answers late."""
    text = f'dagcache_info{{component="scheduler"}} 1\ndagcache_unfrozen_total{{component="scheduler"}} {value}\n'
    monkeypatch.setattr(endpoints, "scrape", lambda _url, timeout: parse(text))
    (response,) = endpoints.query_all([Endpoint("http://localhost:1/metrics")])
    assert response.components == ()
    assert response.error == f"dagcache_unfrozen_total is {float(value):g}"


def test_an_endpoint_that_is_gone_is_told(listener: socket.socket) -> None:
    """With the reason."""
    port = listener.getsockname()[1]
    listener.close()
    [answer] = endpoints.query_all([Endpoint(f"http://127.0.0.1:{port}/metrics")])
    assert "refused" in answer.error


def test_an_endpoint_that_never_answers_is_given_up(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor never hangs."""
    monkeypatch.setattr(endpoints, "_SECONDS", 0.2)
    [answer] = endpoints.query_all([Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}/metrics")])
    assert answer.error


def test_ports_are_free_or_taken_by_whom(
    exposition: MetricsEndpoint, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "_SECONDS", 0.5)
    port, other = exposition.port, listener.getsockname()[1]
    assert port is not None
    with closing(socket.create_server(("127.0.0.1", 0))) as soon_free:
        free = soon_free.getsockname()[1]
    ours, theirs, nobodys = endpoints.check_ports("127.0.0.1", [port, other, free])
    assert (ours.ours, theirs.ours, nobodys.ours) == (True, False, False)
    assert (bool(ours.error), bool(theirs.error), bool(nobodys.error)) == (True, True, False)
    assert f"pid {os.getpid()}" in theirs.holder


def test_a_holder_that_cannot_be_known_is_left_out(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psutil there is none."""
    monkeypatch.setattr(endpoints, "_SECONDS", 0.2)
    monkeypatch.setitem(sys.modules, "psutil", None)
    [port] = endpoints.check_ports("127.0.0.1", [listener.getsockname()[1]])
    assert (port.holder, bool(port.error)) == ("", True)


@pytest.mark.parametrize("host", ["203.0.113.7", "256.1.1.1", "x" * 300])
def test_an_address_that_is_not_this_machines_is_told(host: str) -> None:
    """By the reason that the system gives."""
    [port] = endpoints.check_ports(host, [11780])
    assert port.error


def test_an_address_that_is_not_found_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server may hang."""
    for_ever = threading.Event()
    monkeypatch.setattr(endpoints, "_SECONDS", 0.1)
    monkeypatch.setattr(endpoints, "_failure", lambda *_: for_ever.wait())
    [port] = endpoints.check_ports("slow", [11780])
    for_ever.set()
    assert "'slow' cannot be found in time" in port.error


def test_a_url_is_shown_without_its_secrets() -> None:
    """They are used for the request alone."""
    endpoint = parse_endpoint(f"https://user:{SECRET}@host/m?password={SECRET}#{SECRET}")
    found = checks.endpoints([(endpoint, Response(error="refused"))], "")
    assert found.details == ("https://host/m?...: refused",)
    assert SECRET not in found.message


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@host/db",
        f"http://user:{SECRET}",
        f"http://u:{SECRET}@h:{SECRET}/",
        f"http://[{SECRET}",
        "",
    ],
)
def test_an_url_of_no_endpoint_is_refused_without_showing_it(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line."""
    assert main(["doctor", "--url", url]) == 2
    output = capsys.readouterr()
    assert output.err == (
        "dagcache: --url: not an http:// or https:// URL with a host and, after a colon, a port,"
        " such as http://localhost:11780/metrics\n"
    )
    assert SECRET not in output.out


# ---- the process that is asked ----


@pytest.fixture
def diagnosis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that is asked instead of the one that imports Airflow."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "_DIAGNOSIS", "stand_in")
    return tmp_path / "stand_in.py"


def test_all_that_is_told_is_heard(diagnosis: Path) -> None:
    diagnosis.write_text(
        "import sys\nprint('{\"fact\": 1}')\nsys.stderr.write('noise')\nprint('{\"fact\": 2}')\nprint(3)"
    )
    assert doctor._facts(PATIENCE) == ([{"fact": 1}, {"fact": 2}], "")


def test_patience_ends(diagnosis: Path) -> None:
    """The facts until then count. Neither the process nor its children remain."""
    diagnosis.write_text(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('{\"fact\": %d}' % child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    facts, ending = doctor._facts(4.0)
    assert ending == "no answer within 4 s"
    [pid] = [int(fact["fact"]) for fact in facts]
    until(lambda: is_gone(pid))


def is_gone(pid: int) -> bool:
    """Whether a process has ended, even if its exit code was not collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


def test_a_process_that_dies_is_told_by_its_exit_code(diagnosis: Path) -> None:
    """Not by its output, which may contain a password."""
    diagnosis.write_text("import sys, os\nsys.stderr.write('s3cr3t')\nos._exit(3)")
    facts, ending = doctor._facts(PATIENCE)
    assert facts == []
    assert ending == "the process that imports it ended with exit code 3"


def test_words_that_are_no_facts_end_the_hearing(diagnosis: Path) -> None:
    """Something else has taken stdout."""
    diagnosis.write_text("print('{\"fact\": 1}')\nprint('garbage')\nprint('{\"fact\": 2}')")
    assert doctor._facts(PATIENCE)[0] == [{"fact": 1}]


# ---- the command ----


@pytest.fixture
def in_airflow(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The facts that Airflow reports here."""
    facts = list(ALL)
    monkeypatch.setattr(doctor, "has_airflow", lambda: True)
    monkeypatch.setattr(doctor, "_version", lambda _package: "1.0")
    monkeypatch.setattr(doctor, "_hooks", lambda: ["dagcache.airflow.bootstrap"])
    monkeypatch.setattr(doctor, "_facts", lambda _timeout: (facts, ""))
    return facts


@pytest.mark.usefixtures("in_airflow")
def test_each_check_is_a_line_with_what_it_is_about_below(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 0: where no process runs, there is nothing to check."""
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ok       airflow: Airflow 3.3.2, home /opt/airflow" in lines
    assert "           max_bytes = 1GiB (environment)" in lines
    assert "ok       port: metrics_port = 0: there are no endpoints" in lines
    assert lines[-2].startswith("skipped  endpoints: none is announced in /nowhere")
    assert lines[-1] == "skipped  frozen copies: no process answers"


@pytest.mark.parametrize(
    ("options", "terminal", "code"),
    [([], False, 1), ([], True, 0), (["--strict"], True, 1), (["--no-strict"], False, 0)],
)
def test_a_check_that_was_not_made_is_not_ok(
    options: list[str],
    terminal: bool,
    code: int,
    in_airflow: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Outside of a terminal, as in CI, the exit code has that, too."""
    del in_airflow[2:]  # the time was over
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert main(["doctor", *options]) == code
    printed = capsys.readouterr().out
    for name in ("hook, scheduler", "hook, api_server", "database", "port"):
        assert f"unknown  {name}: " in printed
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    main(["doctor", "--json", *options])
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_one_failure_is_exit_code_1_and_comes_with_a_remedy(
    in_airflow: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """For CI."""
    in_airflow[-1] = {**DATABASE, "error": "OperationalError: refused"}
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("failed   database: postgresql airflow on db: OperationalError: refused")
    assert lines[place + 1].startswith("         -> check [database] sql_alchemy_conn")


@pytest.mark.usefixtures("in_airflow")
def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["ok"] is True
    assert {"name", "status", "message", "remedy", "details"} == set(content["checks"][0])


def test_announced_and_given_endpoints_and_ports_are_looked_at(
    in_airflow: list[Any], exposition: MetricsEndpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The port is taken by the endpoint itself: a warning, for the next process would have none."""
    port = exposition.port
    in_airflow[3] = {**SCHEDULER, "metrics_ports": [port], "targets": str(tmp_path)}
    assert main(["doctor", "--json", "--url", f"http://127.0.0.1:{port}"]) == 0
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert found["endpoints"]["message"] == "2 answer"
    assert found["port"]["status"] == "warning"
    assert "an endpoint of a cache" in found["port"]["message"]


@pytest.mark.parametrize("rich", [True, False])
@pytest.mark.usefixtures("in_airflow")
def test_on_a_terminal_something_moves(
    rich: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If rich is there."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["doctor"]) == 0
    assert "ok       airflow" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "601"])
def test_patience_is_a_number_of_seconds(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A bounded one."""
    with pytest.raises(SystemExit) as refused:
        main(["doctor", f"--timeout={text}"])
    assert refused.value.code == 2
    assert "expected a number of seconds above 0, at most 600" in capsys.readouterr().err


def test_a_folder_of_that_name_is_no_airflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a module that was blocked."""
    (tmp_path / "airflow").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "airflow", raising=False)
    assert not installed.has_airflow()
    monkeypatch.setitem(sys.modules, "airflow", None)
    assert not installed.has_airflow()


def test_the_entry_point_of_this_installation_is_found() -> None:
    """By the metadata of the installer."""
    assert doctor._hooks() == ["dagcache.airflow.bootstrap"]
    assert doctor._version("sqlalchemy")
    assert doctor._version("a package that does not exist") is None


def test_without_airflow_the_defaults_are_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An environment without Airflow needs no hook; only its user knows whether this is one."""
    monkeypatch.setattr(doctor, "has_airflow", lambda: False)
    assert main(["doctor", "--no-strict"]) == 0
    printed = capsys.readouterr().out
    assert "unknown  airflow: Airflow is not installed" in printed
    assert main(["doctor"]) == 1
    capsys.readouterr()
    assert "memory, default" in printed


_WITHOUT_AIRFLOW = """
import runpy, sys
for name in ("airflow", "sqlalchemy", "psutil", "rich"):
    sys.modules[name] = None
runpy.run_module("dagcache.cli", run_name="__main__", alter_sys=True)
"""


def test_without_airflow_it_says_so_and_goes_on(exposition: MetricsEndpoint) -> None:
    """As a process of its own, in an environment without any extra."""
    url = f"http://user:{SECRET}@127.0.0.1:{exposition.port}/metrics?token={SECRET}"
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_AIRFLOW, "doctor", "--json", "--url", url],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert "Airflow is not installed" in found["airflow"]["message"]
    assert found["memory, default"]["status"] == "ok"
    assert found["endpoints"]["message"] == "1 answer"
    assert SECRET not in done.stdout
