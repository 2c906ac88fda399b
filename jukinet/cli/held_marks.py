"""What an agency holds already (二重照会の防止), out of the answers of an earlier batch: a mark for each person.

The file is that of `inquire-batch --out` or `batch-job run --out`, whichever came last. A person is found in it by how
he is named now: another spelling has no mark, as it would have another one at the center. Only digests and marks are
kept in memory, about 250 bytes a person.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Subject
from jukinet.cli import batch_answers
from jukinet.cli.output import Exit, Failure
from jukinet.ledger.verify import batch_result
from jukinet.ledger.verify.batch_job import Person, digest_of, read_mark
from jukinet.ledger.verify.findings import Unsound

_FORMATS = (batch_answers.FORMAT, batch_result.FORMAT)


def with_marks(
    people: Iterable[tuple[int, Subject | Failure]], marks: Mapping[bytes, bytes]
) -> Iterator[tuple[int, Person | Failure]]:
    """Who is asked about, each with the mark of what is held of him, if any.

    Args:
        people: each with the line where he stands, or what is wrong there.
        marks: of `read_marks`.
    """
    for number, who in people:
        yield number, who if isinstance(who, Failure) else Person(who, marks.get(bytes.fromhex(digest_of(who)), b""))


def read_marks(path: Path | None) -> Mapping[bytes, bytes]:
    """Reads what is held.

    Args:
        path: earlier answers; None where nothing is held.

    Returns:
        The marks, by digest of how the person was named.

    Raises:
        Failure: the file cannot be read or is not what it should be.
    """
    marks: dict[bytes, bytes] = {}
    if path is None:
        return marks
    try:
        with path.open("rb") as file:
            if _object(file.readline()).get("format") not in _FORMATS:
                raise Unsound("its first line is that of another file")
            for line in file:
                if line.endswith(b"\n"):  # a last line that was cut off was never answered
                    answer = _object(line)
                    if "held" in answer:
                        marks[bytes.fromhex(answer["person"])] = read_mark(answer["held"])
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}.", Exit.USAGE) from None
    except (Unsound, ValueError, TypeError, LookupError):  # what was raised may quote the file
        raise Failure(f"{path} does not hold the answers of a batch.", Exit.USAGE) from None
    return marks


def _object(line: bytes) -> dict[str, Any]:
    content = json.loads(line)
    if not isinstance(content, dict):
        raise TypeError
    return content
