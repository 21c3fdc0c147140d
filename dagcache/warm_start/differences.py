"""The differences between two fingerprints."""

from __future__ import annotations

from collections.abc import Mapping


def differing_parts(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The names of the parts in which two fingerprints differ, sorted."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
