"""The endpoint of a process in which a fault keeps the cache off, so that an alert reports the fault.

Without it such a process is one line in a log: Airflow's own cache serves, and other schedulers still report theirs.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from dagcache.airflow import own_process
from dagcache.airflow.provider_info import OPTIONS, SECTION
from dagcache.forks import after_fork_in_child
from dagcache.log_limits import report
from dagcache.metrics.endpoint import FaultEndpoint
from dagcache.metrics.file_sd import default_directory
from dagcache.metrics.ports import parse_ports

_exported: dict[tuple[int, str], FaultEndpoint] = {}
"""By process and component: they live as long as the process."""


def export(component: str, reason: str) -> None:
    """Serve the fault on a metrics endpoint, once in each process that is the component. Never raises.

    Gunicorn's master builds a bag and then forks the workers: there each worker exports the fault.
    """
    try:
        if not own_process.serves(component):
            return
        if own_process.is_master():
            _export_in_workers(component, reason)
        else:
            _export(component, reason)
    except Exception as error:
        report("fault endpoint", "could not export that dagcache is off in the %s", component, error=error)


def _export_in_workers(component: str, reason: str) -> None:
    master = os.getpid()

    def step() -> None:
        if os.getppid() == master:
            _export(component, reason)

    after_fork_in_child(step)


def _export(component: str, reason: str) -> None:
    place = os.getpid(), component
    if place not in _exported:
        host, ports, targets = _place()
        _exported[place] = FaultEndpoint(component, reason, host=host, ports=ports, targets=targets)


def close() -> None:
    """Close the endpoints of this process."""
    for place in [place for place in _exported if place[0] == os.getpid()]:
        _exported.pop(place).close()


def withdraw() -> None:
    """Remove the announcements of this process."""
    for (pid, _), endpoint in list(_exported.items()):
        if pid == os.getpid():
            endpoint.withdraw()


def _place() -> tuple[str, tuple[int, ...], Path]:
    """Host, ports and directory by the settings; the default in place of an invalid one, which may be the fault."""
    defaults = {option.name: option.default for option in OPTIONS}
    ports = parse_ports(defaults["metrics_port"])
    with suppress(ValueError):
        ports = parse_ports(_text("metrics_port", defaults))
    chosen = _text("metrics_targets", defaults)
    targets = Path(chosen) if chosen else default_directory(own_process.home())
    return _text("metrics_host", defaults), ports, targets


def _text(name: str, defaults: dict[str, str]) -> str:
    from airflow.configuration import conf

    with suppress(Exception):
        text = conf.get(SECTION, name, fallback=None)
        if text is not None:
            return str(text).strip()
    return defaults[name]
