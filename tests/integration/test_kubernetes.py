"""The files on the pages on Kubernetes and Compose, and a PodMonitor's relabelling in a real Prometheus."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from dagcache.airflow.provider_info import OPTIONS
from dagcache.airflow.settings import Settings, read_settings
from dagcache.metrics.endpoint import FaultEndpoint, MetricsEndpoint
from dagcache.metrics.ports import parse_ports
from tests.integration.test_promtool import Prometheus, needs_prometheus
from tests.support.caches import MIB, make_cache
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tools.monitoring.alerts import RULES, text

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

PREFIX = "AIRFLOW__DAGCACHE__"
WITHOUT_THE_CACHE = 400 * MIB
"""More than a scheduler or a worker of the API server needs beside its cache."""


def blocks(page: str, language: str = "yaml") -> list[str]:
    """The blocks of a language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)


def parsed(page: str) -> list[Any]:
    """The files on a page."""
    return [yaml.safe_load(block) for block in blocks(page)]


def composer() -> list[str]:
    """The command of Compose: Docker's plugin, or the separate program; empty if there is none."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and not subprocess.run([*command, "version"], capture_output=True).returncode:
            return command
    return []


def names(values: dict[str, Any], *above: str) -> set[str]:
    """The names of all values that are not mappings, with dots."""
    found: set[str] = set()
    for key, value in values.items():
        found |= names(value, *above, key) if isinstance(value, dict) else {".".join((*above, key))}
    return found


COMPOSER = composer()
RENDERED = {
    "env",
    "images.airflow.repository",
    "images.airflow.tag",
    "networkPolicies.enabled",
    "securityContexts.pod.runAsNonRoot",
    "scheduler.logGroomerSidecar.securityContexts.container",
    "scheduler.replicas",
    "apiServer.args",
    "apiServer.hpa.enabled",
    "apiServer.hpa.maxReplicaCount",
    "apiServer.hpa.minReplicaCount",
    "apiServer.networkPolicy.ingress.from",
    *(
        f"{component}.{name}"
        for component in ("scheduler", "apiServer")
        for name in (
            "extraVolumeMounts",
            "extraVolumes",
            "resources.limits.memory",
            "resources.requests.cpu",
            "resources.requests.memory",
            "securityContexts.container",
            "waitForMigrations.securityContexts.container",
        )
    ),
}
"""The values with which `test_chart.py` has rendered the chart. Run it with the chart before you add one."""
VALUES, LOCKED, POD_MONITOR, POLICY, PEERS = parsed("kubernetes.md")
COMPOSE, CONFIGURATION = parsed("compose.md")
ENDPOINTS: list[dict[str, Any]] = POD_MONITOR["spec"]["podMetricsEndpoints"]


def settings_in(environment: dict[str, str]) -> Settings:
    """The settings of dagcache in an environment; all others have their defaults."""
    texts = {name.removeprefix(PREFIX).lower(): text for name, text in environment.items() if name.startswith(PREFIX)}
    assert texts
    assert texts.keys() <= {option.name for option in OPTIONS}
    return read_settings(texts.get, "scheduler")


def test_the_values_set_existing_settings_and_a_port_for_each_endpoint() -> None:
    settings = settings_in({each["name"]: each["value"] for each in VALUES["env"]})
    assert settings.cache.max_bytes.is_relative
    named = [relabelling["replacement"] for each in ENDPOINTS for relabelling in each["relabelings"][2:]]
    used = {int(re.findall(r":(\d+)$", replacement)[0]) for replacement in named}
    workers = int(re.findall(r"--workers (\d+)", " ".join(VALUES["apiServer"]["args"]))[0])
    assert used == set(settings.metrics_ports[:workers])
    (opened,) = POLICY["spec"]["ingress"][0]["ports"]
    assert settings.metrics_ports == parse_ports(f"{opened['port']}-{opened['endPort']}")


def test_the_page_has_only_values_with_which_the_chart_was_rendered() -> None:
    """The chart ignores a value that it does not know, and is not installed everywhere."""
    found = {re.sub(r"(container)\..*", r"\1", name) for each in (VALUES, LOCKED, PEERS) for name in names(each)}
    assert found == RENDERED


def test_the_budgets_on_the_page_are_those_of_the_values() -> None:
    """Half a gibibyte in the scheduler; in each worker of the API server its share of a larger container."""
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    share = settings_in({each["name"]: each["value"] for each in VALUES["env"]}).cache.max_bytes
    assert "`25%` of 2 GiB are 512 MiB in the scheduler, and 25 % of 3 GiB\nare 384 MiB in each of two workers" in page
    for component, workers, budget in (("scheduler", 1, 512 * MIB), ("apiServer", 2, 384 * MIB)):
        resources = VALUES[component]["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        limit = int(resources["limits"]["memory"].removesuffix("Gi")) * 1024 * MIB
        assert share.resolve(limit, workers) == budget
        assert (WITHOUT_THE_CACHE + budget) * workers / 0.75 <= limit


def test_what_the_cache_writes_is_below_a_mounted_folder() -> None:
    """Both containers have a read-only root, and the files of targets and the socket are in a volume."""
    settings = settings_in({each["name"]: each["value"] for each in VALUES["env"]})
    for component in ("scheduler", "apiServer"):
        values = LOCKED[component]
        assert values["securityContexts"]["container"]["readOnlyRootFilesystem"]
        (mount,) = values["extraVolumeMounts"]
        assert Path(settings.metrics_targets).is_relative_to(mount["mountPath"])
        assert Path(mount["mountPath"]) == Path("/tmp")  # of the socket, without XDG_RUNTIME_DIR
        assert [volume["name"] for volume in values["extraVolumes"]] == [mount["name"]]


def test_the_policy_admits_prometheus_to_the_pods_that_are_scraped() -> None:
    (selected,) = POLICY["spec"]["podSelector"]["matchExpressions"]
    scraped = {name for each in ENDPOINTS for name in each["relabelings"][0]["regex"].split("|")}
    assert set(selected["values"]) == scraped
    assert PEERS["networkPolicies"]["enabled"]
    assert PEERS["apiServer"]["networkPolicy"]["ingress"]["from"]


AS_ANY_USER = """
import os, sys
from pathlib import Path
from dagcache.airflow.configuration_file import airflow_home
from dagcache.inspection.server import AttributionServer
from dagcache.metrics.endpoint import MetricsEndpoint
from dagcache.metrics.scrape import scrape
from tests.support.caches import make_cache

