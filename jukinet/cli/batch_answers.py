"""The answers of a batch (一括提供) on disk: JSON lines that grow as answers come, and from which a batch goes on.

The first line says which batch it is; each other one answers one record of the questions, by the number of its line,
with a digest of how the person was named, by which a later batch finds what is held of him (`held_marks`).
The file holds identity records: only its owner can read it. What is in it is on disk before more is asked for, and a
line that was cut off by a crash is asked again. One process writes it at a time.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from google.protobuf import json_format
from google.protobuf.message import Message

from jukinet.cli.output import Exit, Failure
from jukinet.cli.reject_file import sync_folder
from jukinet.ledger.verify.batch_job import Person, digest_of
from jukinet.ledger.verify.json_lines import spell

FORMAT: Final = "jukinet-batch-answers/1"
_ANY_FORMAT: Final = re.compile("jukinet-[a-z-]{1,40}/[0-9]{1,4}")
"""What may be told of a file's first line: it may be any file."""


def answer_line(number: int, person: Person, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The line of an answer.

    Args:
        number: line of its record.
        person: who was asked about.
        answer: as `shown`.
    """
    return {"line": number, "person": digest_of(person.subject), **answer}


def shown(message: Message) -> dict[str, Any]:
    """A message with the names of the contract."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


class BatchAnswers:
    """The answers of one batch; a context manager.

    Args:
        path: a new file, or one that the same batch began.
        batch: what makes the batch the same: who asks, digest of the questions, row, items, all that an answer would
            lack or differ by if the rest were asked otherwise.
        kind: format of the file and its version.
        closed_by: key that stands in the last line of what was kept together alone; without that line, all of it is
            asked again. None = each line is good by itself.
        instead: what to do where the file is of another kind.

    Raises:
        Failure: the file belongs to something else or was begun otherwise, another process writes it, or it cannot be
            written.
    """

    def __init__(
        self,
        path: Path,
        batch: Mapping[str, Any],
        *,
        kind: str = FORMAT,
        closed_by: str | None = None,
        instead: str = "Name another file.",
    ) -> None:
        self._path = path
        self._header = {"format": kind, **batch}
        self._closed_by = closed_by
        self._instead = instead
        self.last: Mapping[str, Any] = {}
        """The last line: of the record that was answered last, or the first line, which answers none."""
        self.answered = 0
        self.faulty = 0
        """How many of them have a problem or a refusal in the place of an answer, of earlier runs too."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Failure(f"{path}: {error.strerror}.", Exit.USAGE) from None
        try:
            self._lock()
            self._go_on()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    @property
    def last_line(self) -> int:
        """Line of the last record that is answered; 0 when none is."""
        return int(self.last.get("line", 0))

    def keep(self, answers: Iterable[Mapping[str, Any]]) -> None:
        """Adds answers, each with the `line` of its record; returns when they are on disk."""
        lines = [*answers]
        self._write(lines)
        self.last = lines[-1]
        self.answered += sum(self._closed_by not in line for line in lines)
        self.faulty += sum(map(_is_faulty, lines))

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failure(f"{self._path} is being written by another process.", Exit.USAGE) from None

    def _go_on(self) -> None:
        with open(self._file, "rb", closefd=False) as file:
            whole = read = answered = faulty = 0
            for raw in file:
                if not raw.endswith(b"\n"):
                    break
                content = self._taken(raw, first=read == 0)
                closing = self._closed_by in content
                answered += read > 0 and not closing
                faulty += _is_faulty(content)
                read += len(raw)
                if closing or whole == 0 or self._closed_by is None:
                    whole, self.last = read, content
                    self.answered, self.faulty = answered, faulty
        os.ftruncate(self._file, whole)
        os.lseek(self._file, 0, os.SEEK_END)
        if not whole:
            self._write([self._header])
            sync_folder(self._path.absolute().parent)

    def _taken(self, raw: bytes, *, first: bool) -> dict[str, Any]:
        content: Any = None
        try:
            content = json.loads(raw)
            known = content["format"] == self._header["format"] if first else type(content["line"]) is int
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            kind = str(content.get("format")) if first and isinstance(content, dict) else ""
            of = f"is a file of {kind} and not" if _ANY_FORMAT.fullmatch(kind) else "holds something else than one"
            raise Failure(f"{self._path} {of} of {self._header['format']}. {self._instead}", Exit.USAGE)
        found: dict[str, Any] = content
        if first:
            self._require_same(found)
        return found

    def _require_same(self, begun: Mapping[str, Any]) -> None:
        if unsaid := self._header.keys() - begun.keys():
            raise Failure(
                f"{self._path} does not say its {_in_words(unsaid)}: an older version began it, and the rest could be "
                "asked otherwise. Name another file.",
                Exit.USAGE,
            )
        if other := {key for key in begun if key not in self._header or begun[key] != self._header[key]}:
            raise Failure(
                f"{self._path} was begun otherwise, by its {_in_words(other)}. Go on as it was begun, or name another "
                "file.",
                Exit.USAGE,
            )

    def _write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        text = "".join(f"{spell(line)}\n" for line in lines).encode()
        while text:
            text = text[os.write(self._file, text) :]
        os.fsync(self._file)


def _is_faulty(line: Mapping[str, Any]) -> bool:
    return "problem" in line or "refusal" in line


def _in_words(keys: Iterable[str]) -> str:
    return ", ".join(sorted(key.removesuffix("_sha256").replace("_", " ") for key in keys))
