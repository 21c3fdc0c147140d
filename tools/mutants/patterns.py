"""Patterns: a piece of Python source that matches syntax trees by their shape.

A pattern does not depend on layout, comments or local names:

- a single capital letter, such as ``A``, matches any expression; the same letter matches the same expression again;
- a single capital letter that is a statement of its own matches one or more statements;
- ``...`` as the last argument of a call matches all further arguments, and as the only statement of a block any block.

The name of a caught exception is not compared. Everything else must be equal: attributes, keywords, operators, global
names.
"""

from __future__ import annotations

import ast
import copy
from typing import Any

Statements = list[ast.stmt]
Captures = dict[str, ast.expr | Statements]
"""The code that each letter stands for."""

_NOT_COMPARED = {"ctx", "kind", "type_comment"}


def parse(text: str) -> ast.expr | Statements:
    """The tree of a pattern: an expression, or statements.

    Raises:
        SyntaxError: the text is not Python.

    """
    body = ast.parse(text).body
    return body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr) else body


def match(pattern: ast.expr | Statements, code: ast.expr | Statements) -> Captures | None:
    """The code that the letters of a pattern stand for; None if the code has another shape."""
    captures: Captures = {}
    return captures if _is_match(pattern, code, captures) else None


def fill(pattern: ast.expr | Statements, captures: Captures) -> ast.expr | Statements:
    """A copy of a pattern in which each letter is replaced by the code that it stands for.

    Raises:
        KeyError: a letter stands for nothing, or for statements where an expression has to be.

    """
    body: Statements = pattern if isinstance(pattern, list) else [ast.Expr(pattern)]
    filled: Statements = _Filler(captures).visit(ast.Module(body=copy.deepcopy(body), type_ignores=[])).body
    is_expression = isinstance(pattern, ast.expr) and len(filled) == 1
    return filled[0].value if is_expression and isinstance(filled[0], ast.Expr) else filled


def _is_match(pattern: Any, node: Any, captures: Captures) -> bool:
    if isinstance(pattern, list):
        return isinstance(node, list) and _is_list_match(pattern, node, captures)
    letter = _letter(pattern)
    if letter is not None:
        return isinstance(node, ast.expr) and _capture(letter, node, captures)
    if not isinstance(pattern, ast.AST):
        return type(pattern) is type(node) and bool(pattern == node)
    if type(pattern) is not type(node):
        return False
    if isinstance(pattern, ast.Call) and isinstance(node, ast.Call) and any(map(_is_ellipsis, pattern.args[-1:])):
        return _is_call_match(pattern, node, captures)
    unnamed = _NOT_COMPARED | {"name"} if isinstance(pattern, ast.ExceptHandler) else _NOT_COMPARED
    fields = (name for name in pattern._fields if name not in unnamed)
    return all(_is_match(getattr(pattern, name), getattr(node, name), captures) for name in fields)


def _is_call_match(pattern: ast.Call, node: ast.Call, captures: Captures) -> bool:
    """Match a call whose pattern leaves further arguments open."""
    first = pattern.args[:-1]
    return _is_match(pattern.func, node.func, captures) and _is_match(first, node.args[: len(first)], captures)


def _is_list_match(pattern: list[Any], nodes: list[Any], captures: Captures) -> bool:
    if len(pattern) == 1 and nodes and isinstance(pattern[0], ast.Expr):
        letter = _letter(pattern[0].value)
        if letter is not None:
            return _capture(letter, nodes, captures)
        if _is_ellipsis(pattern[0].value):
            return True
    return len(pattern) == len(nodes) and all(
        _is_match(part, node, captures) for part, node in zip(pattern, nodes, strict=True)
    )


def _capture(letter: str, code: ast.expr | Statements, captures: Captures) -> bool:
    known = captures.setdefault(letter, code)
    return _text(known) == _text(code)


def _text(code: ast.expr | Statements) -> str:
    return "\n".join(map(ast.unparse, code if isinstance(code, list) else [code]))


def _letter(pattern: object) -> str | None:
    """The letter of a pattern that is only a letter."""
    name = pattern.id if isinstance(pattern, ast.Name) else ""
    return name if len(name) == 1 and name.isupper() else None


def _is_ellipsis(pattern: object) -> bool:
    return isinstance(pattern, ast.Constant) and pattern.value is ...


class _Filler(ast.NodeTransformer):
    def __init__(self, captures: Captures) -> None:
        self._captures = captures

    def visit_Expr(self, node: ast.Expr) -> ast.AST | Statements:
        letter = _letter(node.value)
        code = None if letter is None else self._captures[letter]
        return copy.deepcopy(code) if isinstance(code, list) else self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        letter = _letter(node)
        code = node if letter is None else self._captures[letter]
        if isinstance(code, list):
            raise KeyError(letter)
        return copy.deepcopy(code)
