"""Faults of the warm store: signatures, modes and links, newest content, killed writers, passed-over disks."""

from __future__ import annotations

from tools.mutants.fault import Fault, drop, drop_branch, replace

_BREAKER = "dagcache.warm_start.circuit_breaker"
_COMPACTION = "dagcache.warm_start.compaction"
_DISK = "dagcache.warm_start.disk"
_FOLDER = "dagcache.warm_start.folder"
_FORMAT = "dagcache.warm_start.record_format"
_INDEX = "dagcache.warm_start.index"
_KEYS = "dagcache.warm_start.keys"
_OPENED = "dagcache.warm_start.opened_generation"
_PACK = "dagcache.warm_start.pack"
_ROWS = "dagcache.database.warm.opened"
_STORE = "dagcache.database.warm.store"
_CLEANING = "dagcache.database.warm.cleaning"
_WARM_KEY = "dagcache.airflow.warm_key"

_ATTACKS_TESTS = ("unit/warm_start/test_attacks.py",)
_COMPACTION_TESTS = ("unit/warm_start/test_compaction.py",)
_DISK_TESTS = ("unit/warm_start/test_disk.py",)
_FAILURES_TESTS = ("unit/warm_start/test_failures.py",)
_FORMAT_TESTS = ("unit/warm_start/test_record_format.py",)
_KEYS_TESTS = ("unit/warm_start/test_keys.py",)

FAULTS = (
    Fault(
        "a record without a valid signature is served",
        _FORMAT,
        "is_authentic",
        replace("A.is_valid(...)", "True"),
        _FORMAT_TESTS,
    ),
    Fault(
        "a signature is valid under another fingerprint",
        _KEYS,
        "SigningKey.tag",
        replace("self._context + A", "A"),
        _KEYS_TESTS,
    ),
    Fault(
        "the owner of a folder is not checked",
        _FOLDER,
        "check",
        drop_branch("A.st_uid != os.geteuid()"),
        _ATTACKS_TESTS,
    ),
    Fault(
        "a folder that others can write is used",
        _FOLDER,
        "check",
        drop_branch("A.st_mode & _OF_OTHERS"),
        _ATTACKS_TESTS,
    ),
    Fault(
        "another content of a version is looked for in its record",
        _DISK,
        "DiskStore._find",
        drop_branch("A.content != content_of(B)"),
        _DISK_TESTS,
    ),
    Fault(
        "an older record of a version replaces a newer one",
        _INDEX,
        "Index._add",
        replace("A >= B.stored_at", "True"),
        _ATTACKS_TESTS,
    ),
    Fault(
        "a record of the future hides all later ones",
        _INDEX,
        "Index._add",
        replace("A.stored_at if A.stored_at <= B else 0", "A.stored_at"),
        _DISK_TESTS,
    ),
    Fault(
        "a part of a record stays in the pack",
        _PACK,
        "Pack.append",
        drop("os.ftruncate(...)"),
        _FAILURES_TESTS,
    ),
    Fault(
        "the pack of a live writer is compacted",
        _COMPACTION,
        "compact",
        replace("[A for A in B if A.lock()]", "list(B)"),
        _COMPACTION_TESTS,
    ),
    Fault(
        "a forked child writes to the pack of its parent",
        _OPENED,
        "OpenedGeneration.after_fork_in_child",
        drop("self._own = None"),
        _DISK_TESTS,
    ),
    Fault(
        "a disk that fails is asked again at once",
        _BREAKER,
        "CircuitBreaker.trip",
        drop("self._until = A"),
        ("unit/warm_start/test_circuit_breaker.py",),
    ),
    Fault(
        "the weaker key stands in for one that cannot be had",
        _WARM_KEY,
        "_sensitive",
        replace("airflow_setting(...)", "''"),
        ("unit/airflow/test_warm.py",),
    ),
    Fault(
        "a row with the record of another version is served",
        _ROWS,
        "OpenedRows._authentic",
        replace("A is not None and A[0] == B", "A is not None"),
        ("unit/database/warm/test_attacks.py",),
    ),
    Fault(
        "a database that hangs is waited for again and again",
        _STORE,
        "DatabaseStore._within",
        drop("self._reads.trip()"),
        ("unit/database/warm/test_failures.py",),
    ),
    Fault(
        "a forked child talks on the connections of its parent",
        _STORE,
        "DatabaseStore._after_fork_in_child",
        drop("self._database = None"),
        ("unit/database/warm/test_store.py",),
    ),
    Fault(
        "the generation of an idle process is removed",
        _CLEANING,
        "remove_unused",
        replace("max(A, B.used_at)", "A"),
        ("unit/database/warm/test_cleaning.py",),
    ),
    Fault(
        "Airflow's own key is good enough for a database",
        _WARM_KEY,
        "separate_key",
        drop_branch("not A"),
        ("unit/airflow/test_warm.py",),
    ),
)
