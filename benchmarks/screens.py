"""The pictures in the documents: the dashboard's panels and `dagcache top`, over a real scheduler.

    python -m benchmarks.screens [--seconds 240] [--home DIR] [--out docs/img]

`dagcache run --api` starts a scheduler and an API server, and a real Prometheus scrapes both. After two thirds of the
time they are started again. The dashboard's queries go to Prometheus' API, and matplotlib draws the answers; Grafana
draws the same figures differently. Another, short run with too small a budget gives the other picture of `top`. Needs
prometheus on the PATH, and `dagcache[cli,png]`.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagcache.cli.shared.endpoint import Endpoint
from dagcache.cli.shared.live_view import rendered
from dagcache.cli.top.history import History
from dagcache.cli.top.layout import layout
from dagcache.cli.top.polling import Endpoints
from dagcache.demo.playground import free_ports
from dagcache.inspection import client
from tools.monitoring.dashboard import ROWS, STARTS, Panel, concrete

_VERSIONS = 200
_SCRAPE_SECONDS = 2
_RATE = "20s"
_COLUMNS = 4
_GAP_SECONDS = 5 * _SCRAPE_SECONDS
_LOOKS = 8
_MOST_NAMES = 8
_COLOURS = 96
_DAGS = 8
_UNITS = {
    "bytes": (1 << 20, "MiB"),
    "Bps": (1 << 20, "MiB/s"),
    "percentunit": (0.01, "%"),
    "s": (1, "s"),
    "ops": (1, "per s"),
    "short": (1, ""),
}

Series = tuple[str, list[float], list[float]]
"""The name, minutes, values."""


@contextmanager
def scheduler(home: Path, max_bytes: str, seconds: float) -> Iterator[str]:
    """A real one, by `dagcache run`, with an API server; its endpoint."""
    command = [sys.executable, "-m", "dagcache.cli", "run", "--api", "--home", str(home), "--max-bytes", max_bytes]
    options = [f"--versions={_VERSIONS}", f"--seconds={int(seconds) + 60}"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = (re.search(r"metrics to scrape: (\S+)", line) for line in process.stdout)
            found = next((match for match in told if match), None)
            if found is None:
                raise RuntimeError(f"dagcache run ended with {process.wait()}")
            yield found[1]
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()


@contextmanager
def prometheus(folder: Path, targets: Path) -> Iterator[str]:
    """A server that scrapes the announced endpoints; its address."""
    (port,) = free_ports(1)
    announced = {"files": [f"{targets}/*.json"], "refresh_interval": f"{_SCRAPE_SECONDS}s"}
    job = {"job_name": "dagcache", "honor_labels": True, "file_sd_configs": [announced]}
    settings = {"global": {"scrape_interval": f"{_SCRAPE_SECONDS}s"}, "scrape_configs": [job]}
    (folder / "prometheus.yml").write_text(json.dumps(settings))
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def queried(address: str, panel: Panel, start: float, end: float) -> list[Series]:
    """The content of a panel, over a period. A process that was started again has one line, with a gap."""
    lines: dict[str, dict[float, float]] = {}
    for query in panel.queries:
        for labels, points in _answer(address, query.expression, start, end):
            lines.setdefault(_legend(query.legend, labels), {}).update(points)
    return [(name, *_with_gaps(points, start)) for name, points in lines.items()]


def started(address: str, start: float, end: float) -> list[float]:
    """The starts of processes within a period, in minutes."""
    found = {value / 1000 for _, points in _answer(address, STARTS, start, end) for value in points.values()}
    return sorted((at - start) / 60 for at in found if start < at < end)


def _answer(
    address: str, expression: str, start: float, end: float
) -> Iterator[tuple[dict[str, str], dict[float, float]]]:
    """The labels of each series, and its values by time."""
    asked = {"query": concrete(expression, _RATE), "start": start, "end": end, "step": _SCRAPE_SECONDS}
    url = f"{address}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
    with urllib.request.urlopen(url, timeout=30) as response:
        for series in json.load(response)["data"]["result"]:
            yield series["metric"], {float(at): float(value) for at, value in series["values"]}


def _with_gaps(points: dict[float, float], start: float) -> tuple[list[float], list[float]]:
    """Minutes and values, with an undefined value where there are none for long."""
    minutes: list[float] = []
    values: list[float] = []
    before = None
    for at, value in sorted(points.items()):
        if before is not None and at - before > _GAP_SECONDS:
            minutes.append((before + at - 2 * start) / 120)
            values.append(math.nan)
        minutes.append((at - start) / 60)
        values.append(value)
        before = at
    return minutes, values


def _legend(template: str, labels: dict[str, str]) -> str:
    """As Grafana fills it; the one process of each component needs no name."""
    filled = re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), template)
    return " ".join(filled.replace(labels.get("instance", "-"), "").split())


def draw(address: str, start: float, end: float, path: Path) -> None:
    """The panels of the dashboard that have more than zeros, on one sheet, with a mark at each start.

    Raises:
        RuntimeError: there are none.

    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    filled = [
        (row.question, [(panel, _shown(panel, queried(address, panel, start, end))) for panel in row.panels])
        for row in ROWS
    ]
    kept = [(question, [each for each in panels if each[1]]) for question, panels in filled]
    lines = [
        ("" if first else question, panels[first : first + _COLUMNS])
        for question, panels in kept
        for first in range(0, len(panels), _COLUMNS)
    ]
    if not lines:
        raise RuntimeError(f"{address} has nothing to show")
    marks = started(address, start, end)
    figure, grid = plt.subplots(len(lines), _COLUMNS, figsize=(17, 2.5 * len(lines)), squeeze=False)
    for (question, panels), places in zip(lines, grid, strict=True):
        for (panel, series), axes in zip(panels, places, strict=False):
            _draw_panel(axes, panel, series)
            for minute in marks:
                axes.axvline(minute, color="tab:blue", linestyle=":", linewidth=1)
        for axes in places[len(panels) :]:
            axes.axis("off")
        if question:
            places[0].annotate(question, (0, 1.22), xycoords="axes fraction", fontsize=13, fontweight="bold")
    figure.supxlabel("minutes since the scheduler's first answer", fontsize=9)
    figure.tight_layout(h_pad=1.6)
    figure.savefig(path, dpi=68)
    plt.close(figure)
    _with_few_colours(path)


