"""Prints the Grafana dashboard, or the alert rules for Prometheus.

Grafana 10 or newer imports the dashboard. Prometheus loads the rules by rule_files. The runbook of each alert is a
section of docs/operating.md. With --runbooks, the address of your copy of that page, each alert has a runbook_url.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from importlib.resources import files

from dagcache.cli.shared.failure import CommandError, InputError

HELP = "print the Grafana dashboard or the alert rules"
EXAMPLE = "dagcache monitoring alerts --runbooks https://wiki.example/dagcache > dagcache-alerts.yaml"

_FILES = {"dashboard": "dashboard.json", "alerts": "alerts.yaml"}
_RUNBOOK = re.compile(r'^( *)runbook: "[^"#]*(#[a-z]+)"$', re.MULTILINE)
_ABSOLUTE = re.compile(r"https?://[^\s/?#\x00-\x20\x7f][^\s#\x00-\x20\x7f]*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("file", choices=tuple(_FILES), help="dashboard: JSON for Grafana; alerts: YAML for Prometheus")
    parser.add_argument(
        "--runbooks",
        metavar="URL",
        help="with alerts: the address of your page of runbooks; each alert then has a runbook_url",
    )


def main(options: argparse.Namespace) -> int:
    """Print the file.

    Raises:
        InputError: --runbooks is not an absolute URL, or is given with the dashboard.
        CommandError: the file is missing from this installation.

    """
    if options.runbooks is not None:
        _check(options.runbooks, options.file)
    text = _shipped(_FILES[options.file])
    sys.stdout.write(text if options.runbooks is None else with_runbooks(text, options.runbooks))
    return 0


def with_runbooks(rules: str, page: str) -> str:
    """The rules with a ``runbook_url`` on that page in place of each ``runbook``, which is a path in the source."""
    return _RUNBOOK.sub(lambda found: f"{found[1]}runbook_url: {json.dumps(page + found[2])}", rules)


def _check(page: str, file: str) -> None:
    if file != "alerts":
        raise InputError(f"--runbooks: the {file} has no runbooks; accepted: with alerts only")
    if not _ABSOLUTE.fullmatch(page):
        raise InputError(f"--runbooks: expected an http:// or https:// URL without a fragment, found {page!r}")


def _shipped(name: str) -> str:
    try:
        return files("dagcache.metrics").joinpath(name).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{name} is missing from this installation: {error}") from None
