"""The register moves only by the rules, and drops nothing that was sealed."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.domain.arrival import Arrival
from jukinet.store.current_rows import counts_by_status, look_up
from jukinet.store.register import Applied, Run, apply_arrivals
from jukinet.store.rows import COLUMNS, checksum_of_kept, columns_of, sealed_of
from jukinet.store.schema import history, parked, residents

TOKYO, NEXT_DOOR, OSAKA = "131016", "131024", "271004"
Make = Callable[..., Any]

MOVE_OUT, MOVE_IN = "DELETION_DOMESTIC_MOVE_OUT", "ENTRY_DOMESTIC_MOVE_IN"
NEW_CODE = "CORRECTION_RESIDENT_CODE_REQUEST"


@pytest.fixture
def receive(engine: Engine) -> Callable[..., Applied]:
    """Applies or parks arrivals in a transaction of their own."""

    def run(*arrivals: Arrival, scope: str = "", now_us: int = 7) -> Applied:
        with engine.begin() as connection:
            return apply_arrivals(connection, arrivals, scope=scope, now_us=now_us)

    return run


def reasons(applied: Applied) -> list[str]:
    return [
        "" if reason is None else ErrorReason.Name(reason).removeprefix("ERROR_REASON_") for reason in applied.outcomes
    ]


def row(engine: Engine, code: str) -> Resident:
    with engine.connect() as connection:
        return look_up(connection, [code])[code]


def parked_rows(engine: Engine) -> list[tuple[str, str, int, str]]:
    columns = (parked.c.resident_code, parked.c.municipality, parked.c.sequence, parked.c.reason)
    with engine.connect() as connection:
        found = connection.execute(select(*columns).order_by(parked.c.id)).all()
    return [
        (code, at, number, ErrorReason.Name(reason).removeprefix("ERROR_REASON_")) for code, at, number, reason in found
    ]


def history_rows(engine: Engine) -> list[tuple[str, int]]:
    query = select(history.c.resident_code, history.c.version).order_by(history.c.position)
    with engine.connect() as connection:
        return [(code, version) for code, version in connection.execute(query)]


def test_a_change_writes_the_row_its_history_and_the_keys_to_find_it(
    engine: Engine, receive: Make, change: Make, arrive: Make, code: Make
) -> None:
    arrival = arrive(change(1, 1, legal="髙橋 一", alias="橋本", former_surname="齋藤"))
    assert reasons(receive(arrival)) == [""]
    resident = row(engine, code(1))
    assert (resident.version, resident.holder, resident.record) == (1, TOKYO, arrival.change.record)
    with engine.connect() as connection:
        stored = connection.execute(select(residents)).mappings().one()
        logged = connection.execute(select(history)).mappings().one()
    expected = {
        "resident_code": code(1),
        "version": 1,
        "status": 1,
        "holder": TOKYO,
        "effective_date": "2026-04-01",
        "birth_date": "1980-01-02",
        "sex": 2,
        "name_key": "高橋一",
        "alias_key": "橋本",
        "former_name_key": "斎藤一",
        "individual_number": "",
    }
    assert expected.items() <= dict(stored).items()
    assert stored["address_key"].startswith(TOKYO + "/")
    assert dict(logged) == {
        "position": 1,
        "resident_code": code(1),
        "version": 1,
        "municipality": TOKYO,
        "epoch": 1,
        "sequence": 1,
        "change": arrival.payload,
        "applied_at": 7,
        "checksum": checksum_of_kept(sealed_of(arrival), 7),
    }


def test_a_person_changes_several_times_in_one_run(
    engine: Engine, receive: Make, change: Make, arrive: Make, code: Make
) -> None:
    entry = arrive(change(1, 1))
    moves = [
        arrive(change(1, version, reason="CORRECTION_MOVE_WITHIN", town=f"{version}丁目")) for version in (2, 3, 4)
    ]
    assert reasons(receive(entry, *moves)) == ["", "", "", ""]
    assert row(engine, code(1)).version == 4
    assert history_rows(engine) == [(code(1), version) for version in (1, 2, 3, 4)]


def test_a_change_that_is_refused_for_good_is_parked_with_its_bytes_and_stays(
    engine: Engine, receive: Make, change: Make, arrive: Make, code: Make
) -> None:
    forged = arrive(change(1, 2, reason="CORRECTION_MOVE_WITHIN", town="栄町", at=OSAKA), OSAKA)
    assert reasons(receive(arrive(change(1, 1)), forged)) == ["", "NOT_HOLDER"]
    assert reasons(receive(arrive(change(1, 2, reason="CORRECTION_MOVE_WITHIN", town="元町")))) == [""]
    assert parked_rows(engine) == [(code(1), OSAKA, 1, "NOT_HOLDER")]
    with engine.connect() as connection:
        assert connection.execute(select(parked.c.change)).scalar_one() == forged.payload
    assert row(engine, code(1)).holder == TOKYO


def test_what_is_refused_for_good_is_not_tried_again_within_its_run(
    engine: Engine, receive: Make, change: Make, arrive: Make, code: Make
) -> None:
    receive(
        arrive(change(1, 1)),
        arrive(change(1, 2, reason=MOVE_IN, at=OSAKA, previous_municipality=TOKYO), OSAKA),
        arrive(change(1, 2, reason=MOVE_OUT, next_municipality=OSAKA)),
    )
    assert parked_rows(engine) == [(code(1), OSAKA, 1, "TRANSFER_MISMATCH")]


def test_both_sides_of_a_move_may_come_in_any_order(
    engine: Engine, receive: Make, change: Make, arrive: Make, code: Make
) -> None:
    receive(arrive(change(1, 1)))
    move_in = arrive(change(1, 3, reason=MOVE_IN, at=OSAKA, previous_municipality=TOKYO), OSAKA)
    assert reasons(receive(move_in)) == ["WAITING_FOR_EARLIER_CHANGE"]
    assert parked_rows(engine) == [(code(1), OSAKA, 1, "WAITING_FOR_EARLIER_CHANGE")]
    applied = receive(arrive(change(1, 2, reason=MOVE_OUT, next_municipality=OSAKA)))
    assert reasons(applied) == [""]
    assert applied.released == [(OSAKA, 1)]
    assert parked_rows(engine) == []
    assert (row(engine, code(1)).version, row(engine, code(1)).holder) == (3, OSAKA)


def test_what_waits_and_what_it_waits_for_may_come_in_one_run(
    engine: Engine, receive: Make, change: Make, arrive: Make, code: Make
) -> None:
    receive(arrive(change(1, 1)))
    applied = receive(
        arrive(change(1, 3, reason=MOVE_IN, at=OSAKA, previous_municipality=TOKYO), OSAKA),
        arrive(change(1, 2, reason=MOVE_OUT, next_municipality=OSAKA)),
    )
    assert reasons(applied) == ["WAITING_FOR_EARLIER_CHANGE", ""]
    assert applied.released == [(OSAKA, 1)]
    assert parked_rows(engine) == []
    assert history_rows(engine) == [(code(1), 1), (code(1), 2), (code(1), 3)]


def test_a_chain_that_waits_is_released_in_its_order(
    engine: Engine, receive: Make, change: Make, arrive: Make, code: Make
) -> None:
    receive(arrive(change(1, 1)))
    later = [
        arrive(change(1, 3, reason=MOVE_IN, at=OSAKA, previous_municipality=TOKYO), OSAKA),
        arrive(change(1, 4, reason="CORRECTION_MOVE_WITHIN", at=OSAKA, town="栄町"), OSAKA),
        arrive(change(1, 5, reason=MOVE_OUT, at=OSAKA, town="栄町", next_municipality=NEXT_DOOR), OSAKA),
    ]
    back = arrive(change(1, 6, reason=MOVE_IN, at=NEXT_DOOR, previous_municipality=OSAKA), NEXT_DOOR)
    assert set(reasons(receive(back))) == {"WAITING_FOR_EARLIER_CHANGE"}
    assert set(reasons(receive(*later))) == {"WAITING_FOR_EARLIER_CHANGE"}
    applied = receive(arrive(change(1, 2, reason=MOVE_OUT, next_municipality=OSAKA)))
    assert applied.released == [(OSAKA, 1), (OSAKA, 2), (OSAKA, 3), (NEXT_DOOR, 1)]
    assert [version for _, version in history_rows(engine)] == [1, 2, 3, 4, 5, 6]
    assert parked_rows(engine) == []


def test_a_new_code_waits_under_the_old_one_and_what_follows_waits_for_both(
    engine: Engine, receive: Make, change: Make, arrive: Make, code: Make
) -> None:
    receive(arrive(change(1, 1)))
    receive(
        arrive(change(1, 3, reason=MOVE_IN, at=OSAKA, previous_municipality=TOKYO), OSAKA),
        arrive(change(2, 4, reason=NEW_CODE, at=OSAKA, previous_resident_code=code(1)), OSAKA),
    )
    receive(arrive(change(2, 5, reason="CORRECTION_MOVE_WITHIN", at=OSAKA, town="栄町"), OSAKA))
    assert [(waits, number) for waits, _, number, _ in parked_rows(engine)] == [
        (code(1), 1),
        (code(1), 2),
        (code(2), 3),
    ]
    applied = receive(arrive(change(1, 2, reason=MOVE_OUT, next_municipality=OSAKA)))
    assert applied.released == [(OSAKA, 1), (OSAKA, 2), (OSAKA, 3)]
    assert row(engine, code(2)).version == 5
    assert row(engine, code(1)).successor_code == code(2)
    assert parked_rows(engine) == []


def test_a_new_code_that_waited_cannot_take_over_the_row_of_another(
    engine: Engine, receive: Make, change: Make, arrive: Make, code: Make
) -> None:
    receive(arrive(change(1, 1)), arrive(change(2, 1, legal="佐藤 一")))
    receive(
        arrive(change(1, 3, reason=MOVE_IN, at=OSAKA, previous_municipality=TOKYO), OSAKA),
        arrive(change(2, 4, reason=NEW_CODE, at=OSAKA, previous_resident_code=code(1)), OSAKA),
    )
    applied = receive(arrive(change(1, 2, reason=MOVE_OUT, next_municipality=OSAKA)))
    assert applied.released == [(OSAKA, 1)]
    # It waited, and then it was refused for good.
    assert parked_rows(engine) == [(code(1), OSAKA, 2, "RESIDENT_EXISTS")]
    assert row(engine, code(2)).record.name.legal == "佐藤 一"
    assert row(engine, code(1)).version == 3


def test_a_later_change_of_a_municipality_waits_behind_its_earlier_one(
    engine: Engine, receive: Make, change: Make, arrive: Make, code: Make
) -> None:
    """A prefecture does not see Osaka, so the return from there would be lawful by itself."""
    first = [
        arrive(change(1, 1, at=NEXT_DOOR), NEXT_DOOR),
        arrive(change(1, 2, at=NEXT_DOOR, reason=MOVE_OUT, next_municipality=TOKYO), NEXT_DOOR),
    ]
    out_and_back = [
        arrive(change(1, 3, reason=MOVE_IN, previous_municipality=NEXT_DOOR)),
        arrive(change(1, 4, reason=MOVE_OUT, next_municipality=OSAKA)),
        arrive(change(1, 6, reason=MOVE_IN, previous_municipality=OSAKA)),
    ]
    for arrival in out_and_back:
        assert reasons(receive(arrival, scope="13")) == ["WAITING_FOR_EARLIER_CHANGE"]
    applied = receive(*first, scope="13")
    assert applied.released == [(TOKYO, 1), (TOKYO, 2), (TOKYO, 3)]
    assert [version for _, version in history_rows(engine)] == [1, 2, 3, 4, 6]
    assert parked_rows(engine) == []


def test_others_do_not_wait_behind_a_change_that_waits(
    engine: Engine, receive: Make, change: Make, arrive: Make
) -> None:
    waiting = arrive(change(1, 5, reason="CORRECTION_MOVE_WITHIN"))
    assert reasons(receive(waiting, arrive(change(2, 1)), arrive(change(3, 1, at=OSAKA), OSAKA))) == [
        "WAITING_FOR_EARLIER_CHANGE",
        "",
        "",
    ]


def test_a_change_that_cannot_be_read_is_parked_under_nobody(
    engine: Engine, receive: Make, change: Make, arrive: Make
) -> None:
    with engine.begin() as connection:
        run = Run(connection, ())
        run.park(Arrival(TOKYO, 1, 1, Change(), b"\xff"), errors.ERROR_REASON_INVALID_MESSAGE)
        run.write(connection, 1)
    assert parked_rows(engine) == [("", TOKYO, 1, "INVALID_MESSAGE")]
    arrive(change(9, 1))
    assert receive(arrive(change(1, 1))).released == []


def test_the_same_place_in_a_stream_is_never_applied_twice(
    engine: Engine, receive: Make, change: Make, arrive: Make
) -> None:
    """A guard in the database, in case that marks and epochs fail."""
    first = arrive(change(1, 1))
    receive(first)
    again = Arrival(TOKYO, 1, 1, change(1, 2, reason="CORRECTION_MOVE_WITHIN", town="栄町"), b"")
    with pytest.raises(IntegrityError):
        receive(again)
    assert len(history_rows(engine)) == 1


def test_a_run_that_is_rolled_back_leaves_nothing(engine: Engine, change: Make, arrive: Make, code: Make) -> None:
    with engine.connect() as connection:
        apply_arrivals(connection, [arrive(change(1, 1)), arrive(change(2, 5))], scope="", now_us=0)
    with engine.connect() as connection:
        assert look_up(connection, [code(1)]) == {}
    assert history_rows(engine) == []
    assert parked_rows(engine) == []


def test_an_empty_run_writes_nothing(receive: Make) -> None:
    assert receive() == Applied()


def test_long_runs_are_looked_up_in_parts(
    engine: Engine, receive: Make, change: Make, arrive: Make, code: Make
) -> None:
    receive(*[arrive(change(number, 1)) for number in range(1101)])
    moves = [arrive(change(number, 2, reason="CORRECTION_MOVE_WITHIN", town="栄町")) for number in range(1101)]
    assert set(reasons(receive(*moves))) == {""}
    with engine.connect() as connection:
        found = look_up(connection, [code(number) for number in range(1101)])
        assert len(found) == 1101
        assert counts_by_status(connection) == {"ACTIVE": 1101}


def test_residents_are_counted_by_their_status(engine: Engine, receive: Make, change: Make, arrive: Make) -> None:
    receive(*[arrive(change(number, 1)) for number in range(3)], arrive(change(0, 2, reason="DELETION_DEATH")))
    with engine.connect() as connection:
        assert counts_by_status(connection) == {"ACTIVE": 2, "DECEASED": 1}


def test_a_row_that_was_made_beforehand_has_the_columns_of_the_table() -> None:
    assert tuple(columns_of(Resident())) == COLUMNS
    assert set(COLUMNS) == {column.name for column in residents.c}
