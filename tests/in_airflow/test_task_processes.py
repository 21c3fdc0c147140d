"""A process that runs tasks imports the entry points of dagcache and no other module of it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.in_airflow.support import run_python, variables

_DAG = """
import json
import os
import sys
from pathlib import Path

from airflow.sdk import dag, task


@dag(dag_id="listing", schedule=None)
def listing():
    @task
    def modules():
        Path(os.environ["LISTING"]).write_text(json.dumps(sorted(sys.modules)))

    modules()


listing()
"""
_SUPERVISOR = """
import uuid
from airflow.sdk.api import client
from airflow.sdk.api.datamodels._generated import BundleInfo, DagRun, TaskInstance
from airflow.sdk.execution_time import supervisor

httpx = getattr(client, "httpx2", None) or client.httpx  # the client takes no answer of another package
NOW = "2026-01-01T00:00:00Z"
MOMENTS = ("logical_date", "data_interval_start", "data_interval_end", "start_date", "run_after")
FACTS = {"dag_id": "listing", "run_id": "run", "run_type": "manual", "state": "running", "end_date": None, "conf": {},
         "clear_number": 0, "partition_key": None, "consumed_asset_events": [], **dict.fromkeys(MOMENTS, NOW)}
RUN = {name: FACTS[name] for name in DagRun.model_fields if name in FACTS}  # versions refuse what only others have


def answer(request):
    started = request.url.path.endswith("/run")
    return httpx.Response(200, json={"dag_run": RUN, "max_tries": 0, "should_retry": False} if started else {})


ids = {"id": uuid.uuid4(), "dag_version_id": uuid.uuid4()}
ti = TaskInstance(task_id="modules", dag_id="listing", run_id="run", try_number=1, **ids)
api = client.Client(base_url=None, dry_run=True, token="", transport=httpx.MockTransport(answer))
supervise = getattr(supervisor, "supervise_task", None) or supervisor.supervise
bundle = BundleInfo(name="dags-folder")
print("exit code:", supervise(ti=ti, bundle_info=bundle, dag_rel_path="listing.py", token="", client=api))
"""
_ENTRY_POINTS = {
    "dagcache",
    "dagcache.airflow",
    "dagcache.airflow.bootstrap",  # `airflow.policy`
    "dagcache.airflow.provider_info",  # `apache_airflow_provider`, in Airflow 3.3
}


def test_a_task_process_imports_only_the_entry_points(tmp_path: Path) -> None:
    """The child of the Task SDK's supervisor, which parses the DAG and runs the task; no API server is needed."""
    dags, listing = tmp_path / "dags", tmp_path / "listing.json"
    dags.mkdir()
    (dags / "listing.py").write_text(_DAG)
    env = variables(tmp_path / "home", f"sqlite:///{tmp_path}/airflow.db")
    env |= {"AIRFLOW__CORE__DAGS_FOLDER": str(dags), "LISTING": str(listing)}
    output = run_python(_SUPERVISOR, env)
    assert listing.exists(), output
    imported = set(json.loads(listing.read_text()))
    assert "airflow.sdk.execution_time.task_runner" in imported
    ours = {name for name in imported if name.partition(".")[0] in {"dagcache", "metrics", "sizing"}}
    assert {"dagcache.airflow.bootstrap"} <= ours <= _ENTRY_POINTS
