"""What the documents show, runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

HERE = ROOT
DOCUMENTS = sorted([HERE / "README.md", *(HERE / "docs").glob("*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_code_blocks_run(document: Path) -> None:
    """From the top to the bottom of each document, in one namespace."""
    namespace: dict[str, object] = {"__name__": document.stem}
    for block in BLOCK.findall(document.read_text()):
        exec(compile(block, str(document), "exec"), namespace)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_links_lead_somewhere(document: Path) -> None:
    """Every relative link is a file."""
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"
