"""The check of the built distributions."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tools.distributions import IN_SDIST, IN_WHEEL, faults, main


def build(folder: Path, in_wheel: Iterable[str] = IN_WHEEL, in_sdist: Iterable[str] = IN_SDIST) -> Path:
    """Archives with these names."""
    with zipfile.ZipFile(folder / "dagcache-1-py3-none-any.whl", "w") as wheel:
        for name in in_wheel:
            wheel.writestr(name, "")
    with tarfile.open(folder / "dagcache-1.tar.gz", "w:gz") as sdist:
        for name in in_sdist:
            sdist.addfile(tarfile.TarInfo(f"dagcache-1/{name}"), io.BytesIO())
    return folder


def test_complete_distributions_have_no_faults(tmp_path: Path) -> None:
    """Exit code 0."""
    assert main([str(build(tmp_path))]) == 0


@pytest.mark.parametrize("name", IN_WHEEL)
def test_what_is_missing_in_the_wheel_is_a_fault(name: str, tmp_path: Path) -> None:
    """Each file that an installation needs."""
    assert faults(build(tmp_path, in_wheel=set(IN_WHEEL) - {name})) == [f"the wheel has no {name}"]


@pytest.mark.parametrize("name", IN_SDIST)
def test_what_is_missing_in_the_sdist_is_a_fault(name: str, tmp_path: Path) -> None:
    """Each file that a packager needs."""
    assert faults(build(tmp_path, in_sdist=set(IN_SDIST) - {name})) == [f"the sdist has no {name}"]


@pytest.mark.parametrize("name", ["tools/monitoring/alerts.py", "tests/__init__.py"])
def test_what_is_not_of_the_package_is_a_fault_of_the_wheel(name: str, tmp_path: Path) -> None:
    """It would be installed beside everything else."""
    assert faults(build(tmp_path, in_wheel=[*IN_WHEEL, name])) == [f"the wheel has {name}"]


def test_compiled_files_are_a_fault_of_the_sdist(tmp_path: Path) -> None:
    """They are of one Python."""
    assert faults(build(tmp_path, in_sdist=[*IN_SDIST, "tests/a.pyc"])) == ["the sdist has tests/a.pyc"]


def test_a_folder_without_distributions_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and a line that says so."""
    assert main([str(tmp_path)]) == 1
    assert "expected one wheel and one sdist" in capsys.readouterr().out


@pytest.mark.skipif(not (ROOT / "dagcache").is_dir(), reason="the sources are not here: this is the wheel's turn")
def test_every_folder_of_the_package_is_in_the_distributions() -> None:
    """`pyproject.toml` names them one by one; sizing and metrics are outside of the folder of the package."""
    tomllib = pytest.importorskip("tomllib", reason="in the standard library since 3.11")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    outside = settings["package-dir"]
    listed = {outside.get(name, name.replace(".", "/")) for name in settings["packages"]}
    inits = [path for room in ("dagcache", *outside.values()) for path in (ROOT / room).rglob("__init__.py")]
    found = {path.parent.relative_to(ROOT).as_posix() for path in inits}
    links = {name.replace(".", "/") for name in outside}
    assert listed == found - links
