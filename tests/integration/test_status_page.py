"""The status page in a real browser: it is drawn as designed, in light and in dark, and loads itself again."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dagcache.metrics import status_page
from dagcache.metrics.collector import CacheCollector
from dagcache.metrics.server import MetricsServer
from tests.support.caches import MIB, fill, make_cache
from tests.support.patience import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=800,700",
)
DARK, LIGHT = 0, 1
"""Chromium's numbers for the colour scheme that the user prefers."""


def command(folder: Path, *options: str) -> list[str]:
    """The browser, with a new profile."""
    assert CHROMIUM is not None
    return [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *options]


def browse(url: str, folder: Path, *options: str) -> None:
    """Run the browser on a page until it has done as the options say."""
    done = subprocess.run(command(folder, *options, url), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-4000:]


def shades(picture: Path) -> tuple[float, int]:
    """The brightness of the page's corner, from 0 to 1, and the number of different colours."""
    image = pytest.importorskip("matplotlib.image", reason="matplotlib is not installed")
    pixels: Any = image.imread(picture)
    rounded = {tuple(pixel) for pixel in (pixels[::4, ::4, :3] * 15).round().reshape(-1, 3).tolist()}
    return float(pixels[5, 5, :3].mean()), len(rounded)


class Counted(CacheCollector):
    """A collector that notes when the page was viewed so many times."""

    def __init__(self, caches: list[Any], views: int) -> None:
        super().__init__(caches)
        self.reached = threading.Event()
        self._left = views

    def collect(self) -> Iterator[Any]:
        """Of the cache."""
        self._left -= 1
        if not self._left:
            self.reached.set()
        return super().collect()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_is_drawn_in_light_and_in_dark_and_loads_itself_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_page, "REFRESH_SECONDS", 1)
    cache, _ = make_cache(max_bytes=MIB, name="scheduler")
    fill(cache, range(60))
    fill(cache, range(60))
    collector, registry = Counted([cache], views=2 + 3), CollectorRegistry()
    registry.register(collector)
    server = MetricsServer(registry, host="127.0.0.1", ports=(0,))
    assert server.start()
    url = f"http://127.0.0.1:{server.port}/"
    try:
        for scheme in (DARK, LIGHT):
            preferred = f"--blink-settings=preferredColorScheme={scheme}"
            browse(url, tmp_path, preferred, f"--screenshot={tmp_path / f'{scheme}.png'}")
        with subprocess.Popen(
            command(tmp_path, "--remote-debugging-port=0", url), stderr=subprocess.DEVNULL
        ) as open_page:
            reached = collector.reached.wait(PATIENCE)
            open_page.kill()
        assert reached
    finally:
        server.close()
    (dark, of_dark), (light, of_light) = (shades(tmp_path / f"{scheme}.png") for scheme in (DARK, LIGHT))
    assert dark < 0.2 < 0.9 < light
    assert of_dark > 5 < of_light
