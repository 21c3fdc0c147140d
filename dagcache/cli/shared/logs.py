"""The end of a log file, for error messages."""

from __future__ import annotations

from pathlib import Path

_BYTES = 64 * 1024


def tail(log: Path, lines: int = 30) -> str:
    """The last lines; empty if there are none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
