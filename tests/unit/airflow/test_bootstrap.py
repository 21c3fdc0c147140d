"""The module that Airflow imports in every process: small, silent, harmless."""

from __future__ import annotations

import copy
import importlib
import importlib.resources
import importlib.util
import inspect
import itertools
import logging
import os
import pickle
import subprocess
import sys
import threading
import traceback
import zipfile
from collections.abc import Callable, Iterator
from importlib.machinery import FrozenImporter, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dagcache.airflow import bootstrap, hook
from tests.support.measured import measured
from tests.support.patience import PATIENCE

SITE = "site_for_bootstrap_tests"
SOURCE = """
loaders = __loader__, __spec__.loader
executed = True

class Bag:
    pass

def fail():
    raise RuntimeError
"""
AT_ONCE = 8


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A use site that can be imported, without remains of earlier imports."""
    (tmp_path / f"{SITE}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(bootstrap, "SITES", {SITE: "scheduler"})
    others = [finder for finder in sys.meta_path if not isinstance(finder, bootstrap.UseSiteFinder)]
    monkeypatch.setattr(sys, "meta_path", others)
    yield SITE
    sys.modules.pop(SITE, None)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ModuleType, str]]:
    """The arguments of the hook."""
    calls: list[tuple[ModuleType, str]] = []
    monkeypatch.setattr(hook, "install", lambda module, component: calls.append((module, component)))
    return calls


def test_a_use_site_is_handed_over_once_it_has_been_executed(
    site: str, installed: list[tuple[ModuleType, str]]
) -> None:
    """Not before: the class to be replaced must be there."""
    bootstrap.watch()
    assert not installed
    module = importlib.import_module(site)
    assert installed == [(module, "scheduler")]
    assert module.executed


def test_a_use_site_that_was_imported_before_is_handed_over_at_once(
    site: str, installed: list[tuple[ModuleType, str]]
) -> None:
    """The order of imports is not ours."""
    module = importlib.import_module(site)
    bootstrap.watch()
    assert installed == [(module, "scheduler")]


def test_watching_twice_is_harmless(site: str, installed: list[tuple[ModuleType, str]]) -> None:
    """One finder, one installation."""
    before = len(sys.meta_path)
    bootstrap.watch()
    bootstrap.watch()
    importlib.import_module(site)
    assert len(installed) == 1
    assert len(sys.meta_path) <= before + 1


def test_other_modules_are_none_of_its_business(site: str) -> None:
    """The finder answers for the use sites only."""
    finder = bootstrap.UseSiteFinder()
    assert finder.find_spec("json") is None
    assert finder.find_spec(site) is not None


def test_a_use_site_that_nobody_finds_is_not_found(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Airflow without that module imports, or does not, as it would without us."""
    monkeypatch.setattr(bootstrap, "SITES", {"no_such_site": "scheduler"})
    bootstrap.watch()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_site")


