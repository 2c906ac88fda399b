"""Parked changes: released by two operators, judged again, never dropped; only their own resident waits."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.assembly.release import Place, Released, Retried, release_parked, retry_parked
from jukinet.domain.resident_code import check_digit
from jukinet.link.apply_batch import settle
from jukinet.link.reading import read_change
from jukinet.mesh.errors import Refused
from jukinet.store.current_rows import look_up
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.rows import columns_of
from jukinet.store.schema import history, operator_acts, parked, residents, set_aside

TOKYO, OSAKA = "131016", "271004"
ALICE, BOB = "spiffe://operators.jukinet/operator/a", "spiffe://operators.jukinet/operator/b"
BROKEN = b"\xff"


def code(number: int) -> str:
    body = f"00{number:08}"
    return body + check_digit(body)


def change(number: int, version: int, reason: str = "ENTRY_EX_OFFICIO", *, at: str = TOKYO, **items: Any) -> bytes:
    """A change of the n-th resident as it is sealed."""
    town = items.pop("town", f"{version}丁目")
    return change_pb2.Change(
        reason=change_pb2.ChangeReason.Value(f"CHANGE_REASON_{reason}"),
        event_date=identity_pb2.CalendarDate(year=2026, month=4, day=1),
        record=identity_pb2.IdentityRecord(
            resident_code=items.pop("resident_code", code(number)),
            name=identity_pb2.PersonName(legal=items.pop("legal", "山田 花子")),
            birth_date=identity_pb2.BirthDate(year=1980, month=1, day=2),
            sex=identity_pb2.SEX_FEMALE,
            address=identity_pb2.Address(local_government_code=at, town=town, block="2番3号"),
        ),
        version=version,
        **items,
    ).SerializeToString()


def moves(number: int, version: int, **items: Any) -> bytes:
    """The n-th resident moves within the municipality."""
    return change(number, version, "CORRECTION_MOVE_WITHIN", **items)


def poison(number: int, version: int) -> bytes:
    """A move that also changes the name: refused for good (CHANGE_NOT_COVERED)."""
    return moves(number, version, legal="山田 太郎")


class Register:
    """A node's register, into which streams are put and on which operators act."""

    def __init__(self, engine: Engine, scope: str = "") -> None:
        self.engine, self.scope = engine, scope
        self.places: dict[str, count[int]] = {}

    def receive(self, *payloads: bytes, at: str = TOKYO) -> list[str]:
        numbers = self.places.setdefault(at, count(1))
        reads = [read_change(at, 1, next(numbers), payload) for payload in payloads]
        with self.engine.begin() as connection:
            outcomes, _ = settle(connection, reads, scope=self.scope, now_us=7)
        return [
            "" if each is None else errors.ErrorReason.Name(each).removeprefix("ERROR_REASON_") for each in outcomes
        ]

    def release(self, sequence: int, operator: str, *, at: str = TOKYO) -> Released:
        with self.engine.begin() as connection:
            return release_parked(connection, Place(at, 1, sequence), operator=operator, scope=self.scope, now_us=9)

    def set_aside(self, sequence: int, *, at: str = TOKYO) -> Released:
        self.release(sequence, ALICE, at=at)
        return self.release(sequence, BOB, at=at)

    def retry(self, sequence: int, *, at: str = TOKYO) -> Retried:
        with self.engine.begin() as connection:
            return retry_parked(connection, Place(at, 1, sequence), operator=ALICE, scope=self.scope, now_us=9)

    def version(self, number: int) -> int:
        with self.engine.connect() as connection:
            row = look_up(connection, [code(number)]).get(code(number))
        return row.version if row else 0

    def parked(self) -> list[int]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(parked.c.sequence).order_by(parked.c.id)).scalars())

    def rows(self, table: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(table)).all())


@pytest.fixture
def register(database_url: str) -> Iterator[Register]:
    engine = open_writer(database_url)
    ensure_schema(engine, REGISTER)
    yield Register(engine)
    engine.dispose()


def test_what_is_set_aside_lets_those_behind_it_go_in_order(register: Register) -> None:
    assert register.receive(change(1, 1), poison(1, 2), moves(1, 3), moves(1, 4), moves(2, 2)) == [
        "",
        "CHANGE_NOT_COVERED",
        *["WAITING_FOR_EARLIER_CHANGE"] * 3,
    ]
    assert register.release(2, ALICE) == Released(False, ALICE, 0)
    assert register.version(1) == 1
    assert register.release(2, BOB) == Released(True, ALICE, 2)
    assert register.version(1) == 4
    assert [row.version for row in register.rows(history)] == [1, 3, 4]
    assert register.parked() == [5]


