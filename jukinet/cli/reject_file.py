"""The reject file: what of a change file was refused, in a form that can be corrected and submitted again.

Rule: it appears whole or not at all, only its owner can read it, and it takes the place of no other file. It is written
beside its place under a hidden name and linked there at the end; `link` fails where a file exists already, which
`rename` does not.
"""

import os
import tempfile
from pathlib import Path
from typing import TextIO

from jukinet.cli.change_file import ChangeFile, ChangeLine
from jukinet.cli.reject_record import reject_header, reject_record


class RejectFileExists(Exception):
    """There is a file of this name already; it is left alone. Name another reject file, or move that one away."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists already and is left alone; name another reject file, or move that one away")
        self.path = path


class RejectFile:
    """Collects refused records; nothing is on disk before the first one, nothing has its name before `publish`.

    Args:
        path: where the file will stand.
        source: the change file whose records are refused; encoding, header and line ends are taken from it.

    Raises:
        RejectFileExists: `path` is taken.
        NotADirectoryError: the folder of `path` does not exist.
    """

    def __init__(self, path: Path, source: ChangeFile) -> None:
        if os.path.lexists(path):
            raise RejectFileExists(path)
        if not path.parent.is_dir():
            raise NotADirectoryError(f"{path.parent} is no folder; the reject file needs one")
        self._path = path
        self._source = source
        self._stream: TextIO | None = None
        self._draft = path

    def add(self, line: ChangeLine, *, reason: str, message: str) -> None:
        """Append one refused record.

        Args:
            line: the record as it was read.
            reason: name of the error reason.
            message: what is wrong and what to do, without values.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        if self._stream is None:
            # mkstemp makes files that only their owner may read and write (mode 0600).
            handle, name = tempfile.mkstemp(prefix=".rejects-", dir=self._path.parent)
            self._draft = Path(name)
            self._stream = os.fdopen(handle, "w", encoding=self._source.encoding, newline="")
            self._stream.write(reject_header(self._source))
        self._stream.write(reject_record(self._source, line.text, reason=reason, message=message))

    def publish(self) -> Path | None:
        """Give the file its name; afterwards it survives a crash of the machine.

        Returns:
            The path, or None when nothing was refused.

        Raises:
            RejectFileExists: somebody took the name in the meantime; the draft is removed.
            OSError: the disk is full, or the file system has no links.
        """
        if self._stream is None:
            return None
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            os.link(self._draft, self._path)
        except FileExistsError:
            raise RejectFileExists(self._path) from None
        finally:
            self.discard()
        sync_folder(self._path.parent)
        return self._path

    def discard(self) -> None:
        """Remove the draft; without one, do nothing."""
        if self._stream is not None:
            try:
                self._stream.close()
            finally:
                self._stream = None
                self._draft.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a crash of the machine; the content of a file is synced apart from its name.

    Raises:
        OSError: the folder cannot be read.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
