"""The command that builds the dashboard, the alert rules and the table of metrics: ``python -m tools.monitoring``.

It writes the first two to ``metrics/``, from where the package ships them, and to ``docs/monitoring/``, for readers of
the documentation. The table goes to ``docs/metrics.md``.
"""

from __future__ import annotations

from pathlib import Path

from tools.monitoring import alerts, dashboard, table

_ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Write the files."""
    for folder in (_ROOT / "metrics", _ROOT / "docs" / "monitoring"):
        (folder / "alerts.yaml").write_text(alerts.text())
        (folder / "dashboard.json").write_text(dashboard.text())
    page = _ROOT / "docs" / "metrics.md"
    page.write_text(table.with_table(page.read_text()))


if __name__ == "__main__":
    main()