def test_what_comes_after_the_release_goes_on_by_itself(register: Register) -> None:
    register.receive(change(1, 1), poison(1, 2))
    register.set_aside(2)
    assert register.receive(moves(1, 3)) == [""]


def test_whom_the_municipality_reports_anew_is_as_it_says(register: Register) -> None:
    """What was set aside is missing in the row here: the deletion before a new entry is taken all the same."""
    anew = "山田 太郎"
    assert register.receive(
        change(1, 1),
        poison(1, 2),
        change(1, 3, "DELETION_EX_OFFICIO", town="2丁目", legal=anew),
        change(1, 4, legal=anew),
    ) == ["", "CHANGE_NOT_COVERED", *["WAITING_FOR_EARLIER_CHANGE"] * 2]
    assert register.set_aside(2) == Released(True, ALICE, 2)
    assert register.parked() == []
    with register.engine.connect() as connection:
        row = look_up(connection, [code(1)])[code(1)]
    assert (row.version, row.status, row.record.name.legal) == (4, identity_pb2.RESIDENT_STATUS_ACTIVE, anew)


def test_a_deletion_changes_nothing_where_nothing_was_set_aside(register: Register) -> None:
    deletion = change(1, 2, "DELETION_EX_OFFICIO", town="1丁目", legal="山田 太郎")
    assert register.receive(change(1, 1), deletion) == ["", "CHANGE_NOT_COVERED"]


def test_what_was_set_aside_is_kept_with_both_operators(register: Register) -> None:
    register.receive(change(1, 1), poison(1, 2))
    register.set_aside(2)
    [kept] = register.rows(set_aside)
    assert (kept.resident_code, kept.version, kept.change) == (code(1), 2, poison(1, 2))
    assert kept.reason == errors.ERROR_REASON_CHANGE_NOT_COVERED
    assert (kept.parked_at, kept.proposed_by, kept.carried_out_by) == (7, ALICE, BOB)
    assert [(row.act, row.operator) for row in register.rows(operator_acts)] == [
        ("propose", ALICE),
        ("set aside", BOB),
    ]


def test_one_operator_is_not_enough_however_often_he_says_it(register: Register) -> None:
    register.receive(change(1, 1), poison(1, 2))
    register.release(2, ALICE)
    for _ in range(3):
        with pytest.raises(Refused, match="SECOND_OPERATOR_NEEDED"):
            register.release(2, ALICE)
    assert register.parked() == [2]


def test_a_proposal_holds_for_the_reason_that_was_looked_at(register: Register) -> None:
    """What was waiting when the first operator looked is refused for good when the second one does."""
    register.receive(moves(1, 2))
    register.release(1, ALICE)
    register.receive(change(1, 1, at=OSAKA), at=OSAKA)
    assert [row.reason for row in register.rows(parked)] == [errors.ERROR_REASON_NOT_HOLDER]
    assert not register.release(1, BOB).carried_out
    assert register.release(1, ALICE).carried_out


def test_what_is_not_parked_cannot_be_released(register: Register) -> None:
    register.receive(change(1, 1))
    for act in (lambda: register.release(1, ALICE), lambda: register.retry(1), lambda: register.retry(99)):
        with pytest.raises(Refused, match="NOT_PARKED"):
            act()
    assert not register.rows(operator_acts)


def test_an_unreadable_change_gives_way_only_to_a_later_one_of_its_municipality(register: Register) -> None:
    register.receive(change(1, 1), change(2, 1), moves(2, 3), BROKEN, moves(1, 3))
    assert sorted(register.parked()) == [3, 4, 5]
    assert register.set_aside(4).applied == 1
    assert (register.version(1), register.version(2)) == (3, 1)


def test_an_unreadable_change_stands_for_one_version_only(register: Register) -> None:
    register.receive(change(1, 1), BROKEN, moves(1, 4))
    assert register.set_aside(2).applied == 0
    assert register.version(1) == 1


def test_an_unreadable_change_does_not_stand_for_one_that_is_parked(register: Register) -> None:
    register.receive(change(1, 1), BROKEN, poison(1, 2), moves(1, 3))
    assert register.set_aside(2).applied == 0
    assert register.set_aside(3).applied == 1


