"""Generations: one folder for each fingerprint and key, below the folder of the store.

A generation holds packs and the file ``fingerprint.json``: the parts of its fingerprint as text, for people. Nothing
of that file is used to serve a DAG. The name of a generation depends on the key. After a change of the key the store
is empty, and records of the old key are not reported as forged.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from dagcache.warm_start.folder import Folder, UnsafeError
from dagcache.warm_start.keys import SigningKey
from dagcache.warm_start.pack import SUFFIX, UNFINISHED, Pack

DESCRIPTION: Final = "fingerprint.json"
UNUSED_SECONDS: Final = 7 * 86_400
"""The age at which a generation of another fingerprint is removed: the time since its last write."""

_COUNTING_SECONDS: Final = 5.0
_MOST_TRIES: Final = 5
"""Removals of the files of a generation. A process that runs may create a pack between them and that of the folder."""
_NAME: Final = re.compile(r"[0-9a-f]{32}")
_MOST_DESCRIPTION_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation on disk, as an observer sees it."""

    name: str
    digest: str
    """Of its fingerprint; empty if its description cannot be read."""
    parts: Mapping[str, str]
    records: int
    """With a complete head; not authenticated. Those that are counted within 5 s."""
    nbytes: int
    packs: int
    written_at: float
    """The time of the last write, seconds since 1970 in UTC."""
    is_in_use: bool
    """Whether a process reads it or writes to it."""


def name_of(digest: str, signing: SigningKey) -> str:
    """The name of the folder of a fingerprint and key: 32 hexadecimal digits."""
    return hashlib.sha256(f"{digest}\0{signing.name}".encode()).hexdigest()[:32]


def is_name(name: str) -> bool:
    """Whether a name can be that of a generation."""
    return _NAME.fullmatch(name) is not None


def is_own_file(name: str) -> bool:
    """Whether a name in a generation can be that of one of its files."""
    return name.endswith(SUFFIX) or name.startswith(UNFINISHED) or name == DESCRIPTION


def packs_in(folder: Folder) -> Iterator[Pack]:
    """The packs of a generation, opened. One that is removed meanwhile is left out.

    Raises:
        UnsafeError: one is a link, or belongs to another user, or other users have a permission on it.
        OSError: one cannot be opened.

    """
    for name in folder.names():
        if name.endswith(SUFFIX):
            with suppress(FileNotFoundError):
                yield Pack.open(folder, name)


def describe(folder: Folder, digest: str, parts: Mapping[str, str]) -> None:
    """Write the description of a generation, if it has none.

    Raises:
        OSError: it cannot be written.

    """
    if DESCRIPTION in folder.names():
        return
    text = json.dumps({"digest": digest, "parts": dict(parts)}, indent=1, sort_keys=True)
    unfinished = f"{UNFINISHED}{os.getpid()}-{os.urandom(4).hex()}"
    folder.create(unfinished).write(text.encode())
    folder.rename(unfinished, DESCRIPTION)


def observe(folder: Folder, name: str) -> Generation:
    """A generation, with its records counted.

    Raises:
        UnsafeError: it is not private.
        OSError: it cannot be read.

    """
    generation = folder.folder(name)
    packs, records, nbytes, in_use = 0, 0, 0, False
    until = time.monotonic() + _COUNTING_SECONDS
    for pack in packs_in(generation):  # one at a time: there may be more than a process can open
        packs += 1
        records += len(pack.scan(lambda: time.monotonic() >= until))
        nbytes += pack.size()
        in_use = in_use or _has_writer(pack)
    digest, parts = _description(generation)
    return Generation(
        name=name,
        digest=digest,
        parts=parts,
        records=records,
        nbytes=nbytes,
        packs=packs,
        written_at=written_at(generation),
        is_in_use=in_use or generation.is_used(),
    )


def written_at(generation: Folder) -> float:
    """The time of the last write to one of its files, or of its creation: seconds since 1970 in UTC."""
    times = [generation.modified()]
    for name in generation.names():
        with suppress(FileNotFoundError):
            times.append(generation.status(name).st_mtime)
    return max(times)


def remove_unused(store: Folder, current: str, now: float) -> list[str]:
    """Remove generations other than the current one that were not written to for 7 days. Returns their names.

    A generation in use stays, and so does one that cannot be examined. ``now``: seconds since 1970, UTC.
    """
    removed = []
    for name in filter(is_name, store.names()):
        if name != current:
            with suppress(OSError, UnsafeError):
                generation = store.folder(name)
                is_old = now - written_at(generation) > UNUSED_SECONDS
                if is_old and not generation.is_used() and not any(map(_has_writer, packs_in(generation))):
                    remove(store, name)
                    removed.append(name)
    return removed


def remove(store: Folder, name: str) -> int:
    """Remove a generation with its files. Returns the number of bytes in its packs.

    Raises:
        OSError: a file, or the folder, cannot be removed; a foreign file keeps the folder.

    """
    generation = store.folder(name)
    nbytes = 0
    for left in range(_MOST_TRIES - 1, -1, -1):
        for each in filter(is_own_file, generation.names()):
            with suppress(FileNotFoundError):
                nbytes += generation.status(each).st_size if each.endswith(SUFFIX) else 0
                generation.remove(each)
        try:
            store.remove_folder(name)
        except OSError:
            if not left or not any(map(is_own_file, generation.names())):
                raise
        else:
            break
    return nbytes


def remove_unfinished(generation: Folder) -> None:
    """Remove files that a killed process has left behind before they had their final names."""
    for name in generation.names():
        if name.startswith(UNFINISHED):
            with suppress(OSError, UnsafeError):
                if Pack.open(generation, name).lock():
                    generation.remove(name)


def _has_writer(pack: Pack) -> bool:
    if not pack.lock():
        return True
    pack.unlock()
    return False


def _description(generation: Folder) -> tuple[str, Mapping[str, str]]:
    """The digest and the parts; empty if they cannot be read. The file may have any content."""
    with suppress(OSError, UnsafeError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        found = json.loads(generation.open(DESCRIPTION).read(0, _MOST_DESCRIPTION_BYTES))
        return str(found["digest"]), {str(name): str(value) for name, value in found["parts"].items()}
    return "", {}
