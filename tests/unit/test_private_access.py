"""Tests use public names of a `DagCache`, and the probe: no other file under `tests/` uses the private ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagcache import DagCache

TESTS = Path(__file__).parents[1]
PROBE = TESTS / "support" / "probe.py"

PRIVATE = {
    name
    for name in (*vars(DagCache()), *vars(DagCache))
    if name.startswith("_") and not name.startswith(("__", "_abc")) and name != "_after_fork_in_child"
}
"""Private attributes and methods of a cache, without the one that components and servers have as well."""

ANY_PRIVATE = re.compile(rf"""[."'](?:{"|".join(PRIVATE)})\b""")
"""Spares the sources without any of these names the analysis."""

OTHERS = {"simulated._store"}
"""Expressions that are no cache's attributes: the store of a simulation."""


def private_uses(source: str) -> list[str]:
    """The expressions of a source that use a private name of a cache, by attribute or as a text."""
    return list(_uses(ast.parse(source), owns_self=True)) if ANY_PRIVATE.search(source) else []


def _uses(node: ast.AST, owns_self: bool) -> Iterator[str]:
    """``owns_self``: whether the attributes of ``self`` are those of the test's own class, and not of a cache."""
    if isinstance(node, ast.ClassDef):
        owns_self = not any("DagCache" in ast.unparse(base) for base in node.bases)
    if isinstance(node, ast.Attribute) and node.attr in PRIVATE:
        is_own = owns_self and ast.unparse(node.value) == "self"
        if not is_own and ast.unparse(node) not in OTHERS:
            yield ast.unparse(node)
    elif isinstance(node, ast.Constant) and node.value in PRIVATE:
        yield repr(node.value)
    for child in ast.iter_child_nodes(node):
        yield from _uses(child, owns_self)


def test_the_probe_alone_uses_private_names_of_a_cache() -> None:
    found = {path: private_uses(path.read_text()) for path in sorted(TESTS.rglob("*.py"))}
    assert found.pop(PROBE)
    assert {str(path): uses for path, uses in found.items() if uses} == {}


@pytest.mark.parametrize(
    "source",
    [
        "cache._store.used",
        "self.cache._upkeep.timer = timer",
        "monkeypatch.setattr(cache, '_clock', clock)",
        "class Own(DagCache[int, str]):\n    def used(self): return self._store.used",
    ],
)
def test_a_private_name_is_noticed(source: str) -> None:
    assert private_uses(source)


@pytest.mark.parametrize(
    "source",
    [
        "cache.max_bytes",
        "model._learned",
        "class Simulation:\n    def used(self): return self._store.used",
    ],
)
def test_other_names_are_not_taken_for_private_ones(source: str) -> None:
    assert not private_uses(source)
