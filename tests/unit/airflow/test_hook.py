"""The hook replaces the bag class of a use site, or leaves it alone with one line in the log."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dagcache.airflow import component as component_module
from dagcache.airflow import fault_endpoint, hook
from dagcache.airflow.provider_info import OPTIONS
from dagcache.errors import ConfigError
from dagcache.metrics.definitions import FAULTS


class Bag:
    """A bag class of the supported shape."""

    def _get_dag(self, version_id: Any, session: Any) -> None: ...

    def _read_dag(self, serdag: Any) -> None: ...

    def get_latest_version_of_dag(self, dag_id: str, *, session: Any) -> None:
        """As Airflow's."""


class CachedLookups:
    """A stand-in for the mixin of `dagcache.airflow.bag`, which imports Airflow."""


class Conf:
    """A stand-in for Airflow's configuration."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.workers: object = 1
        self.error: Exception | None = None

    def get(self, section: str, name: str, fallback: str | None) -> str | None:
        """The text of a setting."""
        assert section == "dagcache"
        if self.error is not None:
            raise self.error
        return self.texts.get(name, fallback)

    def getint(self, section: str, name: str, fallback: int) -> Any:
        """The number of workers."""
        assert (section, name, fallback) == ("api", "workers", 1)
        return self.workers


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> Conf:
    """Airflow's configuration, and a table of serialised DAGs of the supported shape."""
    conf = Conf()
    model = SimpleNamespace(dag_version_id=1, dag_hash=2, latest_item_select_object=3)

    def cached_bag(base: type, component: str, make_component: Any) -> type:
        return type("Cached", (CachedLookups, base), {"component": component, "make": staticmethod(make_component)})

    stand_ins: dict[str, dict[str, Any]] = {
        "airflow": {},
        "airflow.configuration": {"conf": conf, "AIRFLOW_HOME": "/opt/airflow"},
        "airflow.models": {},
        "airflow.models.serialized_dag": {"SerializedDagModel": model},
        "dagcache.airflow.bag": {"CachedLookups": CachedLookups, "cached_bag": cached_bag},
    }
    for name, names in stand_ins.items():
        module = ModuleType(name)
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("gunicorn.arbiter", "airflow.api_fastapi.main"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "argv", ["airflow", "scheduler"])
    return conf


@pytest.fixture(params=hook.BAG_NAMES)
def site(request: pytest.FixtureRequest) -> Any:
    """A use site of either version of Airflow."""
    module = ModuleType("use_site")
    setattr(module, request.param, Bag)
    return module


def bag_of(site: Any) -> Any:
    """The class that the site has now."""
    return next(getattr(site, name) for name in hook.BAG_NAMES if hasattr(site, name))


def test_a_bag_class_of_the_supported_shape_is_replaced_by_a_subclass(site: Any, conf: Conf) -> None:
    """Once: a second installation leaves it."""
    assert hook.install(site, "scheduler")
    cached = bag_of(site)
    assert issubclass(cached, CachedLookups)
    assert issubclass(cached, Bag)
    assert hook.install(site, "scheduler")
    assert bag_of(site) is cached


def is_stock(site: Any) -> bool:
    """Whether the site has Airflow's class, or one that differs from it in the constructor only."""
    cls = bag_of(site)
    own = set(vars(cls)) - {"__module__", "__qualname__", "__doc__", "__init__", "_dagcache_replaced"}
    return cls is Bag or (cls.__mro__[1:] == Bag.__mro__ and own == set() and cls.__qualname__ == Bag.__qualname__)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The faults that were exported, by component and reason."""
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(fault_endpoint, "export", lambda *fault: found.append(fault))
    return found


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The messages of the log."""
    return [record.getMessage() for record in caplog.records]


def test_mode_off_leaves_it_with_a_line(site: Any, conf: Conf, caplog: pytest.LogCaptureFixture) -> None:
    """At INFO: an operator wants it so."""
    conf.texts["mode"] = "off"
    with caplog.at_level(logging.INFO, "dagcache"):
        assert not hook.install(site, "scheduler")
    assert bag_of(site) is Bag
    assert lines(caplog) == ["dagcache is off in the scheduler: [dagcache] mode = off"]


def test_a_setting_that_cannot_be_read_leaves_it(site: Any, conf: Conf, caplog: pytest.LogCaptureFixture) -> None:
    """The line names the setting, the value and the accepted forms."""
    conf.texts["max_bytes"] = "10XB"
    assert not hook.install(site, "scheduler")
    assert is_stock(site)
    assert lines(caplog)[0].startswith("dagcache is off in the scheduler: [dagcache] max_bytes = '10XB' ")


