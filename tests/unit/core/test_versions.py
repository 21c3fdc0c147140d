"""Which version of a family is the newest."""

from __future__ import annotations

import pytest

from dagcache.core.entry import Candidate, Entry
from dagcache.core.versions import VersionIndex


def version(order: int, family: str | None = "dag") -> Entry:
    """An entry that is a version of a family."""
    return Entry(Candidate(key=(family, order), value=None, live_bytes=1, family=family, order=order), 0.0)


def joined(*entries: Entry) -> VersionIndex:
    """A version index of these residents."""
    version_index = VersionIndex()
    for entry in entries:
        version_index.add(entry)
    return version_index


@pytest.mark.parametrize("orders", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_all_but_the_newest_version_are_superseded(orders: tuple[int, ...]) -> None:
    entries = [version(order) for order in orders]
    version_index = joined(*entries)
    assert {entry.order: entry.superseded for entry in entries} == {1: True, 2: True, 3: False}
    version_index.check_invariants(entries)


def test_the_same_version_loaded_again_supersedes_nothing() -> None:
    """Until a newer one comes: that supersedes the entry that is there now."""
    old, new = version(1), version(1)
    version_index = joined(old, new)
    version_index.remove(old)
    assert not new.superseded
    version_index.add(version(2))
    assert new.superseded


def test_families_do_not_mix() -> None:
    """Nor do entries without a family."""
    entries = [version(1, "a"), version(2, "b"), version(1, None), version(2, None)]
    version_index = joined(*entries)
    assert not any(entry.superseded for entry in entries)
    version_index.remove(entries[2])
    version_index.check_invariants([*entries[:2], entries[3]])


def test_a_family_is_known_while_one_of_its_versions_is_resident() -> None:
    """Also when the newest has left; after the last, an older version is as good as new."""
    newest, middle, oldest = version(3), version(2), version(1)
    version_index = joined(newest, middle)
    version_index.remove(newest)
    version_index.check_invariants([middle])
    assert middle.superseded
    version_index.remove(middle)
    version_index.add(oldest)
    assert not oldest.superseded


def test_clearing_forgets_every_family() -> None:
    """No entry is resident."""
    version_index = joined(version(3))
    version_index.clear()
    version_index.check_invariants([])


def test_its_check_notices_a_wrong_mark_and_a_wrong_count() -> None:
    """Superseded means older than the newest, and each resident counts once."""
    old, new = version(1), version(2)
    version_index = joined(old, new)
    with pytest.raises(AssertionError):
        version_index.check_invariants([new])
    old.superseded = False
    with pytest.raises(AssertionError):
        version_index.check_invariants([old, new])
