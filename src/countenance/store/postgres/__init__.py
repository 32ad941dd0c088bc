"""PostgreSQL as the database of record: the driver, the little SQL that differs, the sessions of a node."""

from __future__ import annotations

from countenance.store.postgres.database import PostgresDatabase, look

__all__ = ["PostgresDatabase", "look"]
