"""Walks an instance of each class of the standard library: ``python -m tests.support.stdlib_weights`` prints JSON.

A process of its own, because to make an instance of everything is to touch everything.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from dagcache.sizing import instances
from dagcache.sizing.walk import STOP_TYPES, weigh

_NOT_IMPORTED = {"antigravity", "this", "idlelib", "tkinter", "turtle", "turtledemo", "lib2to3", "test", "msilib"}
_WORDS = bytes(100_000)
_MOST = 20_000


def _classes() -> Iterator[type]:
    for name in sorted(sys.stdlib_module_names - _NOT_IMPORTED):
        try:
            module = importlib.import_module(name)
        except Exception:  # for another system
            continue
        yield from (kind for _, kind in inspect.getmembers(module, inspect.isclass))


def _made() -> dict[type, Any]:
    made = {kind: _instance(kind) for kind in dict.fromkeys(_classes())}
    return {kind: instance for kind, instance in made.items() if type(instance) is kind}


def _instance(kind: Any) -> Any:
    try:
        return kind()
    except BaseException:  # it wants arguments, or is not to be made
        return None


def _failures(made: dict[type, Any], check: Callable[[Any], bool]) -> dict[str, str]:
    failures = {}
    for kind, instance in made.items():
        try:
            outcome = "" if check(instance) else "wrong"
        except Exception as error:
            outcome = repr(error)
        if outcome:
            failures[f"{kind.__module__}.{kind.__qualname__}"] = outcome
    return failures


def _is_weighed(instance: Any) -> bool:
    return weigh([instance], node_limit=_MOST).nbytes >= 72


def _grows_by_an_attribute(instance: Any) -> bool:
    before = weigh([instance], node_limit=_MOST)
    if not before.complete or isinstance(instance, STOP_TYPES):
        return True
    try:
        instance.an_attribute_of_a_test = _WORDS
    except Exception:  # it takes none
        return True
    grown = weigh([instance], node_limit=2 * _MOST).nbytes - before.nbytes
    del instance.an_attribute_of_a_test
    return len(_WORDS) <= grown < 1.03 * len(_WORDS)  # its dict may have to grow


def main() -> None:
    """Print what failed, by check."""
    made = _made()
    found: dict[str, Any] = {"classes": len(made), "weighed": _failures(made, _is_weighed)}
    found["grown"] = _failures(made, _grows_by_an_attribute)
    instances.reader = lambda: None  # type: ignore[assignment]
    found["guessed"] = _failures(made, _is_weighed)
    os.write(1, ("\n" + json.dumps(found) + "\n").encode())
    os._exit(0)  # some instances, such as threads, would block a normal exit


if __name__ == "__main__":
    main()
