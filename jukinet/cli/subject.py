"""The person asked about, read from a file: four items (４情報) or an individual number (個人番号).

Rule: personal data comes from a file or from standard input, never from the command line. What stands on a command line
is seen by every user of the machine in its list of processes, and stays in the shell's history. For the same reason no
text made here repeats a value.

The file is one JSON object of texts; its keys are columns of a change file, in English or in Japanese:

    {"name": "…", "birth_date": "1948-05-03", "sex": "male", "local_government_code": "131016",
     "town": "…", "block": "…", "building": "…"}
    {"individual_number": "…"}

A key or column that stands twice, in whichever language, is wrong: of two names the last would be asked about.
"""

import codecs
import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final, TextIO

from google.protobuf.message import Message

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import FourItems, Subject
from jukinet.cli.change_columns import BY_HEADER, COLUMNS, LineRefused
from jukinet.cli.change_file import HeaderRefused, columns_of, json_object
from jukinet.cli.csv_records import records, split
from jukinet.cli.output import Exit, Failure
from jukinet.domain.local_government import is_municipality_code
from jukinet.domain.refusal import ChangeRefused
from jukinet.mesh.errors import BrokenMessage, check_message

_NUMBER: Final = "individual_number"
_MUNICIPALITY: Final = "local_government_code"
_NEEDED: Final = frozenset({"name", "birth_date", "sex", _MUNICIPALITY, "town"})
_ITEMS: Final = _NEEDED | {"block", "building"}
_BLOCK_BYTES: Final = 1 << 20


def read_subject(source: Path) -> Subject:
    """Reads who is asked about.

    Args:
        source: JSON file as above; `-` = standard input.

    Raises:
        Failure: the file cannot be read or names nobody in one of the two ways.
    """
    return subject_of(_parse(source, _read_text(source)), source)


def check_subjects(source: Path) -> str:
    """Looks at a file of many persons as a whole, before anybody is asked about.

    Returns:
        SHA-256 of the file, in hexadecimal digits.

    Raises:
        Failure: it cannot be read, is not UTF-8 to its end, or has no header as `read_subjects` wants it.
    """
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    with _told_of(source), source.open("rb") as content:
        while block := content.read(_BLOCK_BYTES):
            digest.update(block)
            decoder.decode(block)
        decoder.decode(b"", final=True)
    next(read_subjects(source), None)
    return digest.hexdigest()


def read_subjects(source: Path) -> Iterator[tuple[int, Subject | Failure]]:
    """Reads many persons from a file, line by line: JSON lines of the same objects, or CSV in UTF-8 with these columns.

    Args:
        source: the first character decides: `{` begins JSON lines, anything else a CSV header.

    Returns:
        For each record its first physical line, from 1, and who it names, or what is wrong with it. Whoever is named
        here is taken by a gateway.

    Raises:
        Failure: the file cannot be read, or its header names an unknown column or one twice.
    """
    with _told_of(source), _opened(source) as stream:
        header = stream.readline()
        if header.startswith("{"):
            for number, line in enumerate(chain([header], stream), 1):
                if line.strip():
                    yield number, _named(source, line, _parse)
            return
        columns = _columns(source, header)
        for number, record in records(stream, len(columns)):
            yield number, _named(source, record, partial(_of_record, columns))


def _columns(source: Path, header: str) -> list[str]:
    try:
        return columns_of(split(header.rstrip("\n")) or [""])
    except HeaderRefused as refused:
        text = f"{source}: the first line must name columns of a change file, each once ({refused})."
        raise Failure(text, Exit.USAGE) from None


def _named(source: Path, text: str, read: Callable[[Path, str], dict[str, str]]) -> Subject | Failure:
    try:
        return subject_of(read(source, text), source)
    except Failure as failure:
        return failure


def _of_record(columns: list[str], source: Path, record: str) -> dict[str, str]:
    fields = split(record)
    if fields is None or len(fields) != len(columns):
        raise Failure(f"{source}: the line has not {len(columns)} fields, or its quotes do not match.", Exit.USAGE)
    return {name: value for name, value in zip(columns, fields, strict=True) if value}


