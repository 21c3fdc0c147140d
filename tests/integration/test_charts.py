"""The charts of the documents in a real browser: dark for readers with a dark screen, light for the others."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_status_page import CHROMIUM, DARK, LIGHT, browse
from tests.support.paths import ROOT

CHARTS = sorted((ROOT / "docs").glob("*.svg"))
_SIDE = 400


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_charts_follow_the_colour_scheme_and_their_words_can_be_read(tmp_path: Path) -> None:
    """As pictures in a page: the ground of each is as the scheme wants it, and something on it contrasts."""
    image = pytest.importorskip("matplotlib.image", reason="matplotlib is not installed")
    assert len(CHARTS) >= 4
    shown = "".join(
        f'<img src="{html.escape(path.as_uri())}" style="position:absolute;left:{_SIDE * column}px;top:{_SIDE * row}px;'
        f'width:{_SIDE}px">'
        for number, path in enumerate(CHARTS[:4])
        for row, column in [divmod(number, 2)]
    )
    (tmp_path / "page.html").write_text(f"<!doctype html><body>{shown}")
    for scheme, is_dark in ((DARK, True), (LIGHT, False)):
        picture = tmp_path / f"{scheme}.png"
        preferred = f"--blink-settings=preferredColorScheme={scheme}"
        browse((tmp_path / "page.html").as_uri(), tmp_path, preferred, f"--screenshot={picture}")
        pixels: Any = image.imread(picture)[:, :, :3].mean(axis=2)
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            part = pixels[_SIDE * row :, _SIDE * column :][:60, :_SIDE]
            ground, furthest = float(part[2, 2]), float(abs(part - part[2, 2]).max())
            assert (ground < 0.2) == is_dark, (row, column)
            assert furthest > 0.5, (row, column)
