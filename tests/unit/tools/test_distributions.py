"""The check of the built distributions."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tools.distributions import IN_SDIST, faults, files_of_package, main

CODE = {
    "dagcache/__init__.py": b"",
    "dagcache/py.typed": b"",
    "dagcache/cli/command.py": b"code",
    "metrics/alerts.yaml": b"alerts",
    "sizing/walk.py": b"walk",
}
IN_WHEEL = {
    "dagcache/__init__.py": b"",
    "dagcache/py.typed": b"",
    "dagcache/cli/command.py": b"code",
    "dagcache/metrics/alerts.yaml": b"alerts",
    "dagcache/sizing/walk.py": b"walk",
}
METADATA = "dagcache-1.dist-info/METADATA"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of a small package, two folders of which are links."""
    checkout = tmp_path / "checkout"
    for name, content in CODE.items():
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in ("metrics", "sizing"):
        (checkout / "dagcache" / name).symlink_to(checkout / name)
    compiled = checkout / "dagcache" / "__pycache__"
    compiled.mkdir()
    (compiled / "command.cpython-311.pyc").write_bytes(b"compiled")
    return checkout


def build(checkout: Path, in_wheel: Mapping[str, bytes] = IN_WHEEL, in_sdist: Iterable[str] = IN_SDIST) -> Path:
    """Archives with these files, in a folder."""
    folder = checkout.parent / "dist"
    folder.mkdir()
    with zipfile.ZipFile(folder / "dagcache-1-py3-none-any.whl", "w") as wheel:
        for name, content in {METADATA: b"", **in_wheel}.items():
            wheel.writestr(name, content)
    with tarfile.open(folder / "dagcache-1.tar.gz", "w:gz") as sdist:
        for name in in_sdist:
            sdist.addfile(tarfile.TarInfo(f"dagcache-1/{name}"), io.BytesIO())
    return folder


def test_complete_distributions_have_no_faults(checkout: Path) -> None:
    assert faults(build(checkout), checkout) == []


@pytest.mark.parametrize("name", IN_WHEEL)
def test_a_file_that_is_missing_in_the_wheel_is_a_fault(name: str, checkout: Path) -> None:
    """Each file of the package, also of a folder outside of it."""
    rest = {other: content for other, content in IN_WHEEL.items() if other != name}
    assert faults(build(checkout, in_wheel=rest), checkout) == [f"the wheel has no {name}"]


@pytest.mark.parametrize("name", IN_WHEEL)
def test_a_file_with_another_content_is_a_fault_of_the_wheel(name: str, checkout: Path) -> None:
    """The tests ran with the checkout's."""
    other = {**IN_WHEEL, name: b"other"}
    assert faults(build(checkout, in_wheel=other), checkout) == [f"the wheel has another {name}"]


@pytest.mark.parametrize("name", IN_SDIST)
def test_what_is_missing_in_the_sdist_is_a_fault(name: str, checkout: Path) -> None:
    """Each file that a packager needs."""
    assert faults(build(checkout, in_sdist=set(IN_SDIST) - {name}), checkout) == [f"the sdist has no {name}"]


@pytest.mark.parametrize("name", ["tools/monitoring/alerts.py", "tests/__init__.py", "dagcache/old.py"])
def test_what_is_not_of_the_package_is_a_fault_of_the_wheel(name: str, checkout: Path) -> None:
    """It would be installed as well."""
    assert faults(build(checkout, in_wheel={**IN_WHEEL, name: b""}), checkout) == [f"the wheel has {name}"]


def test_compiled_files_are_a_fault_of_the_sdist(checkout: Path) -> None:
    """They are of one Python."""
    assert faults(build(checkout, in_sdist=[*IN_SDIST, "tests/a.pyc"]), checkout) == ["the sdist has tests/a.pyc"]


def test_a_folder_without_distributions_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and a line that says so."""
    assert main([str(tmp_path)]) == 1
    assert "expected one wheel and one sdist" in capsys.readouterr().out


@pytest.mark.skipif(not (ROOT / "dagcache").is_dir(), reason="the sources are not here: this is the wheel's turn")
def test_the_files_of_this_package_include_the_folders_beside_it_and_no_compiled_ones() -> None:
    names = dict(files_of_package(ROOT))
    assert {"dagcache/py.typed", "dagcache/metrics/dashboard.json", "dagcache/sizing/walk.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


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
