"""The planting of a fault: one change, in the one place in a function that has the shape."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tools.mutants import patterns
from tools.mutants.fault import Fault, FaultError
from tools.mutants.patterns import Captures, Statements

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"


def plant(source: str, fault: Fault) -> str:
    """The source of a module with the fault in it.

    Raises:
        FaultError: as for `find_function` and `patch`.

    """
    tree = ast.parse(source)
    patch(find_function(tree, fault), fault)
    return ast.unparse(tree) + "\n"


def find_function(tree: ast.Module, fault: Fault) -> Function:
    """The function that a fault names.

    Raises:
        FaultError: there is none, or there are several.

    """
    found = [node for name, node in _functions(tree) if f".{name}".endswith(f".{fault.function}")]
    if len(found) != 1:
        raise FaultError(f"{fault.name!r}: {len(found)} functions {fault.function} in {fault.module}, not 1")
    return found[0]


def patch(function: Function, fault: Fault) -> None:
    """Change a function in place.

    Raises:
        FaultError: no place has the shape, or several have it, or the patch is wrong or changes nothing.

    """
    old, new = patterns.parse(fault.patch.old), patterns.parse(fault.patch.new)
    if isinstance(old, ast.expr) and isinstance(new, ast.expr):
        places = list(_expressions(function, old))
    else:
        old, new = _statements(old), _statements(new)
        places = list(_blocks(function, old))
    if len(places) != 1:
        raise FaultError(f"{fault.name!r}: {len(places)} places in {fault.function} match {fault.patch.old!r}, not 1")
    before = ast.unparse(function)
    try:
        places[0].put(new)
    except KeyError as error:
        raise FaultError(f"{fault.name!r}: {error} in {fault.patch.new!r} stands for nothing of its kind") from None
    if ast.unparse(function) == before:
        raise FaultError(f"{fault.name!r}: the patch changes nothing in {fault.function}")


@dataclass(frozen=True)
class _Place:
    """Code that matched: a field of a node, or some elements of a field that is a list."""

    parent: ast.AST
    field: str
    elements: slice | None
    captures: Captures

    def put(self, pattern: ast.expr | Statements) -> None:
        code = patterns.fill(pattern, self.captures)
        if self.elements is None:
            setattr(self.parent, self.field, code)
        else:
            getattr(self.parent, self.field)[self.elements] = code if isinstance(code, list) else [code]


def _functions(scope: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """All functions below a node, with their qualified names."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            name = f"{prefix}{node.name}"
            if not isinstance(node, ast.ClassDef):
                yield name, node
            yield from _functions(node, f"{name}.")
        else:
            yield from _functions(node, prefix)


def _expressions(function: Function, pattern: ast.expr) -> Iterator[_Place]:
    for parent in ast.walk(function):
        for field, value in ast.iter_fields(parent):
            is_list = isinstance(value, list)
            for index, child in enumerate(value if is_list else [value]):
                captures = patterns.match(pattern, child) if isinstance(child, ast.expr) else None
                if captures is not None:
                    yield _Place(parent, field, slice(index, index + 1) if is_list else None, captures)


def _blocks(function: Function, pattern: Statements) -> Iterator[_Place]:
    """The runs of statements that match, within each block."""
    for parent in ast.walk(function):
        for field, value in ast.iter_fields(parent):
            if not isinstance(value, list) or not value or not isinstance(value[0], ast.stmt):
                continue
            for start in range(len(value) - len(pattern) + 1):
                elements = slice(start, start + len(pattern))
                captures = patterns.match(pattern, value[elements])
                if captures is not None:
                    yield _Place(parent, field, elements, captures)


def _statements(code: ast.expr | Statements) -> Statements:
    return code if isinstance(code, list) else [ast.Expr(code)]
