"""Each change of a person on a list waits once, whoever else changed, however often the history is looked through."""

from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, func, select

from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet.domain.arrival import Arrival
from jukinet.store import watch_look, watches
from jukinet.store.checksum import RecordDamaged
from jukinet.store.journal import Origin, write_origin
from jukinet.store.register import apply_arrivals
from jukinet.store.schema import origins
from jukinet.store.snapshots import end_offer, note_chunk, write_offer
from jukinet.store.watch_look import look_through
from jukinet.store.watch_schema import watch_events
from jukinet.store.watch_standing import Awaited, standing
from jukinet.store.watch_start import put_on
from jukinet.store.watches import WatchList
from tests.damaged import flip

TODAY = date(2026, 5, 1)
LISTS = [f"5f7d1c1e-0000-4000-8000-{number:012x}" for number in range(3)]
ENTRY, MOVED = change_pb2.CHANGE_REASON_ENTRY_EX_OFFICIO, change_pb2.CHANGE_REASON_CORRECTION_MOVE_WITHIN
Record = Callable[..., Any]


class Register:
    """A register to which changes come."""

    def __init__(self, engine: Engine, record: Record) -> None:
        self.engine = engine
        self._record = record
        self._sequence = 0

    def report(self, *changes: tuple[int, int]) -> None:
        """Changes of residents, by number and version; the first one of each is an entry."""
        arrivals = []
        for number, version in changes:
            self._sequence += 1
            change = change_pb2.Change(
                reason=ENTRY if version == 1 else MOVED,
                event_date=CalendarDate(year=2026, month=5, day=1),
                record=self._record(number, town=f"{version}番"),
                version=version,
            )
            arrivals.append(Arrival("131016", 1, self._sequence, change, change.SerializeToString()))
        with self.engine.begin() as connection:
            assert not any(apply_arrivals(connection, arrivals, scope="", now_us=self._sequence).outcomes)

    def look(self) -> int:
        with self.engine.begin() as connection:
            return look_through(connection)

    def waiting(self, list_id: str, after: int = 0) -> list[tuple[int, str]]:
        """Number on the list and town of what waits, in order."""
        with self.engine.begin() as connection:
            found = watches.waiting(connection, list_id, after=after, limit=100)
        assert [each.position for each in found] == sorted({each.position for each in found})
        return [(each.number, change_pb2.Change.FromString(each.change).record.address.town) for each in found]

    def run(self, job: Callable[[Connection], Any]) -> Any:
        with self.engine.begin() as connection:
            return job(connection)

    def begin(self, list_id: str, *codes: str, version: int = 0) -> list[int]:
        """Puts persons on a list, who were answered about at a version; gives their numbers."""
        kept = WatchList(list_id, "spiffe://agencies.jukinet/agency/a", "B1-1", (1, 4), "2026-06-01")
        self.run(lambda connection: watches.keep_list(connection, kept))
        put = partial(put_on, list_id=list_id, method=1, version=version)
        return [self.run(partial(put, resident_code=code)).number for code in codes]


@pytest.fixture
def register(engine: Engine, record: Record) -> Register:
    made = Register(engine, record)
    made.report(*((number, 1) for number in range(1, 6)))
    return made


def test_only_later_changes_of_persons_on_the_list_wait(register: Register, code: Callable[[int], str]) -> None:
    (first, second) = register.begin(LISTS[0], code(1), code(2))
    (other,) = register.begin(LISTS[1], code(2))
    register.report((1, 2), (3, 2), (2, 2), (1, 3))
    while register.look():
        pass
    assert register.waiting(LISTS[0]) == [(first, "2番"), (second, "2番"), (first, "3番")]
    assert register.waiting(LISTS[1]) == [(other, "2番")]
    assert register.waiting(LISTS[2]) == []


def test_looking_again_finds_nothing_twice(
    register: Register, code: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_look, "LOOKED_THROUGH", 2)
    register.begin(LISTS[0], code(1))
    register.report(*((1, version) for version in range(2, 9)))
    looked: list[int] = []
    while not looked or looked[-1]:
        looked.append(register.look())
    assert max(looked) == 2
    assert [town for _, town in register.waiting(LISTS[0])] == [f"{version}番" for version in range(2, 9)]
    assert register.look() == 0


def test_whoever_comes_on_the_list_is_not_told_what_was_before(register: Register, code: Callable[[int], str]) -> None:
    register.report((1, 2))
    register.begin(LISTS[0], code(1))
    register.report((1, 3))
    while register.look():
        pass
    assert [town for _, town in register.waiting(LISTS[0])] == ["3番"]


def test_what_a_damaged_row_leaves_open_is_decided_once_it_is_mended_and_nothing_is_passed_over(
    register: Register, code: Callable[[int], str]
) -> None:
    first, second = register.begin(LISTS[0], code(1), code(2))
    register.report((2, 2), (3, 2), (1, 2), (2, 3))
    flip(register.engine, code(1))
    flip(register.engine, code(3))
    assert register.look() == 7, "who is on no list stops nobody"
    with pytest.raises(RecordDamaged):
        register.look()
    assert register.waiting(LISTS[0]) == [(second, "2番")]
    flip(register.engine, code(1))
    assert register.look() == 2
    assert register.waiting(LISTS[0]) == [(second, "2番"), (first, "2番"), (second, "3番")]


def test_whose_row_is_damaged_comes_on_no_list(register: Register, code: Callable[[int], str]) -> None:
    flip(register.engine, code(1))
    with pytest.raises(RecordDamaged):
        register.begin(LISTS[0], code(1))


