"""The official Helm chart of Airflow, rendered with the values on the page on Kubernetes.

Needs ``helm``, and the chart, a folder or an archive, in the environment variable ``AIRFLOW_CHART``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.integration.test_kubernetes import ENDPOINTS, LOCKED, PEERS, POD_MONITOR, POLICY, PREFIX, VALUES, yaml
from tests.support.patience import PATIENCE

CHART = os.environ.get("AIRFLOW_CHART", "")
SCRAPED = ("scheduler", "api-server")
"""The components, which are also the names of their main containers."""

pytestmark = [
    pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed"),
    pytest.mark.skipif(not CHART, reason="AIRFLOW_CHART does not name the chart"),
]
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """All objects of a release."""
    folder = tmp_path_factory.mktemp("chart")
    command = ["helm", "template", "airflow", CHART, "--namespace", "airflow"]
    for number, values in enumerate((VALUES, LOCKED, PEERS)):
        (folder / f"{number}.yaml").write_text(yaml.safe_dump(values))
        command += ["--values", str(folder / f"{number}.yaml")]
    home = {**os.environ, "HELM_CACHE_HOME": str(folder), "HELM_CONFIG_HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=home)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def workloads(manifests: list[Manifest]) -> list[Manifest]:
    """The objects that make pods."""
    return [each for each in manifests if each["kind"] in ("Deployment", "StatefulSet", "Job")]


def main_container(manifests: list[Manifest], component: str) -> tuple[Manifest, Manifest]:
    """The pod of a component, and its container of the same name."""
    for each in workloads(manifests):
        pod: Manifest = each["spec"]["template"]
        if pod["metadata"]["labels"].get("component") == component:
            (container,) = (one for one in pod["spec"]["containers"] if one["name"] == component)
            return pod, container
    raise AssertionError(f"no pod of the {component}")


def containers(manifests: list[Manifest]) -> set[str]:
    """The names of all containers in pods that the PodMonitor selects."""
    wanted = POD_MONITOR["spec"]["selector"]["matchLabels"].items()
    pods = [each["spec"]["template"] for each in workloads(manifests)]
    selected = [pod for pod in pods if wanted <= pod["metadata"]["labels"].items()]
    return {each["name"] for pod in selected for each in pod["spec"]["containers"]}


def test_the_pod_monitor_keeps_the_containers_with_a_cache_and_no_others(manifests: list[Manifest]) -> None:
    found = containers(manifests)
    first, second = (
        {name for name in found if re.fullmatch(each["relabelings"][0]["regex"], name)} for each in ENDPOINTS
    )
    assert (first, second) == ({"scheduler", "api-server"}, {"api-server"})
    assert found > first


@pytest.mark.parametrize("component", SCRAPED)
def test_a_container_has_the_image_the_settings_and_the_memory_of_the_page(
    component: str, manifests: list[Manifest]
) -> None:
    _, container = main_container(manifests, component)
    image = VALUES["images"]["airflow"]
    assert container["image"] == f"{image['repository']}:{image['tag']}"
    environment = {each["name"]: each.get("value") for each in container["env"]}
    ours = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    assert ours == {each["name"]: each["value"] for each in VALUES["env"]}
    values = VALUES["scheduler" if component == "scheduler" else "apiServer"]
    assert container["resources"] == values["resources"]
    assert values.get("args", container["args"]) == container["args"]
    opened = POLICY["spec"]["ingress"][0]["ports"][0]
    declared = {port["containerPort"] for port in container.get("ports", [])}
    assert not declared & set(range(opened["port"], opened["endPort"] + 1))


@pytest.mark.parametrize("component", SCRAPED)
def test_a_locked_pod_has_a_folder_to_write_in_and_any_user_id(component: str, manifests: list[Manifest]) -> None:
    pod, container = main_container(manifests, component)
    assert pod["spec"]["securityContext"] == {"runAsNonRoot": True}
    for each in pod["spec"]["initContainers"] + pod["spec"]["containers"]:
        assert each["securityContext"]["readOnlyRootFilesystem"], each["name"]
    (volume,) = (each for each in pod["spec"]["volumes"] if each["name"] == "tmp")
    assert volume == {"name": "tmp", "emptyDir": {}}
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_the_api_server_is_scaled_by_cpu(manifests: list[Manifest]) -> None:
    (scaler,) = (each for each in manifests if each["kind"] == "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "airflow-api-server"
    assert [each["resource"]["name"] for each in scaler["spec"]["metrics"]] == ["cpu"]
    _, container = main_container(manifests, "api-server")
    assert container["resources"]["requests"]["cpu"]  # a share of nothing cannot be computed


@pytest.mark.parametrize("component", SCRAPED)
def test_the_policies_admit_prometheus_and_leave_the_ports_of_airflow_open(
    component: str, manifests: list[Manifest]
) -> None:
    """Policies add up: the page's admits Prometheus, and the chart's admits the others if they are named."""
    pod, container = main_container(manifests, component)
    labels = pod["metadata"]["labels"]
    (chosen,) = POLICY["spec"]["podSelector"]["matchExpressions"]
    assert labels[chosen["key"]] in chosen["values"]
    policies = [each["spec"] for each in manifests if each["kind"] == "NetworkPolicy"]
    ours = [each for each in policies if each["podSelector"]["matchLabels"].items() <= labels.items()]
    open_ports = {port["port"] for each in ours for rule in each.get("ingress", []) for port in rule["ports"]}
    assert open_ports == {port["containerPort"] for port in container.get("ports", [])}
