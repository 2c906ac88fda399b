"""The answers file: which version (更新順番号) each accepted change of a change file got, and its place in the stream.

A move-out's version has to stand on the move-out certificate (転出証明書), because the next municipality states it.

Rule: every row is a promise that the communication server gave, and it is there as soon as the answer is. So the file
grows in its place, and after an interruption it holds what was answered until then, in whole rows. It takes the place
of no other file, only its owner can read it, and it holds nothing about a person.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from jukinet._pb.jukinet.intake.v1.intake_pb2 import SubmitChangeResponse
from jukinet.cli.change_columns import BY_NAME
from jukinet.cli.change_file import ChangeFile
from jukinet.cli.reject_file import sync_folder

COLUMNS: Final = {
    BY_NAME["message_id"].name: BY_NAME["message_id"].japanese,
    "version": "更新順番号",
    "epoch": "通知世代",
    "sequence": "通知通番",
    "repeated": "既受理",
}
"""English header → Japanese header, in the order of the file."""


class AnswersFileExists(Exception):
    """There is a file of this name already; it is left alone. Name another answers file, or move that one away."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists already and is left alone; name another answers file, or move that one away")
        self.path = path


class AnswersFile:
    """Keeps answers as they come in; a context manager, at whose end the file survives a crash of the machine.

    Without a single answer no file stays behind.

    Args:
        path: where the file will stand.
        source: the change file that is answered; encoding, language of the header and line ends are taken from it.

    Raises:
        AnswersFileExists: `path` is taken.
        OSError: the file cannot be made or written.
    """

    def __init__(self, path: Path, source: ChangeFile) -> None:
        japanese = source.header_called("message_id") == COLUMNS["message_id"]
        header = ",".join(COLUMNS.values() if japanese else COLUMNS) + source.line_end
        self._path = path
        self._line_end = source.line_end
        self._answers = 0
        self._size = 0
        try:
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise AnswersFileExists(path) from None
        self._file = os.fdopen(handle, "wb", buffering=0)
        try:
            self._append(header.encode(source.encoding))
        except OSError:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def add(self, message_id: str, answer: SubmitChangeResponse) -> None:
        """Append one answer; it is in the file when this returns.

        Args:
            message_id: of the change that is answered.
            answer: what the communication server promised.

        Raises:
            OSError: the disk is full; the file then ends with the row before.
        """
        repeated = "true" if answer.repeated else "false"
        row = f"{message_id},{answer.version},{answer.epoch},{answer.sequence},{repeated}{self._line_end}"
        # A message id has no character that CSV would quote, and ASCII is the same in all encodings of change files.
        self._append(row.encode("ascii"))
        self._answers += 1

    def _append(self, row: bytes) -> None:
        rest = row
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.truncate(self._size)
            error.filename = str(self._path)
            raise
        self._size += len(row)

    def _close(self) -> None:
        with self._file:
            if self._answers:
                os.fsync(self._file.fileno())
                sync_folder(self._path.parent)
            else:
                self._path.unlink()