@pytest.mark.parametrize("looked", [True, False])
def test_what_changed_between_the_answer_and_the_list_waits_once(
    register: Register, code: Callable[[int], str], looked: bool
) -> None:
    register.report((1, 2), (2, 2), (1, 3), (1, 4))
    while looked and register.look():
        pass
    first, second = [*register.begin(LISTS[0], code(1), version=2), *register.begin(LISTS[0], code(2), version=1)]
    register.begin(LISTS[0], code(1), version=1)
    register.report((1, 5))
    while register.look():
        pass
    assert register.waiting(LISTS[0]) == [(second, "2番"), (first, "3番"), (first, "4番"), (first, "5番")]


def test_where_the_list_was_told_already_nothing_comes_in_between(
    register: Register, code: Callable[[int], str]
) -> None:
    register.report((1, 2), (2, 2))
    register.look()
    register.begin(LISTS[0], code(2), version=1)
    told = register.run(lambda connection: watches.note_told(connection, LISTS[0]))
    register.report((1, 3))
    register.look()
    begun = register.run(partial(put_on, list_id=LISTS[0], resident_code=code(1), method=1, version=1))
    assert begun.missed == {"131016"}
    assert [town for _, town in register.waiting(LISTS[0], told)] == ["3番"]
    again = register.run(partial(put_on, list_id=LISTS[0], resident_code=code(3), method=1, version=1))
    assert again.missed == frozenset()


def test_what_is_acknowledged_waits_no_longer_and_a_list_goes_on_behind_what_it_told_alone(
    register: Register, code: Callable[[int], str]
) -> None:
    register.begin(LISTS[0], code(1))
    register.report((1, 2), (1, 3), (2, 2), (1, 4))
    while register.look():
        pass
    kept = register.run(lambda connection: watches.read_list(connection, LISTS[0], today=TODAY))
    places = register.run(lambda connection: connection.execute(select(watch_events.c.position)).scalars().all())
    goes_on = [
        position for position in range(20) if register.run(partial(watches.is_place, kept=kept, position=position))
    ]
    assert goes_on == [0, *sorted(places)]
    register.run(lambda connection: watches.acknowledge(connection, LISTS[0], sorted(places)[1]))
    assert [town for _, town in register.waiting(LISTS[0])] == ["4番"]
    kept = register.run(lambda connection: watches.read_list(connection, LISTS[0], today=TODAY))
    assert kept.acknowledged == sorted(places)[1]


def test_the_oldest_change_that_waits_of_all_lists_is_known_with_its_time(
    register: Register, code: Callable[[int], str]
) -> None:
    assert register.run(standing) == (0, None, ())
    register.begin(LISTS[0], code(1))
    register.begin(LISTS[1], code(2))
    register.begin(LISTS[2], code(3))
    register.report((4, 2))
    assert register.run(standing) == (3, None, ())
    for change in ((2, 2), (1, 2), (2, 3)):  # at 7, 8 and 9, behind five entries and a change of somebody else
        register.report(change)
    while register.look():
        pass
    assert register.run(standing) == (3, 7, ())
    (first, *_) = register.run(
        lambda connection: watches.waiting(connection, LISTS[1], after=0, limit=1),
    )
    register.run(lambda connection: watches.acknowledge(connection, LISTS[1], first.position))
    assert register.run(standing) == (3, 8, ())
    register.run(lambda connection: watches.end_lists(connection, [LISTS[0]]))
    assert register.run(standing) == (2, 9, ())


def test_lists_that_wait_for_a_municipality_that_is_half_in_are_counted_with_the_oldest_change(
    register: Register, code: Callable[[int], str]
) -> None:
    for list_id, number in zip(LISTS, (1, 2, 4), strict=True):
        register.begin(list_id, code(number))
    for change in ((3, 2), (1, 2), (2, 2), (1, 3)):  # at 6 to 9; the first one is of somebody who is on no list
        register.report(change)
    while register.look():
        pass

    def begin(connection: Connection) -> None:
        write_origin(connection, "131016", Origin(1, 1, b"", 1))
        write_offer(connection, "131016", source="cs", manifest=b"", seal=b"", digests=[])
        note_chunk(connection, "131016", number=0, digest=b"", last_sequence=1)

    register.run(begin)
    assert register.run(standing).awaited == ()  # it was here before: its residents are told of
    register.run(lambda connection: connection.execute(delete(origins)))
    assert register.run(standing).awaited == (Awaited("131016", 2, 7),)
    register.run(lambda connection: watches.end_lists(connection, [LISTS[0]]))
    assert register.run(standing).awaited == (Awaited("131016", 1, 8),)
    register.run(lambda connection: end_offer(connection, "131016"))
    assert register.run(standing).awaited == ()


def test_a_list_ends_with_its_last_day_and_leaves_nothing(register: Register, code: Callable[[int], str]) -> None:
    register.begin(LISTS[0], code(1))
    register.report((1, 2))
    while register.look():
        pass
    last, after = date(2026, 6, 1), date(2026, 6, 2)
    assert register.run(lambda connection: watches.read_list(connection, LISTS[0], today=last)) is not None
    assert register.run(lambda connection: watches.read_list(connection, LISTS[0], today=after)) is None
    assert register.run(lambda connection: watches.run_out(connection, today=last)) == []
    ended = register.run(lambda connection: watches.run_out(connection, today=after))
    register.run(lambda connection: watches.end_lists(connection, ended))
    assert (
        register.run(lambda connection: connection.execute(select(func.count()).select_from(watch_events)).scalar())
        == 0
    )
