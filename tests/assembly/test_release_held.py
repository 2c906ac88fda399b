"""A held municipality: released by two different operators, then taken up in order, portion by portion."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.assembly import release_held as release_held_module
from jukinet.assembly.parked_list import list_held
from jukinet.assembly.release import Place, release_parked, retry_parked
from jukinet.assembly.release_held import ReleasedHeld, release_held, take_up_released
from jukinet.domain.brake import HOUR_US, SLOTS, Tally
from jukinet.domain.resident_code import check_digit
from jukinet.link.apply_batch import settle
from jukinet.link.reading import read_change
from jukinet.mesh.errors import Refused
from jukinet.store.brakes import is_held, keep_tally
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.schema import brakes, history, operator_acts, parked

TOKYO, OSAKA = "131016", "271004"
OPERATORS = [f"spiffe://operators.jukinet/operator/{name}" for name in "abc"]
ALICE, BOB, CAROL = OPERATORS
HELD = errors.ERROR_REASON_LINK_HELD
NOW = 1_790_000_000_000_000


def change(number: int, version: int, at: str = TOKYO) -> bytes:
    """An entry (version 1) of the n-th resident, or a move within the municipality."""
    body = f"00{number:08}"
    return change_pb2.Change(
        reason=change_pb2.CHANGE_REASON_ENTRY_EX_OFFICIO
        if version == 1
        else change_pb2.CHANGE_REASON_CORRECTION_MOVE_WITHIN,
        event_date=identity_pb2.CalendarDate(year=2026, month=4, day=1),
        record=identity_pb2.IdentityRecord(
            resident_code=body + check_digit(body),
            name=identity_pb2.PersonName(legal="山田 花子"),
            birth_date=identity_pb2.BirthDate(year=1980, month=1, day=2),
            sex=identity_pb2.SEX_FEMALE,
            address=identity_pb2.Address(local_government_code=at, town=f"{version}丁目", block="2番3号"),
        ),
        version=version,
    ).SerializeToString()


class Center:
    """A register at which municipalities are held."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.places: dict[str, Any] = {}
        self.now = NOW

    def do(self, work: Callable[[Connection], Any]) -> Any:
        self.now += 1
        with self.engine.begin() as connection:
            return work(connection)

    def hold(self, at: str = TOKYO) -> None:
        self.do(lambda connection: keep_tally(connection, at, Tally(0, (9,) * SLOTS, residents=5, held_at=self.now)))

    def come(self, *payloads: bytes, held: bool = True, at: str = TOKYO) -> list[Any]:
        """Changes arrive; of a held municipality they are parked."""
        numbers = self.places.setdefault(at, itertools.count(1))
        reads = [read_change(at, 1, next(numbers), payload) for payload in payloads]
        reads = [(arrival, HELD if held else fault) for arrival, fault in reads]
        outcomes: list[Any] = self.do(lambda connection: settle(connection, reads, scope="", now_us=self.now))[0]
        return outcomes

    def release(self, operator: str, at: str = TOKYO) -> ReleasedHeld:
        done: ReleasedHeld = self.do(
            lambda connection: release_held(connection, at, operator=operator, scope="", now_us=self.now)
        )
        return done

    def take_up(self) -> bool:
        left: bool = self.do(lambda connection: take_up_released(connection, scope="", now_us=self.now))
        return left

    def applied(self, at: str = TOKYO) -> list[int]:
        query = select(history.c.sequence).where(history.c.municipality == at).order_by(history.c.position)
        return list(self.do(lambda connection: connection.execute(query).scalars().all()))

    def parked(self) -> list[tuple[int, int]]:
        query = select(parked.c.sequence, parked.c.reason).order_by(parked.c.id)
        return [tuple(row) for row in self.do(lambda connection: connection.execute(query).all())]

    def is_held(self, at: str = TOKYO) -> bool:
        return bool(self.do(lambda connection: is_held(connection, at)))


@pytest.fixture
def center(database_url: str) -> Iterator[Center]:
    engine = open_writer(database_url)
    ensure_schema(engine, REGISTER)
    yield Center(engine)
    engine.dispose()


@pytest.fixture
def one_center(sqlite_url: str) -> Iterator[Center]:
    engine = open_writer(sqlite_url)
    ensure_schema(engine, REGISTER)
    yield Center(engine)
    engine.dispose()


def test_two_operators_release_what_was_parked_in_the_order_in_which_it_was_sealed(center: Center) -> None:
    center.come(change(1, 1), change(2, 1), held=False)
    center.hold()
    center.come(change(1, 2), change(2, 2), change(1, 3), change(3, 1))
    center.come(change(4, 1, OSAKA), held=False, at=OSAKA)
    assert center.release(ALICE) == ReleasedHeld(False, ALICE)
    assert (center.applied(), center.applied(OSAKA)) == ([1, 2], [1])
    done = center.release(BOB)
    assert done == ReleasedHeld(True, ALICE, 4, 0, center.now + HOUR_US)
    assert (center.applied(), center.parked(), center.is_held()) == ([1, 2, 3, 4, 5, 6], [], False)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.sampled_from(OPERATORS), min_size=1, max_size=8), again=st.integers(0, 3))
