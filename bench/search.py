"""`jukinet bench search`: what a look-up costs in a large register, beside the same in a small one.

Two registers of the center, in SQLite, with the product's own schema and indexes, full of synthetic residents: names by
real frequency, so that the large one holds many namesakes, towns of twenty municipalities, a lot for each. The same
process asks both in turns, question by question, each time for somebody drawn by lot, and must find that very person.
Timed is `jukinet.store.search` alone, within one transaction.

The floor is the small register: the cost of a look-up may not grow with the number of residents.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, DropIndex

from bench.results import Report, Result, WorkDiffers, load_now, percentile
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import FourItems, Subject
from jukinet._pb.jukinet.register.v1 import identity_pb2 as identity
from jukinet.domain import individual_number, resident_code
from jukinet.domain.address import place_key
from jukinet.domain.person_name import search_key
from jukinet.store import search
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.rows import COLUMNS, checksum_of
from jukinet.store.schema import residents
from nation.names import SPACE, NameStock
from nation.places import municipalities, towns

_SEED: Final = 20261127
_MUNICIPALITIES: Final = 20
_LOTS: Final = 997
_DAY: Final = date(2026, 11, 27)
_MOVED_IN: Final = identity.CalendarDate(year=2026, month=4, day=1)
_WARM_UP: Final = 200
"""Questions of each kind that are not timed: statements compiled, the first pages read."""
_SPREAD: Final = 61_803_399
"""Prime to 10^8: puts the residents' codes into no order, as codes drawn by lot are."""

_Asking = Callable[[identity.IdentityRecord], Subject]


async def run_search(*, small: int, large: int, questions: int) -> Report:
    """Runs the benchmark.

    Args:
        small: residents of the small register.
        large: residents of the large one; 100,000,000 at most.
        questions: of each kind to each register.

    Raises:
        WorkDiffers: a question did not find its person.
    """
    before = load_now()
    with TemporaryDirectory(prefix="jukinet-bench-") as folder:
        sizes = (small, large)
        urls = [_made(Path(folder) / f"{number}.db", size) for number, size in enumerate(sizes)]
        engines = [open_reader(url) for url in urls]
        connections = [engine.connect() for engine in engines]
        try:
            results = [
                result
                for named, asking in (("four items", _by_four_items), ("individual number", _by_number))
                for result in _compared(named, asking, connections, sizes, questions)
            ]
        finally:
            for connection, engine in zip(connections, engines, strict=True):
                connection.close()
                engine.dispose()
    return Report("search", results, (before, load_now()))


def _compared(
    named: str, asking: _Asking, connections: list[Connection], sizes: tuple[int, int], questions: int
) -> Iterator[Result]:
    random = Random(_SEED)
    people = [_People(size) for size in sizes]
    taken: list[list[float]] = [[], []]
    for number in range(questions + _WARM_UP):
        for register in (0, 1) if number % 2 else (1, 0):
            meant = people[register].record(random.randrange(sizes[register]))
            with connections[register].begin():
                begun = time.perf_counter()
                (found,) = search.find(connections[register], [asking(meant)], day=_DAY)
                passed = time.perf_counter() - begun
            if not isinstance(found, identity.Resident) or found.record.resident_code != meant.resident_code:
                raise WorkDiffers(f"somebody was not found by {named} among {sizes[register]}")
            if number >= _WARM_UP:
                taken[register].append(passed * 1e6)
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        small, large = (percentile(each, share) for each in taken)
        yield Result(f"look-up by {named} among {sizes[1]:,} beside {sizes[0]:,}, {name}", large, "us", small)


def _by_four_items(record: identity.IdentityRecord) -> Subject:
    items = FourItems(name=record.name.legal, birth_date=record.birth_date, sex=record.sex, address=record.address)
    return Subject(four_items=items)


def _by_number(record: identity.IdentityRecord) -> Subject:
    return Subject(individual_number=record.individual_number)


