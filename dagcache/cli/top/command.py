"""Live view of the caches of running processes: rates, budgets, memory, and a verdict on each.

Without --url, it shows the processes that have announced themselves on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dagcache.cli.shared.arguments import number, whole_number
from dagcache.cli.shared.broken_pipe import discard_output
from dagcache.cli.shared.endpoint import Endpoint, announced, chosen, processes
from dagcache.cli.shared.failure import CommandError, InputError
from dagcache.cli.shared.live_view import View
from dagcache.cli.top import dag_reports
from dagcache.cli.top.dag_reports import DagReports
from dagcache.cli.top.full_screen import FullScreen, ended_in_order, suspended_in_order
from dagcache.cli.top.history import Component, History
from dagcache.cli.top.layout import layout
from dagcache.cli.top.polling import Endpoints, PolledEndpoint, targets_directory
from dagcache.inspection import client
from dagcache.inspection.protocol import MOST
from dagcache.inspection.usage import ORDERS

HELP = "live view of running caches, and of the DAGs that fill them"
EXAMPLE = "dagcache top --url http://localhost:11780/metrics --dags"

_DAGS = 10
_AS_MANY_AS_FIT = 0
_LOOKS = 2
"""A view that is not on a screen ends if no endpoint has answered so often, as `--once` does."""
_NO_SCREEN = ("dumb", "unknown")
"""Terminals without a cursor that can be moved."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--url", action="append", default=[], help="an endpoint to show; may be repeated")
    parser.add_argument(
        "--targets",
        type=Path,
        help="the directory of announcements (default: by the settings of Airflow here)",
    )
    parser.add_argument("--once", action="store_true", help="print once, then exit")
    parser.add_argument("--json", action="store_true", help="print once, as a JSON object")
    parser.add_argument(
        "--interval",
        type=number("seconds", least=0.1, most=3600),
        default=2.0,
        metavar="S",
        help="seconds between two requests (default: 2)",
    )
    parser.add_argument(
        "--dags",
        type=whole_number(1, MOST),
        nargs="?",
        const=_AS_MANY_AS_FIT,
        metavar="N",
        help=f"also the N first DAGs in the chosen caches of this machine (default: those that fit, else {_DAGS})",
    )
    parser.add_argument(
        "--sort",
        choices=ORDERS,
        default=ORDERS[0],
        help="the figure by which DAGs are sorted, the largest first (default: bytes); costs are since the start",
    )


def main(options: argparse.Namespace) -> int:
    """Show until `q` or Ctrl-C, or once.

    Raises:
        InputError: a URL is not valid, or there are no endpoints.
        CommandError: no endpoint has answered.
        SystemExit: SIGTERM or SIGHUP has ended the view.

    """
    top = Top(options)
    if options.json or options.once:
        top.once(as_json=options.json)
        return 0
    with ended_in_order(), closing(_view()) as shown, suspended_in_order(shown), suppress(KeyboardInterrupt):
        try:
            top.run(shown)
        except BrokenPipeError:  # the reader has closed the pipe
            discard_output()
    top.check_answers()
    return 0


