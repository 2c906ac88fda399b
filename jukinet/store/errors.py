"""What can go wrong with a database, told without any value that was in it.

Database errors quote the row that they choke on, and `hide_parameters` does not stop PostgreSQL from doing so. So every
error of a driver is replaced, at the edge of the store, by one of these.
"""

from sqlalchemy.exc import DBAPIError


class StoreError(Exception):
    """The database refused or failed; `kind` is the driver's error class or SQLSTATE and holds no data."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"the database failed ({kind}); see its own log")
        self.kind = kind


class StorageFull(StoreError):
    """The disk or its quota is full: nothing was written; make room and try again."""


class StoreBusy(Exception):
    """Another process holds this database: exactly one process may write a node's database. Stop the other one."""


class SchemaMismatch(Exception):
    """The database's schema is not the one of this program."""


_FULL = ("database or disk is full", "No space left", "53100")


def without_values(error: DBAPIError) -> StoreError:
    """The same failure without SQL, parameters or the driver's text."""
    original = error.orig
    state = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None)
    kind = f"{type(original).__name__}{f' {state}' if state else ''}"
    text = str(original)
    if state in ("53100", "SQLITE_FULL") or any(mark in text for mark in _FULL):
        return StorageFull(kind)
    return StoreError(kind)
