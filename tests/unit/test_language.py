"""Plain technical English: some words of the old idiom stay out of pages, docstrings, comments and strings."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import dagcache
from tests.support.paths import ROOT

BANNED = (
    r"(?:nobody|somebody|whoever|whatever|whichever|whereupon|wherein|thereof|whom)\b",
    r"(?:anew|afresh|for ever|at one stroke|for want of|once and for all)\b",
    r"(?:tells?|told|telling)\b",
    r"(?<!there )is no (?!longer\b|more\b|less\b|\w+er than\b)",
)
"""Words, or beginnings of phrases, that no page needs. Ambiguous ones are left to the reader's judgement."""

WORDS = re.compile("|".join(rf"\b(?:{each})" for each in BANNED), re.IGNORECASE)
HEADLESS = re.compile(r"\s*What (?!.*\?)")
"""The beginning of a docstring: it should be a noun phrase or a verb."""

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
PACKAGE = Path(dagcache.__file__).parent
FOLDERS = {
    "dagcache": PACKAGE,
    "sizing": PACKAGE / "sizing",
    "metrics": PACKAGE / "metrics",
    **{name: ROOT / name for name in ("benchmarks", "examples", "tools/scorecard", "tools/monitoring")},
    **{f"tests/{path.parent.name}": path.parent for path in sorted((ROOT / "tests").glob("*/__init__.py"))},
}


def banned_in(text: str, first_line: int = 1) -> Iterator[str]:
    """``line: word`` for each banned word of a text outside of `code`; a phrase may go over a line's end."""
    plain = re.sub(r"\s", " ", re.sub(r"`[^`\n]*`", lambda code: " " * len(code[0]), text))
    for found in WORDS.finditer(plain):
        yield f"{first_line + text.count(chr(10), 0, found.start())}: {found[0]!r}"


def banned_in_module(source: str) -> Iterator[str]:
    """The same for the docstrings, other strings and comments of a module; code itself is free."""
    if not any(banned_in(source)) and '"""What ' not in source:
        return  # parsing all modules would take seconds
    for node in ast.walk(ast.parse(source)):
        yield from banned_in(text_of(node), getattr(node, "lineno", 0))
        if isinstance(node, ast.Expr) and HEADLESS.match(text_of(node.value)):
            yield f"{node.lineno}: a docstring that begins with 'What'"
    if any("#" in line and any(banned_in(line.partition("#")[2])) for line in source.splitlines()):
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        for token in (each for each in tokens if each.type == tokenize.COMMENT):
            yield from banned_in(token.string, token.start[0])


def text_of(node: ast.AST) -> str:
    """A string constant; empty for any other node, and for a single word: that may be a name, as of the user nobody."""
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return text if re.search(r"\s", text) else ""


def report(paths: Iterable[Path]) -> str:
    """A line ``file:line: word`` for each banned word in the files."""
    read = ((path, path.read_text()) for path in paths)
    found = ((path, banned_in_module(text) if path.suffix == ".py" else banned_in(text)) for path, text in read)
    return "\n".join(f"{path}:{each}" for path, faults in found for each in faults)


def test_pages_are_in_plain_technical_english() -> None:
    assert len(PAGES) > 20
    assert report(PAGES) == ""


@pytest.mark.parametrize("folder", FOLDERS.values(), ids=FOLDERS)
def test_texts_in_the_code_are_in_plain_technical_english(folder: Path) -> None:
    modules = {*folder.resolve().rglob("*.py")} - {Path(__file__).resolve()}  # this one has the words
    assert modules
    assert report(sorted(modules)) == ""


@pytest.mark.parametrize(
    "text", ["Nobody knows", "as it was told", "loaded anew", "what is no JSON", "a file that is no trace", "for\never"]
)
def test_an_idiom_is_noticed(text: str) -> None:
    assert list(banned_in(text))


@pytest.mark.parametrize(
    "text",
    ["there is no endpoint", "is no longer resident", "is no larger than", "renewed", "untold", "the user `nobody`"],
)
def test_plain_words_are_not_banned(text: str) -> None:
    assert not list(banned_in(text))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('x = 1\ny = "loaded\\\n anew"\n', "2: 'anew'"),
        ("nobody = 1  # told\n", "1: 'told'"),
        ('"""A line.\n\nIt tells."""\n', "3: 'tells'"),
        ('def f():\n    """What it returns."""\n', "2: a docstring that begins with 'What'"),
        ('f"{1} nobody"\n', "1: 'nobody'"),
    ],
)
def test_the_report_names_the_line_and_the_word(source: str, found: str) -> None:
    assert list(banned_in_module(source)) == [found]


def test_a_single_word_is_a_name() -> None:
    assert list(banned_in_module('user = "nobody"\n')) == []
