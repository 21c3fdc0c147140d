"""CPython's own suite for mappings, over DagCache."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from test import mapping_tests

from dagcache import DagCache


class Mapping(DagCache[Any, Any]):
    """A cache with a dictionary's constructors, which the suite needs and a cache has no use for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(max_bytes=0, sizer=lambda _: 10_000)
        self.update(*args, **kwargs)

    def copy(self) -> Mapping:
        """The same keys and values."""
        return type(self)(self)

    @classmethod
    def fromkeys(cls, keys: Iterable[Any], value: Any = None) -> Mapping:
        """One value under many keys."""
        mapping = cls()
        for key in keys:
            mapping[key] = value
        return mapping


class FrozenMapping(Mapping):
    """Every value comes back from its frozen copy."""

    def get(self, key: Any, default: Any = None) -> Any:
        """Look up after all live copies were given up."""
        used = self.stats().frozen_bytes + self.stats().overhead_bytes
        self.resize(max(1, used))
        self.resize(0)
        return super().get(key, default)


class TestLive(mapping_tests.TestHashMappingProtocol):
    """The whole suite, over live copies."""

    type2test = Mapping

    def test_mutatingiteration(self) -> None:
        """A cache iterates over a snapshot, so what is an error for a dict is none here."""
        cache = self._empty_mapping()
        cache[1] = 1
        for key in cache:
            cache[key + 1] = 1
        self.assertEqual(len(cache), 2)

    def test_repr(self) -> None:
        """A cache does not show its values."""
        self.assertNotIn("secret", repr(Mapping(a="secret")))

    def test_repr_deep(self) -> None:
        """A cache does not show its values, however deep."""
        deep: list[Any] = []
        for _ in range(10_000):
            deep = [deep]
        self.assertLess(len(repr(Mapping({1: deep}))), 100)


class TestFrozen(mapping_tests.BasicTestMappingProtocol):
    """The part of the suite that does not ask for identity, over frozen copies."""

    type2test = FrozenMapping