class _People:
    """The residents of one register, each made from its number alone."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._names = _names()
        self._towns = _towns()

    def record(self, number: int) -> identity.IdentityRecord:
        """The identity record of the resident of this number, from 0."""
        random = Random(number)
        male = random.random() < 0.5
        born = date.fromordinal(random.randrange(date(1930, 1, 1).toordinal(), date(2026, 1, 1).toordinal()))
        surname = self._names.surname(random)
        given = self._names.given(random, male=male, born=born.year)
        code, town = self._towns[number % len(self._towns)]
        lot = number // len(self._towns)
        return identity.IdentityRecord(
            resident_code=_code(number),
            name=identity.PersonName(legal=f"{surname.text}{SPACE}{given.text}", furigana=surname.kana + given.kana),
            birth_date=identity.BirthDate(year=born.year, month=born.month, day=born.day),
            sex=identity.SEX_MALE if male else identity.SEX_FEMALE,
            address=identity.Address(
                local_government_code=code, town=town, block=f"{lot // _LOTS + 1}番{lot % _LOTS + 1}号"
            ),
            individual_number=_number(number),
        )

    def rows(self) -> Iterator[tuple[object, ...]]:
        """What stands in `COLUMNS` of each resident; the keys of towns and parts of names are folded once."""
        for number in range(self._size):
            record = self.record(number)
            born, address = record.birth_date, record.address
            resident = identity.Resident(
                record=record,
                version=1,
                status=identity.RESIDENT_STATUS_ACTIVE,
                holder=address.local_government_code,
                effective_date=_MOVED_IN,
            )
            message = resident.SerializeToString()
            lot = number // len(self._towns)
            yield (
                record.resident_code,
                1,
                resident.status,
                resident.holder,
                "2026-04-01",
                f"{born.year:04}-{born.month:02}-{born.day:02}",
                record.sex,
                "".join(map(_name_part, record.name.legal.split(SPACE))),
                "",
                None,
                f"{address.local_government_code}/{_town(address.town)}{lot // _LOTS + 1}-{lot % _LOTS + 1}",
                record.individual_number,
                message,
                checksum_of(message),
            )


@cache
def _names() -> NameStock:
    return NameStock()


@cache
def _towns() -> list[tuple[str, str]]:
    """Municipality and town; of towns whose name ends in a letter, so that the lot's number is apart from it."""
    codes = Random(_SEED).sample(sorted(municipalities()), _MUNICIPALITIES)
    of_all = towns([municipalities()[code] for code in codes])
    return [
        (code, town) for code in codes for town in of_all[code] if place_key(f"{town} 1番2号") == f"{_town(town)}1-2"
    ]


@cache
def _town(name: str) -> str:
    return place_key(name)


@cache
def _name_part(text: str) -> str:
    return search_key(text)


def _code(number: int) -> str:
    body = f"{resident_code.SYNTHETIC_PREFIX}{number * _SPREAD % 10**8:08}"
    return body + resident_code.check_digit(body)


def _number(number: int) -> str:
    body = f"{individual_number.SYNTHETIC_PREFIX}{number * _SPREAD % 10**8:09}"
    return body + individual_number.check_digit(body)


def _made(path: Path, size: int) -> str:
    """The URL of a new register of so many residents; indexes are made at the end, in their order."""
    url = f"sqlite:///{path}"
    writer = open_writer(url)
    ensure_schema(writer, REGISTER)
    writer.dispose()
    dialect = sqlite.dialect()
    indexes = sorted(residents.indexes, key=lambda index: str(index.name))
    marks = ", ".join("?" * len(COLUMNS))
    database = sqlite3.connect(path, isolation_level=None)
    try:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -262144"):
            database.execute(f"PRAGMA {pragma}").fetchall()
        for index in indexes:
            database.execute(str(DropIndex(index).compile(dialect=dialect)))
        database.execute("BEGIN")
        database.executemany(f"INSERT INTO residents ({', '.join(COLUMNS)}) VALUES ({marks})", _People(size).rows())  # noqa: S608  # names of columns
        for index in indexes:
            database.execute(str(CreateIndex(index).compile(dialect=dialect)))
        database.execute("COMMIT")
        database.execute("PRAGMA journal_mode = WAL").fetchall()
    finally:
        database.close()
    return url
