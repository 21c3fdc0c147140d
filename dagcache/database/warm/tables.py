"""The tables of a warm store: records, and the generations that they belong to.

They refer to no table of Airflow's. So Airflow's own commands (``airflow db migrate``, ``reset``, ``clean``) drop and
change their tables as if these did not exist.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import LONGBLOB

from dagcache.database.connection import VERSION_ID

METADATA: Final = sa.MetaData()

# SQLite numbers rows in a column of the type INTEGER only.
_Sequence: Any = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Record: Any = sa.LargeBinary().with_variant(LONGBLOB(), "mysql", "mariadb")

RECORDS: Final = sa.Table(
    "dagcache_warm_start",
    METADATA,
    sa.Column("sequence", _Sequence, primary_key=True, autoincrement=True),
    sa.Column("generation", sa.String(32), nullable=False),
    sa.Column("version", VERSION_ID, nullable=False),
    sa.Column("content", sa.LargeBinary(16), nullable=False),
    sa.Column("lasting", sa.Boolean, nullable=False),
    sa.Column("stored_at", sa.BigInteger, nullable=False),
    sa.Column("nbytes", sa.Integer, nullable=False),
    sa.Column("record", _Record, nullable=False),
    sa.UniqueConstraint("generation", "version", name="dagcache_warm_start_version"),
    sqlite_autoincrement=True,  # a number is not used again after its row was deleted
)
"""A row for each version in a generation. All columns but ``record`` are copies of facts in it, and not authenticated.

``sequence`` is the order of storing; ``lasting``: whether other records depend on it; ``stored_at``: seconds since 1970
in UTC; ``nbytes``: the length of ``record``, which is signed.
"""

GENERATIONS: Final = sa.Table(
    "dagcache_warm_start_generation",
    METADATA,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("parts", sa.Text, nullable=False),
    sa.Column("used_at", sa.BigInteger, nullable=False),
)
"""The fingerprint of each generation, as JSON for people, and the last hour in which a process used it (seconds)."""