def _shown(panel: Panel, series: Sequence[Series]) -> list[Series]:
    """The series with any value but 0; none of a table."""
    return [each for each in series if panel.kind != "table" and any(value > 0 or value < 0 for value in each[2])]


def _with_few_colours(path: Path) -> None:
    """A third of the bytes, without a difference that one sees."""
    from PIL import Image

    with Image.open(path) as picture:
        picture.convert("RGB").quantize(_COLOURS).save(path, optimize=True)


def _draw_panel(axes: Any, panel: Panel, shown: Sequence[Series]) -> None:
    scale, unit = _UNITS[panel.unit]
    axes.set_title(f"{panel.title}{f' [{unit}]' if unit else ''}", fontsize=9, loc="left")
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    if panel.stacked:
        places = sorted({minute for each in shown for minute in each[1]})
        by_time = [dict(zip(minutes, values, strict=True)) for _, minutes, values in shown]
        values = [[each.get(minute, 0.0) / scale for minute in places] for each in by_time]
        axes.stackplot(places, values, labels=[each[0] for each in shown], alpha=0.7)
    else:
        for name, minutes, values_ in shown:
            axes.plot(minutes, [value / scale for value in values_], label=name, linewidth=1.3)
    if panel.most is not None:
        axes.set_ylim(0, panel.most / scale * 1.05)
    elif panel.unit != "percentunit":
        axes.set_ylim(bottom=0)
    if len(shown) <= _MOST_NAMES:
        axes.legend(fontsize=5.5, loc="best", framealpha=0.6)


def screenshot(endpoint: str, path: Path, home: Path | None = None) -> str:
    """`dagcache top` on a terminal of 80 columns by 24 lines; its text. With a home, also the DAGs of its scheduler."""
    from rich.console import Console

    endpoints, history = Endpoints(lambda: [Endpoint(endpoint)]), History()
    for _ in range(_LOOKS):
        seen = history.update(endpoints.ask())
        time.sleep(1)
    announced = [] if home is None else [path.stem for path in (home / "dagcache" / "targets").glob("scheduler-*.json")]
    processes = {name.rpartition("-")[2] for name in announced}
    sockets = [each for each in client.sockets() if each.stem.rpartition("-")[2] in processes]
    answers = [client.ask(each, _DAGS) for each in sockets]
    drawn = layout(seen, answers, [], columns=80, lines=24)
    with Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=80, height=24, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(rendered(drawn))
        svg = console.export_svg(title="dagcache top")
    path.write_text(re.sub(r"\s*@font-face {.*?}", "", svg, flags=re.DOTALL), encoding="utf-8")  # not the fonts' URLs
    return "\n".join(line.text for line in drawn)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screens", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=240, help="that the dashboard shows, without the start (default: 240)"
    )
    parser.add_argument("--home", type=Path, help="an AIRFLOW_HOME of `dagcache run`, kept (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=Path("docs/img"), help="where the pictures go (default: docs/img)")
    chosen = parser.parse_args(argv)
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dagcache-screens-") as scratch:
        home = (chosen.home or Path(scratch) / "home").resolve()
        with prometheus(Path(scratch), home / "dagcache" / "targets") as address:
            with scheduler(home, "16MiB", chosen.seconds) as endpoint:
                start = time.time()
                time.sleep(max(0.0, chosen.seconds * 2 / 3 - _LOOKS))
                print(screenshot(endpoint, chosen.out / "top.svg", home))
            with scheduler(home, "16MiB", chosen.seconds):
                time.sleep(chosen.seconds / 3)
                draw(address, start, time.time(), chosen.out / "dashboard.png")
        with scheduler(home, "1MiB", 60) as endpoint:
            time.sleep(45)
            print(screenshot(endpoint, chosen.out / "top-too-small.svg"))
    for path in sorted(chosen.out.iterdir()):
        print(f"{path}: {math.ceil(path.stat().st_size / 1024)} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