class Top:
    """The view of the chosen endpoints."""

    def __init__(self, options: argparse.Namespace, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        self._interval: float = options.interval
        self._dags: int | None = options.dags
        """The number of DAGs; `_AS_MANY_AS_FIT`; or None: no DAGs."""
        self._sort: str = options.sort
        self._endpoints = Endpoints(_listed(options))
        self._wanted, self._place = _chosen_processes(options)
        self._history = History()
        self._answered = False
        self._asked: list[PolledEndpoint] = []

    def run(self, shown: View) -> None:
        """Ask and draw, until the user ends the view, or without a screen, if no endpoint answers at first."""
        looks = 0
        while shown.is_in_place or self._answered or looks < _LOOKS:
            shown.draw(self._layout(shown))
            looks += 1
            if shown.wait(self._interval, self._sleep):
                return

    def once(self, *, as_json: bool) -> None:
        """Ask twice, for rates, and print the result.

        Raises:
            CommandError: no endpoint answered.

        """
        self._look()
        self._sleep(self._interval)
        if as_json:
            seen, dags = self._look(), self._ask_for_dags(None)
            self.check_answers()
            sys.stdout.write(f"{json.dumps(_as_json(seen, self._silent(seen), dags))}\n")
        else:
            shown = View()
            drawn = self._layout(shown)
            self.check_answers()
            shown.draw(drawn)

    def check_answers(self) -> None:
        """Fail if no endpoint has ever answered.

        Raises:
            CommandError: the message names each endpoint and the reason.

        """
        if not self._answered:
            silent = "; ".join(f"{url}: {fault}" for url, fault in self._silent([]))
            raise CommandError(f"no endpoint answered: {silent or 'there are none'}")

    def _layout(self, shown: View) -> Any:
        seen, dags = self._look(), self._ask_for_dags(shown.lines)
        notes = [f"{url}: {fault}" for url, fault in self._silent(seen)]
        if dags is not None:
            notes += [f"{process}: {fault}" for process, fault in dags.faults.items()]
            if not dags.reports:
                notes.append(f"no process {self._place} reports the DAGs in its cache (see the setting attribution)")
        reports = dags.reports if dags is not None else ()
        return layout(seen, reports, notes, columns=shown.columns, lines=shown.lines)

    def _look(self) -> list[Component]:
        self._asked = self._endpoints.ask()
        seen = self._history.update(self._asked)
        self._answered = self._answered or bool(seen)
        return seen

    def _silent(self, seen: Sequence[Component]) -> list[tuple[str, str]]:
        """The endpoints that never had a cache, and the reasons."""
        known = {each.url for each in seen}
        silent = [endpoint for endpoint in self._asked if endpoint.shown not in known]
        return [
            (each.shown, each.fault if each.snapshots is None else "the endpoint has no metrics of dagcache")
            for each in silent
        ]

    def _ask_for_dags(self, lines: int | None) -> DagReports | None:
        """The reports of the chosen processes on this machine; None without --dags. ``lines``: those of the view."""
        if self._dags is None:
            return None
        found = dag_reports.ask(self._dags or min(lines or _DAGS, MOST), self._sort, self._wanted())
        self._answered = self._answered or bool(found.reports)
        return found


def _listed(options: argparse.Namespace) -> Callable[[], Sequence[Endpoint]]:
    """A function that lists the endpoints: those of --url, or those announced at the time of the call.

    Raises:
        InputError: a URL is not valid, or there are no announcements.

    """
    if options.url:
        given = chosen(options.url)
        return lambda: given
    directory = options.targets or targets_directory()
    if not announced(directory, here=True) and (options.dags is None or not client.sockets()):
        raise InputError(f"no process of this machine has announced itself in {directory}; name an endpoint with --url")
    return lambda: announced(directory, here=True)


def _chosen_processes(options: argparse.Namespace) -> tuple[Callable[[], set[int] | None], str]:
    """A function for the ids of the processes whose DAGs are shown (None: all of this machine), and their place.

    A URL leads to a process of this machine by the announcements in the targets directory.
    """
    if options.url:
        ports = {(_machine_of(each), urlsplit(each.url).port) for each in chosen(options.url)}

        def of_urls() -> set[int]:
            known = processes(options.targets or targets_directory())
            places = {pid: {(_machine_of(each), urlsplit(each.url).port) for each in of} for pid, of in known.items()}
            return {pid for pid, of in places.items() if of & ports}

        return of_urls, "at the given URLs that is announced on this machine"
    if options.targets:
        return lambda: set(processes(options.targets)), f"that is announced in {options.targets}"
    return lambda: None, "on this machine"


def _machine_of(endpoint: Endpoint) -> str:
    """The host of an endpoint; empty for all names and addresses that mean this machine."""
    host = urlsplit(endpoint.url).hostname or ""
    is_here = host in ("localhost", "::1", "::", "0.0.0.0", socket.gethostname().lower()) or host.startswith("127.")
    return "" if is_here else host


def _view() -> View:
    if not sys.stdout.isatty() or os.environ.get("TERM", "").lower() in _NO_SCREEN:
        return View()
    try:
        return FullScreen()
    except ImportError:
        raise InputError("a live view needs rich: pip install rich, or use --once") from None


def _as_json(
    seen: Sequence[Component], silent: Sequence[tuple[str, str]], dags: DagReports | None = None
) -> dict[str, Any]:
    result: dict[str, Any] = {"components": [_component(each) for each in seen]}
    result["silent"] = [{"url": url, "why": fault} for url, fault in silent]
    if dags is not None:
        result["dags"] = dags.reports
        result["dags_silent"] = [{"process": process, "why": fault} for process, fault in dags.faults.items()]
    return result


def _component(component: Component) -> dict[str, Any]:
    delta = component.delta
    loads, thaws = delta.loads, delta.thaws
    figures = {name: value for name, value in asdict(delta.now).items() if name not in ("loads", "thaws")}
    return {
        "component": component.name,
        "url": component.url,
        "up": component.is_up,
        "verdict": asdict(component.verdict),
        "figures": figures,
        "window_seconds": round(delta.seconds, 3) if delta.is_open else None,
        "lookups_per_second": delta.rate(lambda each: each.lookups),
        "loads_per_second": delta.rate(lambda each: each.loads.count),
        "thaws_per_second": delta.rate(lambda each: each.thaws.count),
        "load_seconds": {"p50": loads.quantile(0.5), "p99": loads.quantile(0.99)},
        "thaw_seconds": {"p50": thaws.quantile(0.5), "p99": thaws.quantile(0.99)},
    }
