"""Small text files in which the kernel reports numbers: below /proc and /sys."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_FOR_NOW = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""No free file descriptor, or no kernel memory: the next read may succeed."""


def lines(path: Path) -> list[str]:
    """The lines of a file; none if the file does not exist or may not be read. Thread-safe.

    Raises:
        OSError: the file cannot be read at this moment, because the process or the machine is out of file descriptors
            or memory.

    """
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        if error.errno in _FOR_NOW:
            raise
    except ValueError:  # a NUL in the path
        pass
    return []


def numbers(path: Path, label: str | None = None) -> Iterator[int]:
    """The number in a file of one number, or the numbers in the lines that begin with the label.

    Raises:
        OSError: as `lines` does.

    """
    for line in lines(path):
        words = line.split()
        if label is not None:
            if words[:1] != [label]:
                continue
            words = words[1:]
        with suppress(ValueError, IndexError):
            yield int(words[0])


def table(path: Path) -> dict[str, int]:
    """A file of lines with a label and a number each, as ``memory.stat``.

    Raises:
        OSError: as `lines` does.

    """
    found = {}
    for line in lines(path):
        label, _, number = line.partition(" ")
        with suppress(ValueError):
            found[label] = int(number)
    return found