def test_a_forged_change_that_is_set_aside_takes_no_version_from_the_true_one(register: Register) -> None:
    register.receive(change(1, 1))
    assert register.receive(moves(1, 2, at=OSAKA), at=OSAKA) == ["NOT_HOLDER"]
    register.receive(change(1, 3, "ENTRY_DOMESTIC_MOVE_IN", at=OSAKA, previous_municipality=TOKYO), at=OSAKA)
    assert register.set_aside(1, at=OSAKA).applied == 0
    assert register.receive(change(1, 2, "DELETION_DOMESTIC_MOVE_OUT", town="1丁目", next_municipality=OSAKA)) == [""]
    assert register.version(1) == 3


def test_a_resident_whose_entry_was_set_aside_can_be_entered_again(register: Register) -> None:
    assert register.receive(change(1, 1, at=OSAKA)) == ["ADDRESS_ELSEWHERE"]
    assert register.receive(change(1, 2, "DELETION_EX_OFFICIO"), change(1, 3)) == ["WAITING_FOR_EARLIER_CHANGE"] * 2
    assert register.set_aside(1).applied == 0
    assert {row.sequence: row.reason for row in register.rows(parked)}[2] == errors.ERROR_REASON_RESIDENT_UNKNOWN
    assert register.set_aside(2).applied == 1
    assert register.version(1) == 3


def test_judging_again_applies_what_became_lawful_and_what_waited_behind(register: Register) -> None:
    """An entry that came while the person was still entered elsewhere, and the move-out is on its way no more."""
    register.receive(change(1, 1, at=OSAKA), at=OSAKA)
    entry = change(1, 2)
    assert register.receive(entry, moves(1, 3)) == ["RESIDENT_EXISTS", "WAITING_FOR_EARLIER_CHANGE"]
    assert register.retry(1) == Retried(errors.ERROR_REASON_RESIDENT_EXISTS, 0)
    with register.engine.begin() as connection:  # as an operator's mended register would say
        row = look_up(connection, [code(1)])[code(1)]
        row.status = identity_pb2.RESIDENT_STATUS_DELETED
        connection.execute(update(residents).values(columns_of(row)))
    assert register.retry(1) == Retried(None, 2)
    assert (register.version(1), register.parked()) == (3, [])


def test_judging_again_changes_nothing_for_what_rightly_waits(register: Register) -> None:
    register.receive(change(1, 1), moves(1, 3))
    assert register.retry(2) == Retried(errors.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE, 0)
    assert register.parked() == [2]


def test_one_poison_in_ten_thousand_parks_only_its_resident(register: Register) -> None:
    residents, rounds = 1000, 10
    lives = [moves(number, version) for version in range(2, rounds + 1) for number in range(1, residents + 1)]
    at = lives.index(moves(501, 5))
    lives[at] = poison(501, 5)
    register.receive(*[change(number, 1) for number in range(1, residents + 1)])
    for begin in range(0, len(lives), 500):
        register.receive(*lives[begin : begin + 500])
    assert {row.resident_code for row in register.rows(parked)} == {code(501)}
    assert [register.version(number) for number in (500, 501, 502)] == [rounds, 4, rounds]
    assert register.set_aside(residents + at + 1).applied == rounds - 5
    assert register.version(501) == rounds
    assert [row.version for row in register.rows(history) if row.resident_code == code(501)] == [
        1,
        2,
        3,
        4,
        *range(6, 11),
    ]


@pytest.mark.parametrize("backwards", [False, True])
def test_with_five_percent_poison_every_resident_goes_on_in_any_order_of_release(
    register: Register, backwards: bool
) -> None:
    people, rounds = 40, 10
    numbers = range(1, people + 1)
    lives = [(number, version) for version in range(2, rounds) for number in numbers]
    bad = set(lives[7::20])
    register.receive(*[change(number, 1) for number in numbers])
    register.receive(*[(poison if each in bad else moves)(*each) for each in lives])
    clean = [number for number in numbers if number not in {number for number, _ in bad}]
    assert all(register.version(number) == rounds - 1 for number in clean)
    for at in sorted((lives.index(each) for each in bad), reverse=backwards):
        register.set_aside(people + 1 + at)
    assert register.parked() == []
    applied: dict[str, list[int]] = {}
    for row in register.rows(history):
        applied.setdefault(row.resident_code, []).append(row.version)
    for number in numbers:
        expected = [version for version in range(1, rounds) if (number, version) not in bad]
        assert applied[code(number)] == expected
