"""What the caches of running processes do, live: rates, budgets, memory, and a verdict for each.

Without --url, the processes that have announced themselves on this machine are shown.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dagcache.cli.shared.broken_pipe import discard_output
from dagcache.cli.shared.failure import CommandError, InputError
from dagcache.cli.shared.live_view import View, view
from dagcache.cli.top.history import Seen, Watch
from dagcache.cli.top.layout import picture
from dagcache.cli.top.polling import Endpoint, Endpoints, announced, targets_directory, with_path
from dagcache.inspection import client
from dagcache.inspection.protocol import MOST

HELP = "live view of running caches, and of the DAGs that fill them"
EXAMPLE = "dagcache top --url http://localhost:11780/metrics --dags"

_DAGS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--url", action="append", default=[], help="an endpoint to watch; may be given several times")
    parser.add_argument(
        "--targets", type=Path, help="where processes announce themselves (default: as this environment's Airflow)"
    )
    parser.add_argument("--once", action="store_true", help="show one picture and end")
    parser.add_argument("--json", action="store_true", help="one picture as a JSON object")
    parser.add_argument(
        "--interval", type=_seconds, default=2.0, metavar="S", help="seconds between two looks (default: 2)"
    )
    parser.add_argument(
        "--dags",
        type=_positive,
        nargs="?",
        const=_DAGS,
        default=0,
        metavar="N",
        help=f"also the N DAGs that fill the caches of this machine's processes (default: {_DAGS})",
    )


def main(options: argparse.Namespace) -> int:
    """Show until Ctrl-C, or once.

    Raises:
        InputError: a URL is none, or there is nothing to watch.
        CommandError: nobody ever answered.

    """
    top = Top(options)
    if options.json or options.once:
        top.once(as_json=options.json)
        return 0
    with closing(_view()) as shown, suppress(KeyboardInterrupt):
        try:
            top.run(shown)
        except BrokenPipeError:  # whoever read it has seen enough
            discard_output()
    top.check_somebody_answered()
    return 0


class Top:
    """The endpoints that were chosen, and what is known of them."""

    def __init__(self, options: argparse.Namespace, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        self._interval: float = options.interval
        self._dags: int = options.dags
        self._endpoints = Endpoints(_urls(options))
        self._watch = Watch()
        self._answered = False
        self._asked: list[Endpoint] = []

    def run(self, shown: View) -> None:
        """Look and draw, for ever."""
        while True:
            shown.draw(self._picture(shown))
            self._sleep(self._interval)

    def once(self, *, as_json: bool) -> None:
        """Look twice, for rates, and show what was seen.

        Raises:
            CommandError: nobody answered.

        """
        self._look()
        self._sleep(self._interval)
        if as_json:
            seen, dags = self._look(), self._ask_for_dags()
            self.check_somebody_answered()
            sys.stdout.write(f"{json.dumps(_as_json(seen, self._silent(seen), dags, bool(self._dags)))}\n")
        else:
            shown = View()
            drawn = self._picture(shown)
            self.check_somebody_answered()
            shown.draw(drawn)

    def check_somebody_answered(self) -> None:
        """Fail unless somebody did.

        Raises:
            CommandError: it names everybody who was asked, and why there was no answer.

        """
        if not self._answered:
            silent = "; ".join(f"{url}: {fault}" for url, fault in self._silent([]))
            raise CommandError(f"nobody answered: {silent or 'there is nobody to ask'}")

    def _picture(self, shown: View) -> Any:
        seen, dags = self._look(), self._ask_for_dags()
        notes = [f"{url}: {fault}" for url, fault in self._silent(seen)]
        if self._dags and not dags:
            notes.append("no process on this machine tells which DAGs fill its cache (see the setting attribution)")
        return picture(seen, dags, notes, columns=shown.columns, lines=shown.lines)

    def _look(self) -> list[Seen]:
        self._asked = self._endpoints.ask()
        seen = self._watch.update(self._asked)
        self._answered = self._answered or bool(seen)
        return seen

    def _silent(self, seen: Sequence[Seen]) -> list[tuple[str, str]]:
        """Endpoints at which no cache was ever seen, and why."""
        known = {each.url for each in seen}
        silent = [endpoint for endpoint in self._asked if endpoint.shown not in known]
        return [
            (each.shown, each.fault if each.scrape is None else "it answers, but there is no dagcache in it")
            for each in silent
        ]

    def _ask_for_dags(self) -> list[dict[str, Any]]:
        """What the processes of this machine tell; those that do not answer are left out."""
        answers = []
        for path in client.sockets() if self._dags else ():
            with suppress(OSError, ValueError):
                answers.append(client.ask(path, self._dags))
        self._answered = self._answered or bool(answers)
        return answers


def _urls(options: argparse.Namespace) -> Callable[[], Sequence[str]]:
    """What to watch: a fixed list, or whoever has announced himself by then.

    Raises:
        InputError: a URL is none, or nobody is there.

    """
    if options.url:
        try:
            urls = [with_path(url) for url in options.url]
        except ValueError as error:
            raise InputError(f"--url: {error}, such as http://localhost:11780/metrics") from None
        return lambda: urls
    directory = options.targets or targets_directory()
    if not announced(directory) and not (options.dags and client.sockets()):
        raise InputError(f"no process of this machine has announced itself in {directory}; name one with --url")
    return lambda: announced(directory)


def _view() -> View:
    try:
        return view()
    except ImportError:
        raise InputError("a live view needs rich: pip install 'dagcache[cli]', or use --once") from None


def _as_json(
    seen: Sequence[Seen], silent: Sequence[tuple[str, str]], dags: Sequence[dict[str, Any]], with_dags: bool
) -> dict[str, Any]:
    told: dict[str, Any] = {"components": [_component(each) for each in seen]}
    told["silent"] = [{"url": url, "why": fault} for url, fault in silent]
    return told | ({"dags": list(dags)} if with_dags else {})


def _component(seen: Seen) -> dict[str, Any]:
    window = seen.window
    loads, thaws = window.loads, window.thaws
    figures = {name: value for name, value in asdict(window.now).items() if name not in ("loads", "thaws")}
    return {
        "component": seen.component,
        "url": seen.url,
        "up": seen.is_up,
        "verdict": asdict(seen.verdict),
        "figures": figures,
        "window_seconds": round(window.seconds, 3) if window.is_open else None,
        "lookups_per_second": window.rate(lambda figures: figures.lookups),
        "loads_per_second": window.rate(lambda figures: figures.loads.count),
        "thaws_per_second": window.rate(lambda figures: figures.thaws.count),
        "load_seconds": {"p50": loads.quantile(0.5), "p99": loads.quantile(0.99)},
        "thaw_seconds": {"p50": thaws.quantile(0.5), "p99": thaws.quantile(0.99)},
    }


def _seconds(text: str) -> float:
    if not 0.1 <= (seconds := float(text)) <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 3600 seconds")
    return seconds


def _positive(text: str) -> int:
    if not 1 <= (number := int(text)) <= MOST:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and {MOST}")
    return number
