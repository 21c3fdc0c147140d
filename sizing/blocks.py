"""The blocks that CPython's allocators hand out for objects (Objects/obmalloc.c; malloc.c of glibc)."""

from __future__ import annotations

import sys

COLLECTORS_LINKS = 0 if "t" in getattr(sys, "abiflags", "") else 16
"""Bytes in front of an object that the collector visits; free-threaded builds have none."""

# Include/object.h; the layout of instances changed with every minor version.
HAVE_GC = 1 << 14
"""The flag of types that the collector visits."""
_PREHEADER = (1 << 4 if sys.version_info >= (3, 11) else 0) | (1 << 3 if sys.version_info >= (3, 12) else 0)


def rounded(size: int) -> int:
    """The block that an allocator hands out for a request of so many bytes."""
    if size > 512:
        size += 8
    return (size + 15) & ~15


def header(of: type) -> int:
    """Bytes in front of an object: the collector's links; pointers to a managed dict and weak references."""
    return (COLLECTORS_LINKS if of.__flags__ & HAVE_GC else 0) + (16 if of.__flags__ & _PREHEADER else 0)
