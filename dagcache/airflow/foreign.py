"""Objects of plugins in a DAG: timetables, links and weight strategies.

They may refer to state of the whole process. Two loads of a DAG with a timetable that uses a module's calendar share
this calendar: a day added to it counts for both. Pickle would give each thawed DAG a separate calendar. Therefore no
instance of a plugin's class is pickled:

- Airflow's decoder builds a timetable with parts from a plugin in each thaw, from the row's content.
- A registered link is taken from the registry.
- A weight strategy is made from its class: a row holds no more of it.
- An instance of any other class that is neither Airflow's nor a known plain value has no frozen form.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from dagcache.errors import FreezeError
from dagcache.freezing.pickling import StandIn
from dagcache.freezing.reducers import Reducer

_AIRFLOWS = (
    "airflow._shared.",
    "airflow.exceptions.",
    "airflow.models.",
    "airflow.partition_mappers.",
    "airflow.sdk.definitions.",
    "airflow.sdk.exceptions.",
    "airflow.serialization.",
    "airflow.task.",
    "airflow.ti_deps.",
    "airflow.timetables.",
    "airflow.triggers.base.",
    "airflow.utils.",
    "builtins.",
    "kubernetes.client.models.",  # pods in executor_config
)
"""Packages and modules. Not all of Airflow: its providers, and some of its examples, are plugins."""
_PLAIN = frozenset(
    {
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.deque",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "dateutil._common.weekday",
        "dateutil.relativedelta.relativedelta",
        "decimal.Decimal",
        "logging.Logger",  # found by its name
        "pendulum.date.Date",
        "pendulum.datetime.DateTime",
        "pendulum.duration.Duration",
        "pendulum.interval.Interval",
        "pendulum.time.Time",
        "pendulum.tz.timezone.FixedTimezone",
        "pendulum.tz.timezone.Timezone",
        "re.Pattern",
        "uuid.UUID",
        "zoneinfo.ZoneInfo",
    }
)
_DECODERS = ("airflow.serialization.decoders", "airflow.serialization.serialized_objects")  # since 3.2, and before
_STRATEGIES = "airflow.task.priority_strategy.PriorityWeightStrategy"
_CORE = ("airflow.timetables.", "airflow.partition_mappers.")
_TRIES = 2  # failed decodings in thaws after which timetables of a class are no longer frozen

_thread = threading.local()
_failures: Counter[str] = Counter()


def rule(kind: type) -> Reducer | None:
    """The reducer for instances of a class; None stands for pickle's default."""
    if is_known(kind):
        return None
    if any(full_name(base) == _STRATEGIES for base in kind.__mro__):
        return lambda _: (kind, ())
    return _reduce_link


def is_known(kind: type) -> bool:
    """Whether instances of a class may be copied: the class is Airflow's, or its instances are plain values.

    An instance of ``object`` has only its identity, so it may not be copied.
    """
    name = full_name(kind)
    return (name in _PLAIN or name.startswith(_AIRFLOWS)) and kind is not object and _is_what_it_says(kind)


def full_name(kind: type) -> str:
    """A class's module and name, with the classes that it stands in."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_what_it_says(kind: type) -> bool:
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


# ---- links ----


def _reduce_link(instance: Any) -> tuple[Any, ...]:
    kind = type(instance)
    for position, link in enumerate(registered_links()):
        if link is instance:
            return registered_link, (position, kind)
    raise FreezeError(
        f"a {full_name(kind)} cannot be frozen: its class is not Airflow's, and its state may be shared", kind
    )


def registered_link(position: int, kind: type) -> object:
    """A link that plugins have registered.

    Raises:
        LookupError: the registry has another link at this position.

    """
    link = registered_links()[position]
    if type(link) is not kind:
        raise LookupError(f"link {position} of the plugins is not a {full_name(kind)}")
    return link


def registered_links() -> list[Any]:
    """The links that plugins have registered."""
    plugins = importlib.import_module("airflow.plugins_manager")
    if hasattr(plugins, "get_operator_extra_links"):
        return list(plugins.get_operator_extra_links())
    return list(plugins.operator_extra_links or ())  # Airflow 3.1


# ---- timetables ----


def timetable_of(serdag: Any) -> str:
    """The timetable in a row, as JSON; empty if there is none. Call it before Airflow reads the row."""
    try:
        return json.dumps(serdag.data["dag"]["timetable"])
    except Exception:  # a row may hold anything
        return ""


def note(dag: Any, timetable: str) -> None:
    """Keep the result of `timetable_of` until this thread freezes that DAG, or loads another."""
    _thread.noted = getattr(dag, "timetable", None), timetable


def rebuilt(dag: Any) -> Iterable[StandIn]:
    """The DAG's timetable with the call that decodes it, if it has parts from a plugin and its row was noted.

    Raises:
        FreezeError: thaws failed to decode timetables of this class.

    """
    timetable, text = _thread.__dict__.pop("noted", (None, ""))
    if timetable is None or timetable is not getattr(dag, "timetable", None) or not text:
        return []
    payload = json.loads(text)
    foreign = [name for name in _types_in(payload) if "." in name and not name.startswith(_CORE)]
    if not foreign:
        return []
    if _failures[foreign[0]] >= _TRIES:
        raise FreezeError(f"a {foreign[0]} cannot be frozen: thaws failed to decode others", type(timetable))
    return [(timetable, (decoded, (payload, foreign[0])))]


def decoded(payload: Any, name: str) -> Any:
    """Decode a timetable with Airflow's decoder; a failure counts for the plugin's class ``name``."""
    try:
        return _decoder()(payload)
    except Exception:
        _failures[name] += 1
        raise


def _decoder() -> Any:
    for name in _DECODERS:
        with suppress(ImportError, AttributeError):
            return importlib.import_module(name).decode_timetable
    raise ImportError(f"no decoder of timetables in {' or '.join(_DECODERS)}")


def _types_in(payload: Any) -> Iterator[str]:
    if isinstance(payload, dict):
        name = payload.get("__type")
        if isinstance(name, str):
            yield name
        payload = list(payload.values())
    if isinstance(payload, list):
        for part in payload:
            yield from _types_in(part)
