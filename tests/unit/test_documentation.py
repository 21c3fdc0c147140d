"""The documents: their code runs, their links lead somewhere, and they agree with the code that they describe."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dagcache
from benchmarks.readme import CHART, HELD_MARK, MARK, chart, every_loop, headline, held, loops
from dagcache.airflow.provider_info import get_provider_info
from dagcache.airflow.reporting import PRESSURE, REGISTRY
from dagcache.cli.main import _COMMANDS
from dagcache.metrics import verdict as top_verdict
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("**/*.md")])
INTERNALS = sorted((DOCS / "internals").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
GENERATED = re.compile(r"<!-- ([\w-]+) -->\n.*?<!-- /\1 -->", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
PATH = re.compile(r"`((?:\w+/)+[\w.-]*|\w+\.(?:py|md|yml|toml))`")
FIGURE = re.compile(
    r"\d (?:times|x) (?:faster|slower|as fast|less|more)"
    r"|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty) times (?:as |faster|slower)"
    r"|\d (?:s|seconds|ms) (?:a|per) (?:\w+ )?(?:sweep|lap|loop)"
    r"|\d (?:us|µs|microseconds|ns) (?:a|per) (?:hit|miss|lookup|task)"
    r"|\d (?:MiB|GiB) of (?:RSS|resident)"
)
"""Figures that a benchmark measures. They stand in its generated block only."""

MEASURED = {"benchmarks.md", "policy.md", "reliability.md", "advise.md", "freezing.md", "sizing.md"}
"""Pages about measurements: a figure there has the command beside it."""


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def anchors(document: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", document.read_text()), re.MULTILINE)
    plain = (re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in plain}


def broken_links(document: Path, text: str) -> Iterator[str]:
    """The relative links of a text that lead to no file, or to no heading of it."""
    for file, anchor in LINK.findall(FENCED.sub("", text)):
        target = document.parent / file if file else document
        if not target.exists():
            yield file
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield f"{file}#{anchor}"


def prose(text: str) -> str:
    """A document without its code and without what commands have written into it."""
    return FENCED.sub("", GENERATED.sub("", text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_the_code_blocks_run(document: Path) -> None:
    """From the top to the bottom of each document, in one namespace."""
    namespace: dict[str, object] = {"__name__": document.stem}
    for block in BLOCK.findall(document.read_text()):
        exec(compile(block, str(document), "exec"), namespace)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_the_links_lead_somewhere(document: Path) -> None:
    assert list(broken_links(document, document.read_text())) == []


@pytest.mark.parametrize("link", ["[x](docs/absent.md)", "[x](docs/faq.md#absent)", "[x](#absent)"])
def test_a_broken_link_is_noticed(link: str) -> None:
    assert list(broken_links(ROOT / "README.md", link))


@pytest.mark.skipif(not (ROOT / "dagcache").is_dir(), reason="the tests run against an installed package")
@pytest.mark.parametrize("document", INTERNALS, ids=name_of)
def test_the_internals_name_files_that_exist(document: Path) -> None:
    paths = set(PATH.findall(document.read_text()))
    assert paths
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_each_change_has_a_file_to_begin_in() -> None:
    table = (DOCS / "internals" / "finding-your-way.md").read_text().partition("## Changes")[2]
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \| [^|]+ \|$", table, re.MULTILINE)
    assert len(rows) >= 30
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert all(PATH.search(begins) for _, begins in rows)


def test_every_public_name_is_in_the_reference() -> None:
    page = (DOCS / "api.md").read_text()
    public = {name for name in dagcache.__all__ if not issubclass(getattr(dagcache, name), Exception)}
    assert set(re.findall(r"^::: dagcache\.(\w+)$", page, re.MULTILINE)) == {*public, "errors"}


def test_every_command_has_its_exit_codes_documented() -> None:
    table = (DOCS / "operating.md").read_text().partition("## Exit codes")[2].partition("\n## ")[0]
    commands = {f"dagcache {name}" for name in _COMMANDS}
    assert commands <= set(re.findall(r"`(dagcache \w+)`", table))


def test_prometheus_is_configured_for_the_directory_that_the_setting_shows() -> None:
    example = get_provider_info()["config"]["dagcache"]["options"]["metrics_targets"]["example"]
    assert f'"{example}/*.json"' in (DOCS / "metrics.md").read_text()


def test_the_readme_has_the_figures_of_the_page_of_benchmarks() -> None:
    """`python -m benchmarks.readme` writes them."""
    rows = loops((DOCS / "benchmarks.md").read_text())
    assert f"<!-- {MARK} -->\n{headline(rows)}\n<!-- /{MARK} -->" in (ROOT / "README.md").read_text()
    assert (ROOT / CHART).read_text() == chart(rows)


def test_the_versions_in_a_gib_are_those_of_the_loops_own_rows() -> None:
    """The same command writes them."""
    page = (DOCS / "benchmarks.md").read_text()
    assert f"<!-- {HELD_MARK} -->\n{held(every_loop(page))}\n<!-- /{HELD_MARK} -->" in page


@pytest.mark.parametrize("page", ["README.md", "PYPI.md"])
def test_code_on_the_first_pages_fits_a_narrow_column(page: str) -> None:
    """A longer line is cut off, or has a scroll bar."""
    blocks = re.findall(r"^```\w+\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    assert [line for block in blocks for line in block.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("document", [each for each in DOCUMENTS if each.name not in MEASURED], ids=name_of)
def test_measured_figures_stand_in_generated_blocks_only(document: Path) -> None:
    assert FIGURE.findall(prose(document.read_text())) == []


@pytest.mark.parametrize(
    "text",
    [
        "dagcache is 8 times faster",
        "eleven times as fast with a quarter of the memory",
        "a sweep takes 5.7 s a sweep",
        "it took 0.51 s per warm sweep",
        "71 us a miss",
        "2.1 GiB of RSS",
    ],
)
def test_a_measured_figure_is_noticed(text: str) -> None:
    assert FIGURE.search(prose(text))
    assert not FIGURE.search(prose(f"<!-- block -->\n{text}\n<!-- /block -->"))


def test_the_page_of_top_has_the_verdicts_of_the_command() -> None:
    """In a row, ``...`` stands for a variable part."""
    table = (DOCS / "top.md").read_text().partition("## The verdict")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([a-z].*?) \| .* \|$", table, re.MULTILINE)[1:]
    texts = string_literals(Path(inspect.getfile(top_verdict)))
    assert len(rows) == 18
    assert [part for row in rows for part in row.split(" ... ") if part not in texts] == []


def test_the_page_of_operating_has_log_lines_that_exist() -> None:
    table = (DOCS / "operating.md").read_text().partition("## Log lines")[2].partition("\n## ")[0]
    lines = re.findall(r"`([^`]*)`", "".join(re.findall(r"^(\| `.*?) \| [A-Z]", table, re.MULTILINE)))
    package = Path(inspect.getfile(dagcache)).parent
    folders = package, package / "metrics", package / "sizing"  # in a checkout, two are links, which rglob leaves out
    texts = "\n".join(string_literals(path) for folder in folders for path in folder.rglob("*.py"))
    assert len(lines) == 12
    parts = (part.strip() for line in lines for part in line.split("..."))
    assert [part for part in parts if part not in texts] == []


def test_the_page_on_reliability_names_tests_that_exist() -> None:
    names = set(re.findall(r"\btest_\w+", (DOCS / "reliability.md").read_text()))
    assert sorted(names - {path.stem for path in (ROOT / "tests").rglob("test_*.py")}) == []


def string_literals(path: Path) -> str:
    """The string constants of a module, f-strings included, one a line."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_the_page_of_metrics_lists_those_that_go_through_airflow() -> None:
    """With type and meaning, in the order of the registry."""
    page = (DOCS / "metrics.md").read_text()
    listed = page.partition("<!-- airflow-metrics -->")[2].partition("<!-- /airflow-metrics -->")[0]
    rows = [line for line in listed.splitlines() if line.startswith("| `")]
    assert rows[:-1] == [f"| `{metric.name}` | {metric.kind} | {metric.description}. |" for metric in REGISTRY]
    assert rows[-1].startswith(f"| `{PRESSURE}` | gauge |")
