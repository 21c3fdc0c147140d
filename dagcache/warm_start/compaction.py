"""Compaction: the packs of processes that have ended become one pack, with the newest record of each version.

The process that starts does it, after it can read the store. It takes the writers' locks of the packs that it replaces.
So of two processes that start at the same time each takes other packs, and a live writer keeps its own. The new pack
gets its name before the old ones lose theirs: a reader finds each record under one name or under both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from dagcache.warm_start.folder import Folder
from dagcache.warm_start.index import Index, Location
from dagcache.warm_start.keys import SigningKey
from dagcache.warm_start.pack import Pack
from dagcache.warm_start.record_format import LEAST_RECORD_BYTES, is_authentic, is_lasting

_MOST_PACKS: Final = 4
_MOST_WASTE: Final = 0.25
_KEPT_SHARE: Final = 0.75
"""The share of the limit that compacted records may take. The rest is for new ones: a full store keeps nothing new."""
_BATCH_BYTES: Final = 2**20

_Found = tuple[bytes, Location]


def compact(
    folder: Folder, packs: Sequence[Pack], index: Index, signing: SigningKey, max_bytes: int, now: int
) -> Pack | None:
    """Compact the packs without a writer, if that is worth it. Returns the new pack, if there is one.

    It is worth it with more than four such packs, with more than a quarter of waste in them, or if all packs together
    exceed ``max_bytes``. The new pack has the records that were stored last, up to three quarters of ``max_bytes``, and
    authentic ones only. Records without a time of change stay before all others: others depend on them.

    Args:
        folder: the generation.
        packs: all packs that the index knows, but for the one that this process writes.
        index: follows the records to the new pack, and loses those that are not kept.
        signing: the key of the records.
        max_bytes: the limit of all packs together.
        now: nanoseconds since 1970 in UTC, for the name of the pack.

    Raises:
        OSError: the new pack cannot be written. The old ones then stay, unchanged.

    """
    ended = [pack for pack in packs if pack.lock()]
    try:
        room = int(_KEPT_SHARE * max_bytes) - sum(pack.size() for pack in packs if pack not in ended)
        kept = _newest(index, ended, room)
        if not _is_worth_it(packs, ended, kept, max_bytes):
            return None
        made = _copy(folder, kept, index, signing, now) if kept else None
        _remove(folder, ended)
        index.drop(ended)
        return made
    finally:
        for pack in ended:
            pack.unlock()


def _newest(index: Index, ended: Sequence[Pack], room: int) -> list[_Found]:
    """The locations in these packs that were stored last and fit, in the order of storing. Lasting records precede."""
    among = set(map(id, ended))
    found = [each for each in index.locations() if id(each[1].pack) in among]
    if sum(location.length for _, location in found) > room:
        found.sort(key=lambda each: (_is_lasting(each[1]), each[1].stored_at), reverse=True)
    kept = []
    for each in found:
        room -= each[1].length
        if room < 0:
            break
        kept.append(each)
    return sorted(kept, key=lambda each: each[1].place)


def _is_lasting(location: Location) -> bool:
    return is_lasting(location.pack.read(location.offset, min(location.length, LEAST_RECORD_BYTES)))


def _is_worth_it(packs: Sequence[Pack], ended: Sequence[Pack], kept: Sequence[_Found], max_bytes: int) -> bool:
    size = sum(pack.size() for pack in ended)
    waste = size - sum(location.length for _, location in kept)
    if not ended:
        return False
    return len(ended) > _MOST_PACKS or waste > _MOST_WASTE * size or sum(pack.size() for pack in packs) > max_bytes


def _copy(folder: Folder, kept: Sequence[_Found], index: Index, signing: SigningKey, now: int) -> Pack:
    made = Pack.create(folder, now)
    try:
        moved = _write(made, kept, signing)
        made.publish(folder)
    except BaseException:
        with suppress(OSError):
            folder.remove(made.name)
        raise
    finally:
        made.unlock()
    index.move(moved)
    return made


def _write(made: Pack, kept: Sequence[_Found], signing: SigningKey) -> list[tuple[bytes, Location, Pack, int]]:
    moved: list[tuple[bytes, Location, Pack, int]] = []
    for batch in _batches(kept, signing):
        offset = made.append(b"".join(data for _, _, data in batch))
        for version, location, data in batch:
            moved.append((version, location, made, offset))
            offset += len(data)
    return moved


def _remove(folder: Folder, packs: Sequence[Pack]) -> None:
    for pack in packs:
        with suppress(FileNotFoundError):
            folder.remove(pack.name)


def _batches(kept: Sequence[_Found], signing: SigningKey) -> Iterator[list[tuple[bytes, Location, bytes]]]:
    """Authentic records, a megabyte or a little more at a time."""
    batch: list[tuple[bytes, Location, bytes]] = []
    nbytes = 0
    for version, location in kept:
        data = location.pack.read(location.offset, location.length)
        if is_authentic(data, signing):
            batch.append((version, location, data))
            nbytes += len(data)
        if nbytes > _BATCH_BYTES:
            yield batch
            batch, nbytes = [], 0
    if batch:
        yield batch
