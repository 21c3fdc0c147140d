"""The description on a package index, and the extras."""

from __future__ import annotations

import io
import re

import pytest

from tests.support.paths import ROOT

PROJECT = (ROOT / "pyproject.toml").read_text()


def description() -> str:
    """The file that becomes the description."""
    found = re.search(r'^readme = "(.+?)"', PROJECT, re.MULTILINE)
    assert found is not None
    return (ROOT / found[1]).read_text()


def test_the_description_renders_on_a_package_index() -> None:
    """With PyPI's own library, which returns None for invalid input."""
    markdown = pytest.importorskip("readme_renderer.markdown", reason="readme-renderer is not installed")
    warnings = io.StringIO()
    rendered = markdown.render(description(), stream=warnings)
    assert rendered is not None, warnings.getvalue()
    assert "<h1" in rendered
    assert not warnings.getvalue()


def test_the_description_has_no_link_that_breaks_there() -> None:
    """An index has neither the files nor the images that a relative address names."""
    markdown = pytest.importorskip("readme_renderer.markdown", reason="readme-renderer is not installed")
    addresses = re.findall(r'(?:href|src)="([^"]*)"', markdown.render(description()))
    assert all(address.startswith(("https://", "#")) for address in addresses), addresses


def test_no_extra_installs_airflow() -> None:
    """It would replace the Airflow of the installation that asks for the extra."""
    section = PROJECT.partition("[project.optional-dependencies]\n")[2].partition("\n\n")[0]
    extras = re.findall(r"^(\w+) = ", section, re.MULTILINE)
    assert extras == ["cli", "png"]
    assert "airflow" not in section.lower()
