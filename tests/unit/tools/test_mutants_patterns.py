"""Patterns of the seeded faults: what matches, and what is put in its place."""

from __future__ import annotations

import ast

import pytest

from tools.mutants.patterns import fill, match, parse


def rewritten(pattern: str, code: str, new: str) -> str | None:
    """The text of `new` with the letters of a pattern that matched; None if it did not."""
    captures = match(parse(pattern), parse(code))
    if captures is None:
        return None
    filled = fill(parse(new), captures)
    return "\n".join(map(ast.unparse, filled if isinstance(filled, list) else [filled]))


@pytest.mark.parametrize(
    ("pattern", "code", "new", "expected"),
    [
        ("A + 1", "x.y + 1", "A - 1", "x.y - 1"),
        ("A + B", "f(x) + 2", "B + A", "2 + f(x)"),
        ("A if B else 0", "(x if y\n else 0)", "A", "x"),
        ("self.f(...)", "self.f(1, *more, key=2)", "0", "0"),
        ("self.f(A, ...)", "self.f(1, 2)", "A", "1"),
        ("self.f(...)", "self.f()", "0", "0"),
        ("A.used = B", "entry.used = now", "A.used = 0", "entry.used = 0"),
        ("A += 1", "n += 1", "A += 2", "n += 2"),
        ("if A: ...", "if x:\n  y\n  z", "pass", "pass"),
        ("if A: B", "if x:\n  y\n  z", "if not A: B", "if not x:\n    y\n    z"),
        ("if A: B", "if x:\n  y\n  z", "B", "y\nz"),
        ("try:\n  A()\nexcept OSError:\n  ...", "try:\n  f()\nexcept OSError as error:\n  g(error)", "A()", "f()"),
        ("[A for A in B]", "[x for x in y]", "list(B)", "list(y)"),
    ],
)
def test_a_letter_stands_for_the_code_in_its_place(pattern: str, code: str, new: str, expected: str) -> None:
    assert rewritten(pattern, code, new) == expected


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("A + 1", "x - 1"),
        ("A + 1", "x + 2"),
        ("A + 1", "x + True"),
        ("A.used", "A.seen"),
        ("self.f(A)", "self.g(x)"),
        ("self.f(A)", "self.f(x, y)"),
        ("self.f(A)", "self.f(x, key=y)"),
        ("self.f(A, ...)", "self.f()"),
        ("self.f(1, ...)", "self.f(2)"),
        ("A == A", "x == y"),
        ("if A: ...", "if x:\n  y\nelse:\n  z"),
        ("if A: ...\nelse: ...", "if x:\n  y"),
        ("try:\n  A\nexcept OSError:\n  ...", "try:\n  f()\nexcept KeyError:\n  pass"),
    ],
)
def test_all_else_must_be_equal(pattern: str, code: str) -> None:
    assert match(parse(pattern), parse(code)) is None


def test_the_same_letter_stands_for_the_same_code() -> None:
    assert rewritten("A.live is not B or C.get(A.key) is not A", "e.live is not c or t.get(e.key) is not e", "A") == "e"


@pytest.mark.parametrize("new", ["C", "A + C", "f(B)"])
def test_a_letter_that_stands_for_nothing_of_its_kind_is_an_error(new: str) -> None:
    captures = match(parse("if A: B"), parse("if x:\n  y\n  z"))
    assert captures is not None
    with pytest.raises(KeyError):
        fill(parse(new), captures)


def test_filling_a_pattern_leaves_the_matched_code_alone() -> None:
    code = parse("x + 1")
    captures = match(parse("A + 1"), code)
    assert captures is not None
    filled = fill(parse("A"), captures)
    assert isinstance(filled, ast.Name)
    filled.id = "y"
    assert isinstance(code, ast.expr)
    assert ast.unparse(code) == "x + 1"
