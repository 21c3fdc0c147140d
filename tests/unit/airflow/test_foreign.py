"""Objects of plugins in a DAG: which classes may be copied, and how the others are restored."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import json
import re
import sys
import uuid
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dagcache.airflow import foreign
from dagcache.errors import FreezeError

_TIMETABLE = {"__type": "company.Calendar", "__var": {"days": [1, {"__type": "company.Day"}]}}


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put stand-ins for modules in place of Airflow's."""
    for name in (*foreign._DECODERS, "airflow.plugins_manager"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(foreign, "_failures", collections.Counter())

    def put(name: str, **names: Any) -> ModuleType:
        module = ModuleType(name)
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return put


class Link:
    """A link of a plugin."""


@pytest.mark.parametrize("kind", [dict, dt.datetime, decimal.Decimal, re.Pattern, uuid.UUID, collections.OrderedDict])
def test_plain_values_may_be_copied(kind: type) -> None:
    """By pickle's own way."""
    assert foreign.is_known(kind)
    assert foreign.rule(kind) is None


@pytest.mark.parametrize("kind", [object, Link, SimpleNamespace])
def test_an_instance_of_any_other_class_may_not(kind: type) -> None:
    """Its state may belong to the process."""
    assert not foreign.is_known(kind)
    assert foreign.rule(kind) is not None


def test_a_class_that_only_claims_to_be_airflows_may_not(modules: Any) -> None:
    """The module has another class of that name, or none."""
    impostor = type("Timetable", (), {"__module__": "airflow.timetables.simple"})
    module = modules("airflow.timetables.simple")
    assert not foreign.is_known(impostor)
    module.Timetable = impostor
    assert foreign.is_known(impostor)


def test_a_weight_strategy_is_made_from_its_class(modules: Any) -> None:
    """A row holds no more of it."""
    base = type("PriorityWeightStrategy", (), {"__module__": "airflow.task.priority_strategy"})
    own = type("Own", (base,), {"__module__": "company"})
    reduce = foreign.rule(own)
    assert reduce is not None
    assert reduce(own()) == (own, ())


# ---- links ----


@pytest.mark.parametrize("version", ["since 3.2", "3.1"])
def test_a_registered_link_is_restored_from_the_registry(modules: Any, version: str) -> None:
    """As the same object."""
    links = [Link(), Link()]
    registry = {"operator_extra_links": links} if version == "3.1" else {"get_operator_extra_links": lambda: links}
    modules("airflow.plugins_manager", **registry)
    reduce = foreign.rule(Link)
    assert reduce is not None
    reduced = reduce(links[1])
    assert isinstance(reduced, tuple)
    restore, arguments = reduced
    assert restore(*arguments) is links[1]


def test_a_registry_without_links_has_none(modules: Any) -> None:
    """Airflow 3.1 leaves the list out then."""
    modules("airflow.plugins_manager", operator_extra_links=None)
    reduce = foreign.rule(Link)
    assert reduce is not None
    with pytest.raises(FreezeError, match=r"test_foreign\.Link cannot be frozen"):
        reduce(Link())


def test_a_registry_that_has_changed_is_an_error(modules: Any) -> None:
    """The value is then loaded."""
    modules("airflow.plugins_manager", get_operator_extra_links=lambda: [object()])
    with pytest.raises(LookupError, match="link 0 of the plugins is not a"):
        foreign.registered_link(0, Link)


# ---- timetables ----


def noted(timetable: object = _TIMETABLE, text: str | None = None) -> Any:
    """A DAG with a noted row that has this timetable."""
    row = SimpleNamespace(data={"dag": {"timetable": timetable}})
    dag = SimpleNamespace(timetable=object())
    foreign.note(dag, foreign.timetable_of(row) if text is None else text)
    return dag


@pytest.mark.parametrize("decoder", foreign._DECODERS)
def test_a_plugins_timetable_is_decoded_in_each_thaw(modules: Any, decoder: str) -> None:
    """From the text of the row, by the decoder of this version of Airflow."""
    seen: list[object] = []
    modules(decoder, decode_timetable=seen.append)
    dag = noted()
    [(timetable, (call, arguments))] = foreign.rebuilt(dag)
    assert timetable is dag.timetable
    call(*arguments)
    assert seen == [_TIMETABLE]


@pytest.mark.parametrize("own", [{"__type": "airflow.timetables.simple.Once"}, {"__type": "dict"}, [1], None])
def test_airflows_own_timetables_are_pickled(own: object) -> None:
    """No part of them is a plugin's."""
    assert list(foreign.rebuilt(noted(own))) == []


def test_a_note_serves_one_dag_once() -> None:
    """Another DAG, or a second time, has none."""
    dag = noted()
    assert list(foreign.rebuilt(SimpleNamespace(timetable=object()))) == []
    assert list(foreign.rebuilt(dag)) == []
    noted(text="")
    assert list(foreign.rebuilt(dag)) == []


@pytest.mark.parametrize("data", [None, [], {}, {"dag": 1}, {"dag": {"timetable": {1, 2}}}])
def test_a_row_of_an_unknown_shape_has_no_timetable(data: Any) -> None:
    """A row may hold anything."""
    assert foreign.timetable_of(SimpleNamespace(data=data)) == ""


def test_timetables_that_thaws_fail_to_decode_are_not_frozen(modules: Any) -> None:
    """After two failures."""

    def fail(_: object) -> None:
        raise KeyError("on purpose")

    modules(foreign._DECODERS[0], decode_timetable=fail)
    for _ in range(2):
        [(_, (call, arguments))] = foreign.rebuilt(noted())
        with pytest.raises(KeyError):
            call(*arguments)
    with pytest.raises(FreezeError, match=r"a company.Calendar cannot be frozen: thaws failed to decode others"):
        foreign.rebuilt(noted())


def test_an_airflow_without_a_known_decoder_is_an_error_of_the_thaw(modules: Any) -> None:
    """Which names the places that were tried."""
    with pytest.raises(ImportError, match=r"no decoder of timetables in airflow\.serialization\.decoders or "):
        foreign.decoded(json.loads(json.dumps(_TIMETABLE)), "company.Calendar")
