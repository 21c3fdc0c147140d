"""The bytes that CPython's and the C library's allocators have handed out: the measure of all other weights.

Small objects come from CPython's own pools (Objects/obmalloc.c); their only account is a report on the standard error
stream. Everything above 512 bytes comes from malloc (``mallinfo2`` of glibc 2.33). For audits and benchmarks: the
report redirects file descriptor 2 for about a millisecond, and each account takes a full collection.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import tempfile
from collections.abc import Callable

_WARM_UP = 2
_KEPT_FOR_REUSE = 16
_LARGEST_KEPT = 1032
"""malloc keeps freed blocks of up to so many bytes for the thread that freed them: 7 of each size, 16 from 2.42 on."""
_SIZE_CLASS = re.compile(r"^ *\d+ +(\d+) +\d+ +(\d+) +\d+ *$", re.MULTILINE)


class NoAccountError(Exception):
    """The allocators of this interpreter or platform give no account of their bytes."""


class _MallInfo(ctypes.Structure):
    """``struct mallinfo2`` of malloc.h. Field 5 has the bytes in mapped blocks, field 8 those in the heaps."""

    _fields_ = [(f"field_{number}", ctypes.c_size_t) for number in range(1, 11)]


def allocated_bytes() -> int:
    """Bytes that both allocators have handed out, after a full collection, which also empties the free lists.

    Not for processes with other threads that write to the standard error stream: their lines are lost meanwhile.

    Raises:
        NoAccountError: the allocators of this interpreter or platform give none, or debug hooks make blocks larger.

    """
    gc.collect()
    return _handed_out()


def has_debug_hooks() -> bool:
    """Whether the interpreter's allocators put marks around each block (PYTHONMALLOC=debug; -X dev)."""
    chosen = "" if sys.flags.ignore_environment else os.environ.get("PYTHONMALLOC", "")
    return chosen.endswith("debug") if chosen else sys.flags.dev_mode


def _handed_out() -> int:
    """The bytes that malloc and the interpreter's allocator have handed out.

    The figures of malloc count freed blocks as handed out while it keeps them for the thread. A copy that takes such
    blocks would weigh nothing. So all of them are taken meanwhile, and of each size the same number. Their addresses
    are integers, and so take the integers that CPython 3.14 keeps for reuse.
    """
    library = ctypes.CDLL(None)
    try:
        mallinfo, malloc, free = library.mallinfo2, library.malloc, library.free
    except (AttributeError, TypeError) as error:
        raise NoAccountError("the C library has no mallinfo2: glibc 2.33 or newer is needed") from error
    mallinfo.restype = _MallInfo
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    free.argtypes, free.restype = [ctypes.c_void_p], None
    taken = [malloc(size) for size in range(24, _LARGEST_KEPT + 1, 16) for _ in range(_KEPT_FOR_REUSE)]
    try:
        info = mallinfo()
        return int(info.field_5) + int(info.field_8) + _pool_bytes()
    finally:
        for block in taken:
            free(block)


def bytes_per_copy(make: Callable[[], object], copies: int = 1) -> float:
    """The mean number of bytes that a copy takes, by the allocators' own accounts.

    ``make`` returns a new copy at each call. Two further copies are made first and not counted: they fill caches and
    the key tables of classes. All copies are alive at the same time.

    Raises:
        NoAccountError: the allocators of this interpreter or platform give none.
        Exception: an error of ``make``.

    """
    held: list[object] = [None] * (_WARM_UP + copies)
    for number in range(_WARM_UP):
        held[number] = make()
    allocated_bytes()  # the first reading of a process fills caches of the interpreter, and seems heavier
    before = allocated_bytes()
    for number in range(_WARM_UP, len(held)):
        held[number] = make()
    return (allocated_bytes() - before) / copies


def _pool_bytes() -> int:
    classes = _SIZE_CLASS.findall(_pool_report())
    if not classes and not os.environ.get("PYTHONMALLOC", "").startswith("malloc"):
        raise NoAccountError("the interpreter's allocator gives no account: pymalloc or PYTHONMALLOC=malloc is needed")
    if has_debug_hooks():
        raise NoAccountError("the debug hooks of PYTHONMALLOC or -X dev add bytes to each block: switch them off")
    return sum(int(size) * int(used) for size, used in classes)


def _pool_report() -> str:
    """The interpreter writes it to file descriptor 2 and nowhere else."""
    with tempfile.TemporaryFile() as report:
        sys.stderr.flush()
        stderr = os.dup(2)
        try:
            os.dup2(report.fileno(), 2)
            sys._debugmallocstats()  # noqa: SLF001 - a public function with a private name
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        report.seek(0)
        return report.read().decode()
