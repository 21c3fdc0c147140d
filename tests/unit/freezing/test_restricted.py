"""Unpickling with an allow-list: nothing else is looked up, imported or called."""

from __future__ import annotations

import builtins
import copyreg
import enum
import functools
import operator
import os
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dagcache.errors import NotAllowedError, ThawError
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.freezing.restricted import AllowList, unpickled


class Plain:
    """Of this module, which is on the list."""

    class Inner(enum.Enum):
        """A class within a class."""

        ONE = 1

    @staticmethod
    def method() -> None:
        """Not a class."""


def function() -> None:
    """Of this module, and not a class."""


borrowed = OrderedDict
ALLOWED = AllowList([("datetime", "timedelta"), ("builtins", "set")], [__name__])


class Call:
    """Pickled, it is a call."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def read(value: object) -> Any:
    """The value again, through the list."""
    return unpickled(pickle.dumps(value, 5), (), ALLOWED)


def names(module: str, name: str) -> bytes:
    """A pickle that looks a name up and does nothing more."""
    text = b"".join(b"\x8c" + bytes([len(part)]) + part for part in (module.encode(), name.encode()))
    return b"\x80\x05" + text + b"\x93."


@pytest.mark.parametrize("value", [Plain.Inner.ONE, Plain.Inner, timedelta(1), {1, 2}, [Plain]])
def test_names_on_the_list_are_found(value: object) -> None:
    """Those of pairs, the classes of modules, and classes within these."""
    assert read(value) == value


@pytest.mark.parametrize(
    "value",
    [
        Call(os.system, ("exit 3",)),
        Call(eval, ("1",)),
        Call(exec, ("1",)),
        Call(getattr, (Plain, "method")),
        Call(functools.partial, (os.system, "exit 3")),
        Call(operator.attrgetter, ("__globals__",)),
        Call(operator.methodcaller, ("method",)),
        Call(builtins.__import__, ("os",)),
        Call(copyreg._reconstructor, (OrderedDict, object, None)),  # type: ignore[attr-defined]
        OrderedDict(),
        function,
    ],
    ids=lambda value: str(getattr(value, "reduced", value)).split("(")[0],
)
def test_other_names_are_refused(value: object) -> None:
    """However well the pickle is formed."""
    with pytest.raises(NotAllowedError):
        read(value)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (__name__, "os.system"),
        (__name__, "Plain.method"),
        (__name__, "function.__globals__"),
        (__name__, "Plain.__init__.__globals__"),
        (__name__, "borrowed"),
        (__name__, "ALLOWED"),
        (__name__, "Plain.Inner.ONE"),
        ("datetime", "timedelta.__new__"),
        ("datetime", "datetime_CAPI"),
        ("__builtin__", "set"),  # pickles of Python 2 are not translated
        (__name__ + ".deeper", "Plain"),
        ("", "set"),
    ],
)
def test_a_name_leads_to_a_class_of_its_module_or_is_a_pair(module: str, name: str) -> None:
    """Neither to what a module imports, nor beyond a class."""
    with pytest.raises(NotAllowedError):
        unpickled(names(module, name), (), ALLOWED)


def test_a_refused_module_is_not_imported() -> None:
    """Its code would run."""
    with pytest.raises(NotAllowedError):
        unpickled(names("this", "s"), (), ALLOWED)
    assert "this" not in sys.modules


def test_a_package_stands_for_its_modules() -> None:
    """And not for others whose names begin alike."""
    allowed = AllowList([], ["json."])
    assert allowed.find("json.decoder", "JSONDecoder")
    with pytest.raises(NotAllowedError):
        allowed.find("jsonx.decoder", "JSONDecoder")


@pytest.mark.parametrize(
    ("item", "allows"),
    [(Plain, True), (Plain.Inner, True), (timedelta, True), (set, True), (function, False), (OrderedDict, False),
     (len, False), (Plain.method, False), (5, False)],
)  # fmt: skip
def test_the_list_knows_the_objects_that_it_finds(item: object, allows: bool) -> None:
    """So a value is known to be readable before it is written."""
    assert ALLOWED.allows(item) is allows


def test_what_is_written_is_what_can_be_read() -> None:
    """A freezer gives a portable form exactly to values whose names are all on the list."""
    freezer = PickleFreezer(allowed=ALLOWED)
    for value in (timedelta(1), [Plain], Plain(), Plain.Inner.ONE, {"a": [1]}):
        form = freezer.to_portable(freezer.freeze(value).data)
        assert form is not None
        assert type(freezer.from_portable(form)[0]) is type(value)
    other: list[Any] = [function, OrderedDict(), len, [].append, Plain().method, [Plain, len], {"a": OrderedDict}]
    for value in other:
        assert freezer.to_portable(freezer.freeze(value).data) is None


def test_without_a_list_nothing_is_portable_nor_read() -> None:
    """As in a cache without a store."""
    form = portable(PickleFreezer(allowed=ALLOWED), 1)
    freezer = PickleFreezer()
    assert freezer.to_portable(freezer.freeze(1).data) is None
    with pytest.raises(ThawError, match="allow-list"):
        freezer.from_portable(form)


def portable(freezer: PickleFreezer, value: object) -> bytes:
    """The portable form of a value."""
    form = freezer.to_portable(freezer.freeze(value).data)
    assert form is not None
    return form


@pytest.mark.parametrize(
    "damage",
    [lambda form: form[:10], lambda form: form[:30], lambda form: b"\x02" + form[1:], lambda form: form[:-8],
     lambda form: form[:1] + b"\xff" + form[2:], lambda form: form[:9] + b"\x01" + form[10:]],
    ids=["no head", "no pickle", "format", "truncated", "length", "dictionary"],
)  # fmt: skip
def test_damaged_forms_are_thaw_errors(damage: Callable[[bytes], bytes]) -> None:
    """Never another error, nor a value."""
    freezer = PickleFreezer(allowed=ALLOWED)
    with pytest.raises(ThawError):
        freezer.from_portable(damage(portable(freezer, ["a value"] * 3)))


def test_the_frozen_bytes_that_come_with_a_value_are_those_of_this_freezer() -> None:
    """They thaw, and go out again as they came."""
    form = portable(PickleFreezer([shared := ["shared"]], allowed=ALLOWED), [shared, 1])
    mine: list[Any] = ["shared"]
    freezer = PickleFreezer([mine], allowed=ALLOWED)
    value, data = freezer.from_portable(form)
    assert value == [["shared"], 1]
    assert value[0] is mine
    assert freezer.thaw(data)[0] is mine  # type: ignore[index]
    assert freezer.to_portable(data) == form
