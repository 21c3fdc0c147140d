"""What in a DAG is not Airflow's own: timetables, links and weight strategies of plugins.

What they refer to may belong to the whole process: two loads of a DAG whose timetable has a module's calendar share
that calendar, and a day that is added to it counts for both. Pickle would give each thawed DAG a calendar of its own.
So none of their instances is pickled:

- a timetable that a plugin has a part in is built by Airflow's own decoder, from what the row says, in each thaw;
- a link that a plugin has registered is the registered one again;
- a weight strategy is made of its class, which is all that a row says of it;
- whatever else is of a class that is neither Airflow's nor known as a plain value has no frozen form.
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
    "airflow.serialization.",
    "airflow.task.",
    "airflow.ti_deps.",
    "airflow.timetables.",
    "airflow.triggers.base.",
    "airflow.utils.",
    "builtins.",
    "kubernetes.client.models.",  # what pods in executor_config are made of
)
"""Packages and modules. Not all of Airflow: its providers are plugins as well, and so are some of its examples."""
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
_TRIES = 2  # that decoding timetables of one class may fail in thaws before these are not frozen any more

_thread = threading.local()
_failures: Counter[str] = Counter()


def rule(kind: type) -> Reducer | None:
    """How to pickle instances of a class: None is pickle's own way."""
    if is_known(kind):
        return None
    if any(_full_name(base) == _STRATEGIES for base in kind.__mro__):
        return lambda _: (kind, ())
    return _reduce_link


def is_known(kind: type) -> bool:
    """Whether instances of a class may be copied: it is Airflow's own, or its instances are plain values.

    Of ``object`` nothing is known but its identity.
    """
    name = _full_name(kind)
    return (name in _PLAIN or name.startswith(_AIRFLOWS)) and kind is not object and _is_what_it_says(kind)


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_what_it_says(kind: type) -> bool:
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


# ---- links ----


def _reduce_link(instance: Any) -> tuple[Any, ...]:
    kind = type(instance)
    for position, link in enumerate(_registered_links()):
        if link is instance:
            return registered_link, (position, kind)
    raise FreezeError(
        f"a {_full_name(kind)} cannot be frozen: its class is not Airflow's, and its state may be shared", kind
    )


def registered_link(position: int, kind: type) -> object:
    """A link that plugins have registered.

    Raises:
        LookupError: there is another one by now.

    """
    link = _registered_links()[position]
    if type(link) is not kind:
        raise LookupError(f"link {position} of the plugins is not a {_full_name(kind)}")
    return link


def _registered_links() -> list[Any]:
    plugins = importlib.import_module("airflow.plugins_manager")
    if hasattr(plugins, "get_operator_extra_links"):
        return list(plugins.get_operator_extra_links())
    return list(plugins.operator_extra_links or ())  # Airflow 3.1


# ---- timetables ----


def timetable_of(serdag: Any) -> str:
    """What a row says of its DAG's timetable, as JSON; to be asked for before the row is read. Empty if nothing."""
    try:
        return json.dumps(serdag.data["dag"]["timetable"])
    except Exception:  # a row may hold anything
        return ""


def note(dag: Any, timetable: str) -> None:
    """Remember what `timetable_of` told until this thread freezes that DAG, or loads another."""
    _thread.noted = getattr(dag, "timetable", None), timetable


def rebuilt(dag: Any) -> Iterable[StandIn]:
    """The DAG's timetable, with the call that decodes it, if a plugin has a part in it and a row was noted for it.

    Raises:
        FreezeError: such timetables could be decoded when they were loaded, but not in thaws.

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
    """What Airflow's decoder makes of a timetable; a failure counts against the plugin's class of that name."""
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