def subject_of(values: dict[str, str], source: Path) -> Subject:
    """Whom an object of texts names.

    Args:
        values: by English name of the column.
        source: for the text of a failure.

    Raises:
        Failure: it names nobody in one of the two ways, or breaks a rule of the contract.
    """
    who = Subject()
    if set(values) == {_NUMBER}:
        _set(source, who, _NUMBER, values[_NUMBER])
        return _sound(source, who)
    missing, more = _NEEDED - set(values), set(values) - _ITEMS
    if missing or more:
        wrong = [*(f"{name} is missing" for name in sorted(missing)), *(f"{name} is too much" for name in sorted(more))]
        raise Failure(
            f"{source}: name a person by the four items, or by individual_number alone; {', '.join(wrong)}.", Exit.USAGE
        )
    who.four_items.CopyFrom(_four_items(source, values))
    return _sound(source, who)


def read_individual_number(source: Path) -> Subject:
    """Reads an individual number from a text file; `-` = standard input.

    Raises:
        Failure: the file cannot be read, or holds something else.
    """
    return subject_of({_NUMBER: _read_text(source).strip()}, source)


def _four_items(source: Path, values: dict[str, str]) -> FourItems:
    items = FourItems()
    for name, text in values.items():
        _set(source, items.address if "address" in BY_HEADER[name].path else items, name, text)
    # The network could only say that it holds nothing of such a municipality, which sounds as if it would come.
    if not is_municipality_code(items.address.local_government_code):
        raise Failure(
            f"{source}: {_MUNICIPALITY} must be six digits that name a municipality, the last its check digit; of a "
            "designated city give the city's, not a ward's.",
            Exit.USAGE,
        )
    return items


def _set(source: Path, target: Any, name: str, text: str) -> None:
    column = BY_HEADER[name]
    try:
        value = column.read(text)
        if isinstance(value, Message):
            getattr(target, name).CopyFrom(value)
        else:
            setattr(target, name, value)
    # What was raised may quote the value, so it goes no further.
    except (ValueError, ChangeRefused):
        raise Failure(f"{source}: {name} must be {column.expects}.", Exit.USAGE) from None


def _sound(source: Path, who: Subject) -> Subject:
    """The same, if a gateway takes it: it would refuse all who travel with one whom it does not take."""
    try:
        check_message(who)
    except BrokenMessage as broken:
        rules = ", ".join(f"{each.field}: {each.rule}" for each in broken.violations)
        raise Failure(f"{source}: no person as the contract wants one named ({rules}).", Exit.USAGE) from None
    return who


def _parse(source: Path, text: str) -> dict[str, str]:
    try:
        content = json_object(text)
    except LineRefused as refused:
        raise Failure(f"{source} is not one JSON object of texts: {refused}.", Exit.USAGE) from None
    if not all(isinstance(value, str) for value in content.values()):
        raise Failure(f"{source} is not one JSON object of texts.", Exit.USAGE)
    unknown = [name for name in content if name not in BY_HEADER]
    if unknown:
        raise Failure(f"{source}: {len(unknown)} keys are not columns of a change file.", Exit.USAGE)
    # One of the two would be asked about, and the answer could be that of another person.
    if twice := [column.name for column in COLUMNS if {column.name, column.japanese} <= content.keys()]:
        raise Failure(f"{source}: {', '.join(twice)} stands there in English and in Japanese.", Exit.USAGE)
    return {BY_HEADER[name].name: value for name, value in content.items() if value}


def _read_text(source: Path) -> str:
    with _told_of(source), _opened(source) as stream:
        return stream.read()


def _opened(source: Path) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdin) if str(source) == "-" else source.open(encoding="utf-8-sig")


@contextmanager
def _told_of(source: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:
        raise Failure(f"{source} is not UTF-8; save it as that.", Exit.USAGE) from None
    except OSError as error:
        raise Failure(f"{source}: {error.strerror}.", Exit.USAGE) from None