def test_one_operator_never_releases_and_two_different_ones_always_do(
    one_center: Center, calls: list[str], again: int
) -> None:
    """However often they call, in whatever order, and however often the municipality is held again."""
    center = one_center
    for _ in range(again + 1):
        center.do(lambda connection: connection.execute(delete(brakes)))
        center.hold()
        for number, operator in enumerate(calls):
            different = len(set(calls[: number + 1])) > 1
            if not center.is_held():
                with pytest.raises(Refused, match="NOT_HELD"):
                    center.release(operator)
            elif different or number == 0:
                assert center.release(operator).carried_out == different
            else:
                with pytest.raises(Refused, match="SECOND_OPERATOR_NEEDED"):
                    center.release(operator)
            assert center.is_held() != different


def test_who_is_not_held_cannot_be_released(center: Center) -> None:
    center.hold(OSAKA)
    with pytest.raises(Refused, match="NOT_HELD"):
        center.release(ALICE)
    assert not center.do(lambda connection: connection.execute(select(operator_acts)).all())


def test_both_operators_are_on_record_and_a_new_hold_needs_two_anew(center: Center) -> None:
    center.hold()
    first = center.now
    center.release(ALICE)
    center.release(BOB)
    center.do(lambda connection: connection.execute(delete(brakes)))
    center.hold()
    assert not center.release(CAROL).carried_out
    acts = center.do(lambda connection: connection.execute(select(operator_acts)).all())
    assert [(row.act, row.municipality, row.epoch, row.operator) for row in acts] == [
        ("propose", TOKYO, 0, ALICE),
        ("release", TOKYO, 0, BOB),
        ("propose", TOKYO, 0, CAROL),
    ]
    assert acts[0].sequence == acts[1].sequence == first < acts[2].sequence


def test_much_is_taken_up_in_portions_and_nothing_overtakes_it(center: Center, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_held_module, "PORTION", 2)
    center.come(change(1, 1), held=False)
    center.hold()
    center.come(*(change(1, version) for version in range(2, 7)))
    center.release(ALICE)
    done = center.release(BOB)
    assert (done.taken_up, done.left, center.applied()) == (2, 3, [1, 2, 3])
    assert center.is_held(), "what comes now must wait its turn"
    center.come(change(1, 7))
    with pytest.raises(Refused, match="NOT_HELD"):
        center.release(CAROL)
    assert center.take_up()
    assert center.take_up() is False
    assert (center.applied(), center.parked(), center.is_held()) == ([1, 2, 3, 4, 5, 6, 7], [], False)
    assert center.take_up() is False


def test_what_is_not_taken_up_within_the_hour_needs_two_operators_again(
    center: Center, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release_held_module, "PORTION", 1)
    center.hold()
    center.come(change(1, 1), change(2, 1), change(3, 1))
    center.release(ALICE)
    center.release(BOB)
    center.now += HOUR_US
    assert center.take_up() is False
    assert center.applied() == [1]
    assert not center.release(BOB).carried_out, "the proposal of before was for the hold of before"
    assert center.release(ALICE).carried_out
    while center.take_up():
        pass
    assert (center.applied(), center.is_held()) == ([1, 2, 3], False)


def test_what_cannot_be_applied_is_parked_for_its_own_reason(center: Center) -> None:
    center.hold()
    center.come(change(1, 1), change(2, 2), b"\xff", change(3, 1))
    center.release(ALICE)
    center.release(BOB)
    assert center.applied() == [1, 4]
    assert sorted(center.parked()) == [
        (2, errors.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE),
        (3, errors.ERROR_REASON_INVALID_MESSAGE),
    ]


def test_one_operator_cannot_judge_again_what_the_brake_keeps(center: Center) -> None:
    center.hold()
    center.come(change(1, 1))
    with pytest.raises(Refused, match="LINK_HELD"):
        center.do(lambda connection: retry_parked(connection, Place(TOKYO, 1, 1), operator=ALICE, scope="", now_us=1))
    assert center.parked() == [(1, HELD)]


def test_what_the_brake_keeps_is_not_released_by_a_change_that_could_be_applied(center: Center) -> None:
    """Nor do two operators who set one of them aside let the others through."""
    center.come(change(1, 1), held=False)
    center.hold()
    center.come(change(1, 2), change(1, 3))
    center.come(change(2, 1, OSAKA), held=False, at=OSAKA)
    for operator in (ALICE, BOB):
        with center.engine.begin() as connection:
            release_parked(connection, Place(TOKYO, 1, 2), operator=operator, scope="", now_us=1)
    assert (center.applied(), center.parked()) == ([1], [(3, HELD)])
    center.release(ALICE)
    center.release(BOB)
    assert (center.applied(), center.parked()) == ([1, 3], [])


def test_operators_see_counts_and_who_proposed(center: Center) -> None:
    center.hold()
    held_at = center.now
    center.come(change(1, 1), change(2, 1))
    center.release(ALICE)
    (entry,) = center.do(list_held)
    assert (entry.municipality, entry.changes, entry.residents, entry.parked) == (TOKYO, 9 * SLOTS, 5, 2)
    assert (entry.held_at.ToMicroseconds(), entry.proposed_by) == (held_at, ALICE)
    assert not entry.HasField("lifted_until")