def test_a_failing_hook_leaves_the_module_as_it_is(
    site: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line with the reason; the import goes on."""

    def fail(*_: object) -> None:
        raise RuntimeError("not today")

    monkeypatch.setattr(hook, "install", fail)
    bootstrap.watch()
    with caplog.at_level(logging.ERROR, "dagcache"):
        assert importlib.import_module(site).executed
    assert [record.message for record in caplog.records] == [f"dagcache is off in {SITE}: Airflow's own cache serves"]


# ---- other tools' finders and loaders ----


class Legacy:
    """A finder of PEP 302 that finds nothing, as old tools for tracing and notebooks have them."""

    def find_module(self, name: str, path: object = None) -> Any:
        """Nothing."""
        return None


class Asking:
    """A finder that asks all finders again, and gives what they find a loader of its own: wrapt's way."""

    def __init__(self) -> None:
        self._asking = False

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec that all find."""
        if self._asking or name != SITE:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._asking = False
        if spec is not None:
            spec.loader = Chained(spec.loader)  # type: ignore[assignment]
        return spec


class Chained:
    """A loader that does something around another's."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> Any:
        """As that one."""
        return self.loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """As that one, seen by the module."""
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        module.traced = True


class Raising:
    """A finder that fails."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """For the site only."""
        if name == SITE:
            raise OSError("the disk of imports is gone")
        return None


class Blocking:
    """A finder that forbids a module."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """In the usual way."""
        if name == SITE:
            raise ModuleNotFoundError(f"{name} is not wanted", name=name)
        return None


class Odd:
    """No finder at all, but it stands in the list; the interpreter passes it over since 3.12."""

    find_spec = property(lambda _: (_ for _ in ()).throw(AttributeError("find_spec")))

    def find_module(self, name: str, path: object = None) -> Any:
        """Nothing."""
        return None


class Cached:
    """A finder that gives the same spec each time."""

    def __init__(self) -> None:
        self._spec: ModuleSpec | None = None

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The first one."""
        if name == SITE and self._spec is None:
            self._spec = PathFinder.find_spec(name)
        return self._spec if name == SITE else None


FINDERS: tuple[Callable[[], Any], ...] = (Legacy, Asking, Raising, Blocking, Odd, Cached)


def outcome(name: str) -> tuple[object, ...]:
    """The result of an import."""
    sys.modules.pop(name, None)
    try:
        module = importlib.import_module(name)
    except Exception as error:
        return type(error), str(error)
    spec = module.__spec__
    assert spec is not None
    return type(spec.loader), type(module.__loader__), spec.origin, module.__file__, hasattr(module, "traced")


@pytest.mark.filterwarnings("ignore::ImportWarning")  # the interpreter's, of the old ones
@pytest.mark.parametrize(
    "kinds", list(itertools.permutations(FINDERS, 2)), ids=lambda kinds: "-".join(k.__name__ for k in kinds)
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_an_import_comes_out_as_without_this_finder(
    kinds: tuple[Callable[[], Any], ...],
    position: int,
    site: str,
    installed: list[tuple[ModuleType, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With any other finders, in any order. After a successful import the hook is called."""
    others = list(sys.meta_path)
    monkeypatch.setattr(sys, "meta_path", [*(kind() for kind in kinds), *others])
    expected = outcome(site)
    assert not installed
    finders = [kind() for kind in kinds]
    finders.insert(position, bootstrap.UseSiteFinder())
    monkeypatch.setattr(sys, "meta_path", [*finders, *others])
    for _ in range(2):
        assert outcome(site) == expected
    found_before = Cached in kinds[:position]
    if expected[0] is not ModuleNotFoundError and expected[0] is not OSError and not found_before:
        assert [call[1] for call in installed] == ["scheduler"] * 2


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="finders of PEP 302 are passed over since 3.12")
@pytest.mark.filterwarnings("ignore::ImportWarning")
def test_what_only_an_old_finder_finds_is_found(
    site: str, installed: list[tuple[ModuleType, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the interpreter does."""
    path = PathFinder.find_spec(site).origin  # type: ignore[union-attr]

    class Finding:
        def find_module(self, name: str, path_: object = None) -> Any:
            return SourceFileLoader(name, str(path)) if name == site else None

    bootstrap.watch()
    monkeypatch.setattr(sys, "meta_path", [sys.meta_path[0], Finding()])
    importlib.import_module(site)
    assert [call[1] for call in installed] == ["scheduler"]


def test_two_of_them_do_not_ask_each_other_for_ever(
    site: str, installed: list[tuple[ModuleType, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second copy of the package, say."""
    finders = [bootstrap.UseSiteFinder(), bootstrap.UseSiteFinder(), *sys.meta_path]
    monkeypatch.setattr(sys, "meta_path", finders)
    assert importlib.import_module(site).executed
    assert {call[1] for call in installed} == {"scheduler"}


def test_a_tool_that_takes_the_finder_away_gets_stock_imports(
    site: str, installed: list[tuple[ModuleType, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watching again mends it."""
    bootstrap.watch()
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[1:])
    assert importlib.import_module(site).executed
    assert not installed
    bootstrap.watch()
    assert len(installed) == 1


def test_a_spec_that_cannot_be_changed_is_used_as_it_is(
    site: str,
    installed: list[tuple[ModuleType, str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And one line says so."""

    class Fixed(ModuleSpec):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "loader" and hasattr(self, "loader"):
                raise AttributeError("not to be changed")
            super().__setattr__(name, value)

    class Finder:
        def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
            found = PathFinder.find_spec(name) if name == site else None
            return None if found is None else Fixed(name, found.loader, origin=found.origin)

    bootstrap.watch()
    monkeypatch.setattr(sys, "meta_path", [sys.meta_path[0], Finder()])
    with caplog.at_level(logging.ERROR, "dagcache"):
        assert importlib.import_module(site).executed
    assert not installed
    assert len(caplog.records) == 1


# ---- the loader is the module's own again ----


def test_the_module_has_the_loader_that_it_would_have_without_us(site: str, installed: list[Any]) -> None:
    """While it runs as well as afterwards: for tracebacks, resources, sources, pickles."""
    bootstrap.watch()
    module = importlib.import_module(site)
    assert installed
    assert module.__spec__ is not None
    for loader in (*module.loaders, module.__loader__, module.__spec__.loader):
        assert type(loader) is SourceFileLoader
    assert "raise RuntimeError" in inspect.getsource(module.fail)
    assert inspect.getsource(module) == SOURCE
    assert pickle.loads(pickle.dumps(module.Bag)) is module.Bag
    try:
        module.fail()
    except RuntimeError as error:
        assert "raise RuntimeError" in traceback.format_exc()
        del error


def test_what_is_found_is_the_other_finders_loader_in_all_but_one_step(site: str) -> None:
    bootstrap.watch()
    spec = importlib.util.find_spec(site)
    assert spec is not None
    loader: Any = spec.loader
    assert isinstance(loader, SourceFileLoader)
    assert loader.get_source(site) == SOURCE
    assert loader.get_data(loader.path) == SOURCE.encode()
    assert loader.is_package(site) is False
    assert loader.get_code(site) is not None
    assert not hasattr(loader, "no_such_thing")
    assert copy.copy(loader).path == loader.path
    module = importlib.util.module_from_spec(spec)
    assert not hasattr(module, "executed")


def test_a_package_has_its_resources(tmp_path: Path, site: str, installed: list[Any]) -> None:
    """A use site that becomes a package, say."""
    (tmp_path / f"{site}.py").unlink()
    folder = tmp_path / site
    folder.mkdir()
    (folder / "__init__.py").write_text(SOURCE)
    (folder / "resource.txt").write_text("content")
    importlib.invalidate_caches()
    bootstrap.watch()
    importlib.import_module(site)
    assert installed
    assert importlib.resources.files(site).joinpath("resource.txt").read_text() == "content"


def test_a_zip_files_other_modules_are_let_alone(
    tmp_path: Path,
    site: str,
    installed: list[tuple[ModuleType, str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They share one importer."""
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(f"{site}.py", SOURCE)
        file.writestr("neighbour_of_site.py", "executed = True")
    (tmp_path / f"{site}.py").unlink()
    monkeypatch.syspath_prepend(archive)
    bootstrap.watch()
    module = importlib.import_module(site)
    neighbour = importlib.import_module("neighbour_of_site")
    del sys.modules["neighbour_of_site"]
    assert installed == [(module, "scheduler")]
    assert type(module.__loader__).__name__ == "zipimporter"
    assert neighbour.executed
    assert "exec_module" not in vars(neighbour.__loader__)
    assert not caplog.records


def test_a_frozen_modules_importer_is_let_alone(
    monkeypatch: pytest.MonkeyPatch, site: str, installed: list[tuple[ModuleType, str]]
) -> None:
    """It is a class, for all frozen modules."""
    monkeypatch.setattr(bootstrap, "SITES", {"__hello__": "scheduler"})
    before = dict(vars(FrozenImporter))
    bootstrap.watch()
    try:
        module = importlib.import_module("__hello__")
    finally:
        sys.modules.pop("__hello__", None)
    assert installed == [(module, "scheduler")]
    assert module.__loader__ is FrozenImporter
    assert dict(vars(FrozenImporter)) == before


def test_a_namespace_has_nothing_to_be_hooked(tmp_path: Path, site: str, installed: list[Any]) -> None:
    """It is imported all the same."""
    (tmp_path / f"{site}.py").unlink()
    (tmp_path / site).mkdir()
    importlib.invalidate_caches()
    bootstrap.watch()
    module = importlib.import_module(site)
    assert module.__file__ is None
    assert len(installed) <= 1


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="loaders of one step are gone")
@pytest.mark.filterwarnings("ignore::ImportWarning")  # the interpreter's
def test_a_loader_of_one_step_is_waited_for(
    site: str, installed: list[tuple[ModuleType, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before PEP 451 have ``load_module`` only."""

    class OneStep:
        def load_module(self, name: str) -> ModuleType:
            module = sys.modules[name] = ModuleType(name)
            module.executed = True  # type: ignore[attr-defined]
            return module

    loader = OneStep()

    class Finder:
        def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
            return ModuleSpec(name, loader) if name == site else None  # type: ignore[arg-type]

    bootstrap.watch()
    monkeypatch.setattr(sys, "meta_path", [sys.meta_path[0], Finder()])
    module = importlib.import_module(site)
    assert installed == [(module, "scheduler")]
    assert module.__loader__ is loader
    assert vars(loader) == {}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.15 will have none
@pytest.mark.skipif(not hasattr(SourceFileLoader, "load_module"), reason="this Python loads in two steps only")
def test_a_module_that_is_loaded_by_hand_is_waited_for(site: str, installed: list[tuple[ModuleType, str]]) -> None:
    """By ``load_module``, as old tools do."""
    bootstrap.watch()
    spec = importlib.util.find_spec(site)
    assert spec is not None
    module = spec.loader.load_module(site)  # type: ignore[union-attr]
    assert installed == [(module, "scheduler")]
    assert type(module.__loader__) is SourceFileLoader


class Lazy:
    """A finder that puts execution off until a module is used."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Of the site."""
        spec = PathFinder.find_spec(name) if name == SITE else None
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


@pytest.mark.parametrize("order", ["a lazy finder", "a lazy loader around ours"])
def test_a_lazy_module_stays_lazy_and_is_waited_for(
    order: str, site: str, installed: list[tuple[ModuleType, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook comes with the first use."""
    bootstrap.watch()
    if order == "a lazy finder":
        monkeypatch.setattr(sys, "meta_path", [sys.meta_path[0], Lazy(), *sys.meta_path[1:]])
        module = importlib.import_module(site)
    else:
        spec = importlib.util.find_spec(site)
        assert spec is not None
        assert spec.loader is not None
        loader = spec.loader = importlib.util.LazyLoader(spec.loader)
        module = importlib.util.module_from_spec(spec)
        sys.modules[site] = module
        loader.exec_module(module)
    assert not installed
    assert "executed" not in object.__getattribute__(module, "__dict__")
    assert module.executed
    assert installed == [(module, "scheduler")]
    assert type(module) is ModuleType
    assert type(module.__loader__) is SourceFileLoader
    assert type(module.__spec__.loader) is SourceFileLoader  # type: ignore[union-attr]


# ---- moments ----


def test_an_import_that_fails_half_way_can_be_done_again(
    tmp_path: Path, site: str, installed: list[tuple[ModuleType, str]]
) -> None:
    """A circular import, a plugin that is mended: the hook comes with the one that succeeds."""
    source = tmp_path / f"{site}.py"
    source.write_text("raise OSError('not yet')\n")
    bootstrap.watch()
    for _ in range(2):
        with pytest.raises(OSError, match="not yet"):
            importlib.import_module(site)
        assert site not in sys.modules
    assert not installed
    source.write_text(SOURCE + "# mended\n")
    importlib.invalidate_caches()
    module = importlib.import_module(site)
    assert installed == [(module, "scheduler")]


def test_a_module_that_is_reloaded_is_handed_over_again(site: str, installed: list[tuple[ModuleType, str]]) -> None:
    """Its names are Airflow's again."""
    bootstrap.watch()
    module = importlib.import_module(site)
    assert importlib.reload(module) is module
    assert installed == [(module, "scheduler")] * 2
    assert type(module.__loader__) is SourceFileLoader
    assert type(module.__spec__.loader) is SourceFileLoader  # type: ignore[union-attr]


def test_threads_that_import_at_once_share_one_installation(site: str, installed: list[tuple[ModuleType, str]]) -> None:
    """None sees the module before the hook has."""
    bootstrap.watch()
    seen: list[tuple[ModuleType, int]] = []
    barrier = threading.Barrier(AT_ONCE)

    def run() -> None:
        barrier.wait()
        module = importlib.import_module(site)
        seen.append((module, len(installed)))

    for _ in range(20):
        installed.clear()
        seen.clear()
        sys.modules.pop(site, None)
        threads = [threading.Thread(target=run) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [(sys.modules[site], 1)] * AT_ONCE


# ---- off, and other failures ----


def finders_after_import(variables: dict[str, str], prelude: str = "") -> str:
    """Which finders stand in a process that has imported the module."""
    code = (
        f"import os, sys, types; os.environ.update({variables!r})\n{prelude}\n"
        "import dagcache.airflow.bootstrap\n"
        "print([type(f).__name__ for f in sys.meta_path if 'dagcache' in type(f).__module__])"
    )
    command, env = [sys.executable, "-c", code], {**os.environ, **measured()}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert not done.stderr
    return done.stdout.strip()


_CONF = """
from configparser import ConfigParser
class Conf(ConfigParser):
    def get(self, *args, **kwargs):
        raise AssertionError("all providers would be loaded")
conf = Conf()
conf.read_string({text!r})
airflow = types.ModuleType("airflow.configuration")
airflow.conf = conf
sys.modules["airflow.configuration"] = airflow
"""


@pytest.mark.parametrize(
    ("variables", "text", "watches"),
    [
        ({}, None, True),
        ({"AIRFLOW__DAGCACHE__MODE": "off"}, None, False),
        ({"AIRFLOW__DAGCACHE__MODE": " OFF "}, "[dagcache]\nmode = enforce", False),
        ({"AIRFLOW__DAGCACHE__MODE": "observe"}, "[dagcache]\nmode = off", True),
        ({}, "[dagcache]\nmode = off", False),
        ({}, "[dagcache]\nmode = enforce", True),
        ({}, "[core]\nmode = off", True),
        ({}, "", True),
    ],
)
def test_with_mode_off_nothing_gets_into_the_way_of_imports(
    variables: dict[str, str], text: str | None, watches: bool
) -> None:
    """Where the environment or airflow.cfg says so; Airflow's own lookup would load all providers."""
    prelude = "" if text is None else _CONF.format(text=text)
    assert finders_after_import(variables, prelude) == ("['UseSiteFinder']" if watches else "[]")


def test_a_configuration_of_another_shape_is_left_to_the_hook() -> None:
    """An unreadable mode does not mean off."""
    prelude = "sys.modules['airflow.configuration'] = types.ModuleType('airflow.configuration')"
    assert finders_after_import({}, prelude) == "['UseSiteFinder']"


def test_a_log_that_fails_does_not_fail_the_import(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler of the host's that raises, on top of a fault of ours."""

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("no space left")

    monkeypatch.setattr(hook, "install", SimpleNamespace())
    handler = Failing()
    logging.getLogger("dagcache").addHandler(handler)
    try:
        bootstrap.watch()
        assert importlib.import_module(site).executed
    finally:
        logging.getLogger("dagcache").removeHandler(handler)


@pytest.mark.parametrize("entry_point", ["bootstrap", "provider_info"])
def test_an_entry_point_imports_nothing_but_itself_and_the_standard_library(entry_point: str) -> None:
    """Airflow imports both in each process: a process that runs tasks pays for these two modules only."""
    code = (
        f"import sys; before = set(sys.modules); import dagcache.airflow.{entry_point};"
        "known = {*sys.stdlib_module_names, '_missing_stdlib_info'};"  # of 3.15, which does not name it
        "print(sorted(name for name in set(sys.modules) - before if name.partition('.')[0] not in known))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert output.stdout.strip() == f"['dagcache', 'dagcache.airflow', 'dagcache.airflow.{entry_point}']"
