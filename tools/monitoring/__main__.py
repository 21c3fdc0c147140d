"""The command that builds the dashboard and the alert rules: ``python -m tools.monitoring``.

It writes both files to ``metrics/``, from where the package ships them, and to ``docs/monitoring/``, for readers of the
documentation.
"""

from __future__ import annotations

from pathlib import Path

from tools.monitoring import alerts, dashboard

_ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Write the files."""
    for folder in (_ROOT / "metrics", _ROOT / "docs" / "monitoring"):
        (folder / "alerts.yaml").write_text(alerts.text())
        (folder / "dashboard.json").write_text(dashboard.text())


if __name__ == "__main__":
    main()