def started(targets):
    cache = make_cache(name="scheduler")[0]
    endpoint = MetricsEndpoint(cache, None, host="127.0.0.1", ports=(0,), targets=Path(targets))
    socket = AttributionServer(cache)
    socket.start()
    scrape(f"http://127.0.0.1:{endpoint.port}/metrics").value("dagcache_max_bytes")
    return socket.path

started(sys.argv[1])  # all imports are done before this user may no longer read them
os.setgroups([])
os.setgid(0)
os.setuid(54321)
home = airflow_home()  # its folder is known to no user database
print(started(sys.argv[2]))
started(sys.argv[3])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root takes another user id")
def test_any_user_id_and_a_folder_that_cannot_be_written_are_one_warning() -> None:
    """A user id without an entry in the user database, without a home, and with one folder to write in."""
    with tempfile.TemporaryDirectory() as volume, tempfile.TemporaryDirectory() as closed:
        os.chmod(volume, 0o1777)
        command = [sys.executable, "-c", AS_ANY_USER, closed, f"{volume}/targets", closed]
        environment = {"PATH": os.environ["PATH"], "TMPDIR": volume, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        socket_path = Path(done.stdout.strip())
        assert socket_path.parent == Path(volume) / "dagcache-54321"
        assert socket_path.parent.stat().st_mode & 0o777 == 0o700
    assert re.findall("could not announce this process to Prometheus in .*", done.stderr) == [
        f"could not announce this process to Prometheus in {closed}: Permission denied"
    ]


def test_compose_shares_the_directory_of_targets_with_prometheus() -> None:
    services = COMPOSE["services"]
    for name in ("scheduler", "api-server"):
        directory = settings_in(services[name]["environment"]).metrics_targets
        assert f"targets:{directory}" in services[name]["volumes"]
        assert services[name]["mem_limit"]
    (scraped,) = CONFIGURATION["scrape_configs"]
    folder = scraped["file_sd_configs"][0]["files"][0].removesuffix("/*.json")
    assert f"targets:{folder}:ro" in services["prometheus"]["volumes"]
    assert set(COMPOSE["volumes"]) == {"targets"}


@pytest.mark.skipif(not COMPOSER, reason="neither docker compose nor docker-compose is installed")
def test_docker_compose_accepts_the_file(tmp_path: Path) -> None:
    """Without a daemon: it reads the file, checks it against its schema and prints the result."""
    (tmp_path / "compose.yaml").write_text(blocks("compose.md")[0])
    command = [*COMPOSER, "--file", "compose.yaml", "config"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert set(services) == {"scheduler", "api-server", "prometheus"}
    assert services["scheduler"]["environment"] == COMPOSE["x-airflow"]["environment"]


def test_the_printed_rule_of_the_operator_has_all_alerts() -> None:
    """The commands of the page, as a shell runs them."""
    (commands,) = blocks("kubernetes.md", "bash")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", commands], capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert done.returncode == 0, done.stderr
    rule = yaml.safe_load(done.stdout)
    assert rule["kind"] == "PrometheusRule"
    assert [each["alert"] for each in rule["spec"]["groups"][0]["rules"]] == [each.name for each in RULES]


def relabelled(endpoint: dict[str, Any], port: int) -> list[dict[str, Any]]:
    """The configuration that the operator makes of an endpoint: its own steps first, then those of the PodMonitor."""
    own: list[dict[str, Any]] = [
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": ["__meta_kubernetes_pod_container_name"], "target_label": "container"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
        {"target_label": "job", "replacement": "airflow/dagcache"},
    ]
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    given = [{names.get(key, key): value for key, value in step.items()} for step in endpoint["relabelings"]]
    for step in given:
        if "replacement" in step:
            step["replacement"] = re.sub(r":\d+$", f":{port}", step["replacement"])
    return own + given


def pod(name: str, container: str, ip: str, phase: str = "Running") -> dict[str, Any]:
    """A pod as Kubernetes' service discovery presents it: without a port, since its container declares none."""
    facts = {"namespace": "airflow", "pod_name": name, "pod_container_name": container, "pod_ip": ip}
    facts["pod_phase"] = phase
    return {"targets": [ip], "labels": {f"__meta_kubernetes_{key}": value for key, value in facts.items()}}


@needs_prometheus
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one address of loopback only")
def test_a_pod_with_a_bad_setting_and_a_dead_pod_raise_alerts_with_their_names(tmp_path: Path) -> None:
    """In a real Prometheus with the relabelling of the PodMonitor, while another scheduler is well."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    pods = [
        pod("scheduler-0", "scheduler", "127.0.0.1"),
        pod("scheduler-1", "scheduler", "127.0.0.2"),
        pod("scheduler-2", "scheduler", "127.0.0.3"),
        pod("scheduler-0", "log-groomer", "127.0.0.1"),
        pod("migration", "scheduler", "127.0.0.4", phase="Succeeded"),
    ]
    rules = tmp_path / "rules.yaml"
    rules.write_text(re.sub(r"for: \d+m", "for: 0s", text()))
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {
                "job_name": "podMonitor/airflow/dagcache/0",
                "static_configs": pods,
                "relabel_configs": relabelled(ENDPOINTS[0], port),
            }
        ],
    }
    well = MetricsEndpoint(make_cache(name="scheduler")[0], None, host="127.0.0.1", ports=[port], targets=tmp_path)
    off = FaultEndpoint("scheduler", "setting", host="127.0.0.2", ports=[port], targets=tmp_path)
    prometheus = Prometheus(tmp_path, yaml.safe_dump(configuration))
    try:
        prometheus.wait_for("count(up == 1) == 2")
        (fault,) = prometheus.wait_for('ALERTS{alertname="DagcacheOffByFault"}')
        (dead,) = prometheus.wait_for('ALERTS{alertname="DagcacheEndpointDown"}')
        known = {each["metric"]["pod"]: each["metric"] for each in prometheus.query("up")}
        prometheus.wait_for('absent(ALERTS{alertname="DagcacheAbsent"})')
    finally:
        prometheus.end()
        well.close()
        off.close()
    assert set(known) == {"scheduler-0", "scheduler-1", "scheduler-2"}
    place = {"job": "airflow/dagcache", "namespace": "airflow", "container": "scheduler"}
    for found, name, address in ((fault, "scheduler-1", "127.0.0.2"), (dead, "scheduler-2", "127.0.0.3")):
        assert {**place, "pod": name, "instance": f"{address}:{port}"}.items() <= found["metric"].items()
    assert fault["metric"]["component"] == "scheduler"
