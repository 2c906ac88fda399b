"""Whether this database is the one with which this node last ran: a marker outside the database tells.

Rule 1: a node is sure of itself only while the marker and the database say the same: the same random id, renewed at
each start, and at least as many changes as the neighbour above acknowledged. Every other case is *restored*: a backup
was put back, the database is new, the marker is gone. Only a node that has neither a marker nor anything sent is new
and begins at once; should it be an old one whose whole disk is gone, its first welcome says so. An empty file in place
of the marker makes such a node wait for that welcome.
Rule 2: the marker is written before the database, and names the id before it until the database has the new one: a
crash between the two is no restore.
Rule 3: a restored node gets a new marker only when it holds again all that its neighbour holds of it, so a crash in
between is a restore again.

Source: reliability protocol, handshake.
"""

import json
import os
import secrets
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, make_url, select

from jukinet.store import journal
from jukinet.store.schema import boot
from jukinet.store.statement import Prepared, keep

_NEW = "new"
"""Stands for the id of a database that never had one and never sent anything."""


@dataclass(frozen=True, slots=True)
class Marker:
    """What stands in the file."""

    boot_id: str
    before: str
    """The id that the database may still have, while a new one is being given; else empty."""
    acknowledged: int
    """Last sequence number of this node's stream that the neighbour above acknowledged."""


class Beside(Protocol):
    """Where the marker is kept: whatever does not go back in time together with the database."""

    def read(self) -> bytes | None:
        """What stands there; None where nothing does."""

    def write(self, content: bytes) -> None:
        """Puts this there, durably and whole or not at all."""

    def remove(self) -> None:
        """Takes away what stands there, durably."""


class MarkerFile:
    """A file of its own. Its methods raise OSError where it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes | None:
        """What stands in the file; None where there is no file."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, content: bytes) -> None:
        """Replaces the file as a whole."""
        new = self._path.with_name(f"{self._path.name}.new")
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        new.replace(self._path)
        _sync_folder(self._path)

    def remove(self) -> None:
        """Removes the file."""
        self._path.unlink(missing_ok=True)
        _sync_folder(self._path)


class Boot:
    """The marker of one node; `restored` says that the node does not know whether it holds all that it ever sent.

    Its methods may be called from any thread, and raise what `beside` raises.
    """

    def __init__(self, beside: Beside) -> None:
        self._beside = beside
        self._turn = threading.Lock()
        self._marker: Marker | None = None
        self.restored = True

    def begin(self, connection: Connection) -> str | None:
        """Compares marker and database when the node starts; the id to give the database, None when restored."""
        content = self._beside.read()
        marker = _understood(content)
        last = journal.read_stream(connection).last_sequence
        row = _BOOT_ID.row(connection)
        known = row[0] if row else "" if last else _NEW
        if content is None and known == _NEW:
            marker = Marker("", _NEW, 0)
        self.restored = (
            marker is None or not known or known not in (marker.boot_id, marker.before) or last < marker.acknowledged
        )
        return None if self.restored or marker is None else self.renew(known, marker.acknowledged)

    def renew(self, before: str, acknowledged: int) -> str:
        """Writes a new id into the marker, ahead of the database; returns it."""
        with self._turn:
            self._write(Marker(secrets.token_hex(16), before, acknowledged))
            assert self._marker is not None  # noqa: S101  # just written
            return self._marker.boot_id

    def settled(self) -> None:
        """The database has the id: from now on no other counts."""
        with self._turn:
            assert self._marker is not None  # noqa: S101  # `renew` came first
            self._write(Marker(self._marker.boot_id, "", self._marker.acknowledged))
            self.restored = False

    def acknowledged(self, mark: int) -> None:
        """The neighbour above has this node's changes up to the mark on disk."""
        with self._turn:
            if self._marker and not self.restored and mark > self._marker.acknowledged:
                self._write(Marker(self._marker.boot_id, self._marker.before, mark))

    def doubt(self) -> None:
        """The neighbour above holds more than this node: it was restored, and is so after a crash as well."""
        with self._turn:
            self.restored, self._marker = True, None
            self._beside.remove()

    def _write(self, marker: Marker) -> None:
        self._beside.write(json.dumps(asdict(marker)).encode())
        self._marker = marker


def marker_path(database: str, folder: Path, name: str) -> Path:
    """Where a node's marker lies: beside an SQLite file; for PostgreSQL in the folder of the node's configuration."""
    url = make_url(database)
    if url.get_backend_name() == "sqlite" and url.database:
        return Path(f"{Path(url.database).resolve()}.boot")
    return folder / f"{name}.boot"


def write_boot_id(connection: Connection, boot_id: str) -> None:
    """Gives the database its id, in the caller's transaction."""
    _KEEP.write(connection, [{"id": 1, "boot_id": boot_id}])


def _understood(content: bytes | None) -> Marker | None:
    """The marker; None where there is none, or one that cannot be understood."""
    try:
        marker = Marker(**json.loads(content or b""))
    except (ValueError, TypeError):
        return None
    return marker if type(marker.acknowledged) is int else None


def _sync_folder(path: Path) -> None:
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_BOOT_ID = Prepared(select(boot.c.boot_id))
_KEEP = keep(boot, "id")
