"""What can go wrong with a database, told without any value that was in it.

Database errors quote the row that they choke on, and `hide_parameters` does not stop PostgreSQL from doing so. So every
error of a driver is replaced, at the edge of the store, by one of these.
"""

from sqlalchemy.exc import DBAPIError, StatementError

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.mesh.errors import Refused


class StoreError(Exception):
    """The database refused or failed; `kind` is the driver's error class and code and holds no data."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"the database failed ({kind}); see its own log")
        self.kind = kind


class StorageFull(StoreError):
    """The disk or its quota is full: nothing was written; make room and try again."""


class StorageFailed(StoreError):
    """The disk did not keep what it was given: only a new process, which reads it again, can tell what is there."""

    def __init__(self, kind: str) -> None:
        Exception.__init__(self, f"the disk failed ({kind}); look at it before the node starts again")
        self.kind = kind


class StoreBusy(StoreError):
    """Another process holds this database: exactly one process may write a node's database. Stop the other one."""

    def __init__(self, database: str) -> None:
        Exception.__init__(self, f"another process has {database} open for writing; stop it first")
        self.kind = "busy"


def as_refusal(failure: StoreError) -> Refused:
    """What a caller is told of a failed database: that there is no room, or that it does not answer now."""
    if isinstance(failure, StorageFull):
        return Refused(errors.ERROR_REASON_STORAGE_FULL)
    return Refused(errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE, detail=str(failure))


class SchemaMismatch(Exception):
    """The database's schema is not the one of this program."""


# SHMSIZE: the index of the write-ahead log could not grow; SQLite tells a full disk apart only for its own files.
_FULL = frozenset({"53100", "SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"})
# A failed fsync is never tried again: the kernel may have given up the pages, and the next one would succeed.
_FAILED = frozenset({"58030", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"})


def without_values(error: StatementError) -> StoreError:
    """The same failure without SQL, parameters or the driver's text.

    Raise it outside of the `except` block: inside, Python would keep the driver's error as its context.
    """
    return of_driver(error.orig)


def of_driver(original: object) -> StoreError:
    """The failure that a driver's own error tells of."""
    code = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None)
    kind = f"{type(original).__name__}{f' {code}' if code else ''}"
    if code in _FULL:
        return StorageFull(kind)
    return StorageFailed(kind) if code in _FAILED else StoreError(kind)


def is_lost(error: BaseException) -> bool:
    """Tell whether a failure means that the connection is gone, and with it an open transaction."""
    return isinstance(error, DBAPIError) and error.connection_invalidated