def test_a_free_threaded_python_leaves_it(
    site: Any, conf: Conf, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one line, that an operator who has switched the cache off does not get."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert not hook.install(site, "scheduler")
    assert bag_of(site) is Bag
    assert lines(caplog) == ["dagcache is off in the scheduler: unsupported build of Python (free-threaded)"]
    conf.texts["mode"] = "off"
    assert not hook.install(site, "scheduler")
    assert len(lines(caplog)) == 1


def test_a_table_of_another_shape_leaves_it(site: Any, conf: Conf, caplog: pytest.LogCaptureFixture) -> None:
    """The line names the missing attribute."""
    del sys.modules["airflow.models.serialized_dag"].SerializedDagModel.dag_hash
    assert not hook.install(site, "api_server")
    assert is_stock(site)
    line = "dagcache is off in the api_server: unsupported version of Airflow (SerializedDagModel has no dag_hash)"
    assert lines(caplog) == [line]


def test_a_site_without_a_bag_class_is_left(conf: Conf, caplog: pytest.LogCaptureFixture) -> None:
    """Another version of Airflow."""
    assert not hook.install(ModuleType("empty"), "scheduler")
    assert "no class CachedDBDagBag or DBDagBag at the use site" in lines(caplog)[0]


class WithoutRead(Bag):
    """A bag that reads rows in another way."""

    _read_dag = None  # type: ignore[assignment]


class WithTeam(Bag):
    """A bag with another argument in its lookups."""

    def _get_dag(self, version_id: Any, team: str, session: Any) -> None: ...  # type: ignore[override]


@pytest.mark.parametrize(
    ("base", "fault"),
    [
        (Bag, ""),
        (None, "no class CachedDBDagBag or DBDagBag at the use site"),
        (len, "no class CachedDBDagBag or DBDagBag at the use site"),
        (WithoutRead, "WithoutRead has no _read_dag"),
        (WithTeam, "WithTeam._get_dag takes version_id, team, session"),
    ],
)
def test_a_bag_class_of_another_shape_is_described(base: Any, fault: str) -> None:
    """By the first difference."""
    assert hook.unknown_shape(base) == fault


def test_a_configuration_that_airflow_cannot_read_is_an_error_that_names_the_setting(conf: Conf) -> None:
    """A percent sign that is not escaped is the usual reason."""
    conf.error = ValueError("invalid interpolation syntax")
    with pytest.raises(ConfigError, match=r"mode = '\?' .*in airflow.cfg, % is written %%.*interpolation"):
        hook.settings_of("scheduler")


@pytest.mark.parametrize(
    ("component", "configured", "argv", "workers"),
    [
        ("scheduler", 4, ["airflow", "scheduler"], 1),
        ("api_server", 4, ["airflow", "api-server"], 4),
        ("api_server", 4, ["airflow", "api-server", "--workers", "2"], 2),
        ("api_server", "many", ["airflow", "api-server"], 1),
    ],
)
def test_the_workers_of_an_api_server_share_the_memory(
    component: str, configured: object, argv: list[str], workers: int, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler is alone."""
    conf.workers = configured
    monkeypatch.setattr(sys, "argv", argv)
    assert hook.settings_of(component).cache.workers == workers


class Component:
    """A stand-in for the component."""

    def __init__(self, settings: Any, *, home: Path, serves: bool, without_effect: object) -> None:
        self.home, self.serves, self.started = home, serves, False

    def start(self) -> None:
        """Note it."""
        self.started = True


@pytest.mark.parametrize(
    ("component", "imported", "serves", "started"),
    [
        ("scheduler", [], True, True),
        ("api_server", [], False, False),
        ("api_server", ["airflow.api_fastapi.main"], True, True),
        ("api_server", ["airflow.api_fastapi.main", "gunicorn.arbiter"], True, False),
    ],
)
def test_a_component_serves_in_its_own_processes_and_starts_in_workers(
    component: str,
    imported: list[str],
    serves: bool,
    started: bool,
    site: Any,
    conf: Conf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A triggerer builds the API server's bag, too, and gunicorn's master builds one before it forks.

    Both start with their first load, if there is one.
    """
    monkeypatch.setattr(component_module, "Component", Component)
    for name in imported:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert hook.install(site, component)
    made = bag_of(site).make()
    assert (made.home, made.serves, made.started) == (Path("/opt/airflow"), serves, started)


class Runner:
    """As the class of a scheduler, with a bag."""

    def __init__(self, bag: Any) -> None:
        self.scheduler_dag_bag = bag

    def _run_scheduler_loop(self) -> str:
        return "the loop"


def test_a_scheduler_starts_with_its_loop(site: Any, conf: Conf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its executor forks before that."""
    monkeypatch.setattr(component_module, "Component", Component)
    monkeypatch.setattr(site, "SchedulerJobRunner", type("Copy", (Runner,), dict(vars(Runner))), raising=False)
    assert hook.install(site, "scheduler")
    assert not bag_of(site).make().started
    started: list[bool] = []
    bag = SimpleNamespace(at_loop_start=lambda: started.append(True))
    assert site.SchedulerJobRunner(bag)._run_scheduler_loop() == "the loop"
    assert started == [True]


# ---- misspelt settings ----


def test_a_misspelt_setting_is_a_warning_of_the_component(
    site: Any, conf: Conf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no effect, and the cache serves; both components of one process share the line."""
    monkeypatch.setenv("AIRFLOW__DAGCACHE__MAXBYTES", "1GiB")
    monkeypatch.setenv("AIRFLOW__DAGCACHE__TTL", "60")
    for _ in range(2):
        assert hook.install(site, "scheduler")
    (line,) = lines(caplog)
    assert line.startswith("[dagcache] has no setting maxbytes; the settings are mode, max_bytes, ttl, ")
    assert caplog.records[0].levelname == "WARNING"


def test_a_misspelt_setting_in_the_file_is_a_warning_too(
    site: Any, conf: Conf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from configparser import RawConfigParser

    class Parser(RawConfigParser):
        """Airflow's configuration is a subclass as well, and its own methods take other arguments."""

        get = Conf.get  # type: ignore[assignment]
        getint = Conf.getint  # type: ignore[assignment]

    parser = Parser()
    vars(parser).update(vars(conf))
    parser.read_string("[dagcache]\nttl = 60\nmaxbites = 1")
    monkeypatch.setattr(sys.modules["airflow.configuration"], "conf", parser)
    assert hook.install(site, "scheduler")
    assert lines(caplog)[0].startswith("[dagcache] has no setting maxbites; ")


def test_settings_that_exist_are_no_warning(
    site: Any, conf: Conf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for option in OPTIONS:
        monkeypatch.setenv(f"AIRFLOW__DAGCACHE__{option.name.upper()}", option.default)
    monkeypatch.setenv("AIRFLOW__DAGCACHE__WARM_START_KEY_CMD", "cat /run/secrets/key")
    monkeypatch.setenv("AIRFLOW__DAGCACHE__WARM_START_KEY_SECRET", "dagcache_key")
    assert hook.install(site, "scheduler")
    assert lines(caplog) == []


# ---- a cache that a fault keeps off ----


def fault_of(kind: str, site: Any, conf: Conf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cause one of the faults."""
    if kind == "setting":
        conf.texts["ttl"] = "soon"
    elif kind == "airflow":
        monkeypatch.setitem(hook._SHAPE, "no_such_method", ())
    else:
        monkeypatch.setattr(hook, "_bag_class", lambda *_, later: 1 / 0)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_bag_that_is_built_in_spite_of_a_fault_exports_the_reason(
    kind: str, site: Any, conf: Conf, exported: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import alone exports nothing: other processes import the module as well."""
    fault_of(kind, site, conf, monkeypatch)
    with suppress(ZeroDivisionError):
        assert not hook.install(site, "scheduler")
    assert is_stock(site)
    assert exported == []
    assert isinstance(bag_of(site)(), Bag)
    assert exported == [("scheduler", kind)]


def test_a_scheduler_exports_a_fault_with_its_loop(
    site: Any, conf: Conf, exported: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint of a fault has threads as well."""
    monkeypatch.setattr(site, "SchedulerJobRunner", type("Copy", (Runner,), dict(vars(Runner))), raising=False)
    conf.texts["ttl"] = "soon"
    hook.install(site, "scheduler")
    bag = bag_of(site)()
    assert exported == []
    site.SchedulerJobRunner(bag)._run_scheduler_loop()
    assert exported == [("scheduler", "setting")]


def test_a_cache_that_is_off_on_purpose_exports_no_fault(
    site: Any, conf: Conf, exported: list[tuple[str, str]]
) -> None:
    conf.texts["mode"] = "off"
    hook.install(site, "scheduler")
    bag_of(site)()
    assert exported == []


def test_an_installation_after_a_fault_replaces_airflows_own_class(
    site: Any, conf: Conf, exported: list[tuple[str, str]]
) -> None:
    """The class with the constructor is not in the way, and an installed cache is not given up for a later fault."""
    conf.texts["ttl"] = "soon"
    hook.install(site, "scheduler")
    del conf.texts["ttl"]
    assert hook.install(site, "scheduler")
    assert bag_of(site).__bases__ == (CachedLookups, Bag)
    bag_of(site)()
    assert exported == []


def test_a_class_that_refuses_a_subclass_stays(
    site: Any, conf: Conf, exported: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log line is all that is left then."""

    class Final(Bag):
        def __init_subclass__(cls) -> None:
            raise TypeError("no subclass")

    setattr(site, hook.bag_name(site), Final)
    conf.texts["ttl"] = "soon"
    assert not hook.install(site, "scheduler")
    assert bag_of(site) is Final


def test_an_export_that_fails_does_not_keep_the_bag_from_being_built(
    site: Any, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fault_endpoint, "export", lambda *_: 1 / 0)
    conf.texts["ttl"] = "soon"
    hook.install(site, "scheduler")
    assert isinstance(bag_of(site)(), Bag)
