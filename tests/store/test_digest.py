"""Digests of a municipality are equal at all tiers exactly when their rows are, as of the same place in its stream."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, insert, select, text, update

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.domain.arrival import Arrival
from jukinet.domain.protection import is_protected
from jukinet.mesh.errors import Refused
from jukinet.store import journal
from jukinet.store.current_rows import look_up
from jukinet.store.digest import BUCKETS, Place, Stopped, bucket_of, digest, places, rows_in
from jukinet.store.register import apply_arrivals
from jukinet.store.schema import residents, set_aside
from tests.damaged import flip_kept, flipped
from tests.month_of_life import MUNICIPALITIES, merged, month_of_life

SCOPES = ("13", "14", "")
KEY = b"k" * 32


def never() -> bool:
    return False


@contextmanager
def node(engine: Engine, scope: str, batches: Sequence[Sequence[Arrival]]) -> Iterator[Connection]:
    """A register that took these batches, in a transaction that is rolled back: one database serves for all nodes."""
    with engine.connect() as connection, connection.begin() as transaction:
        for batch in batches:
            take(connection, scope, batch)
        yield connection
        transaction.rollback()


def take(connection: Connection, scope: str, arrivals: Sequence[Arrival]) -> None:
    apply_arrivals(connection, arrivals, scope=scope, now_us=0)
    for arrival in arrivals:
        journal.write_origin(connection, arrival.municipality, journal.Origin(*arrival.place, b"", 0))


def root(connection: Connection, at: Place, key: bytes = KEY) -> bytes:
    return digest(connection, key, at, stopped=never).root


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Arrival]]:
    """The changes that each municipality seals in a month."""
    return month_of_life(tmp_path_factory.mktemp("month") / "all")


@pytest.mark.parametrize("seed", range(3))
def test_all_tiers_hold_the_same_rows_of_each_municipality_after_a_month_of_life(
    engine: Engine, month: dict[str, list[Arrival]], seed: int
) -> None:
    random = Random(seed)
    roots: dict[Place, set[bytes]] = {}
    for scope in (*MUNICIPALITIES, *SCOPES):
        with node(engine, scope, merged(month, scope, random)) as connection:
            for code in MUNICIPALITIES:
                if code.startswith(scope):
                    for sequence in (len(month[code]), len(month[code]) // 2, 1):
                        at = Place(code, 1, sequence)
                        found = digest(connection, KEY, at, stopped=never)
                        assert (found.misfiled, found.parked) == (0, 0)
                        roots.setdefault(at, set()).add(found.root)
    assert len(roots) == 3 * len(MUNICIPALITIES)
    assert all(len(of_tiers) == 1 for of_tiers in roots.values())


def test_all_tiers_agree_on_who_is_protected_wherever_the_person_moves(
    engine: Engine, change: Callable[..., Any], arrive: Callable[..., Arrival]
) -> None:
    here, there = "131016", "142018"
    begun = change(1, 2, reason="PROTECTION_BEGIN", at=here, protected=True)
    leaving = change(1, 3, reason="DELETION_DOMESTIC_MOVE_OUT", at=here, next_municipality=there, protected=True)
    streams = {
        here: [arrive(each, here) for each in (change(1, 1, at=here), begun, leaving)],
        there: [
            arrive(each, there)
            for each in (
                change(1, 4, reason="ENTRY_DOMESTIC_MOVE_IN", at=there, previous_municipality=here),
                change(1, 5, reason="CORRECTION_MOVE_WITHIN", at=there, town="栄町"),
                change(1, 6, reason="PROTECTION_END", at=there, town="栄町"),
            )
        ],
    }
    for length in (1, 2, 3):
        roots: dict[Place, set[bytes]] = {}
        for scope in (here, there, "13", "14", ""):
            seen = {code: stream for code, stream in streams.items() if code.startswith(scope)}
            batches = [stream if code == here else stream[:length] for code, stream in seen.items()]
            with node(engine, scope, batches) as connection:
                for at in (Place(here, 1, 1), Place(here, 1, 2), Place(here, 1, 3), Place(there, 1, length)):
                    if at.municipality in seen:
                        roots.setdefault(at, set()).add(root(connection, at))
                if not scope:
                    (row,) = look_up(connection, [streams[here][0].change.record.resident_code]).values()
                    assert is_protected(row) == (length < 3)
        assert all(len(of_tiers) == 1 for of_tiers in roots.values())
        assert len({root for of_tiers in roots.values() for root in of_tiers}) == 4


def test_a_node_that_is_further_digests_as_of_an_earlier_place(engine: Engine, month: dict[str, list[Arrival]]) -> None:
    code = "131016"
    stream = month[code]
    for sequence in range(len(stream) - 40, len(stream), 13):
        at = Place(code, 1, sequence)
        with node(engine, code, [stream[:sequence]]) as connection:
            then = root(connection, at)
        with node(engine, code, [stream]) as connection:
            assert root(connection, at) == then
            assert root(connection, Place(code, 1, len(stream))) != then


def test_a_node_that_is_not_there_yet_has_no_digest(engine: Engine, month: dict[str, list[Arrival]]) -> None:
    with node(engine, "", [month["131016"][:10]]) as connection:
        for at in (Place("131016", 1, 11), Place("131016", 2, 1), Place("142018", 1, 1)):
            with pytest.raises(Refused) as refused:
                root(connection, at)
            assert refused.value.reason == errors.ERROR_REASON_NOT_AT_PLACE
        assert places(connection) == [Place("131016", 1, 10)]


def test_whoever_gives_up_stops_the_work(engine: Engine, month: dict[str, list[Arrival]]) -> None:
    with node(engine, "", [month["131016"]]) as connection, pytest.raises(Stopped):
        digest(connection, KEY, Place("131016", 1, 10), stopped=lambda: True)


def test_another_key_makes_other_digests(engine: Engine, month: dict[str, list[Arrival]]) -> None:
    at = Place("131016", 1, 10)
    with node(engine, "", [month["131016"]]) as connection:
        assert root(connection, at) == root(connection, at) != root(connection, at, b"l" * 32)


DAMAGES = {
    "a field of the message": "UPDATE residents SET resident = {altered} WHERE resident_code = :code",
    "a protection": "UPDATE residents SET resident = {exposed} WHERE resident_code = :code",
    "a search column": "UPDATE residents SET sex = sex + 1 WHERE resident_code = :code",
    "a search key": "UPDATE residents SET name_key = 'x' WHERE resident_code = :code",
    "the version beside the message": "UPDATE residents SET version = version + 1 WHERE resident_code = :code",
    "the holder beside the message": "UPDATE residents SET holder = '142018' WHERE resident_code = :code",
    "the row": "DELETE FROM residents WHERE resident_code = :code",
    "its place": "UPDATE residents SET resident_code = '99999999999' WHERE resident_code = :code",
}


def written(connection: Connection, row: Resident) -> str:
    """A row's message as a literal of SQL."""
    digits = row.SerializeToString().hex()
    return f"x'{digits}'" if connection.dialect.name == "sqlite" else f"'\\x{digits}'\\:\\:bytea"


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_to_one_row_shows_in_a_digest(
    engine: Engine, month: dict[str, list[Arrival]], damage: str
) -> None:
    streams = {code: month[code] for code in ("131016", "142018")}
    ends = [Place(code, 1, len(stream)) for code, stream in streams.items()]
    with node(engine, "", list(streams.values())) as connection:
        sound = [root(connection, at) for at in ends]
        rows = look_up(connection, [arrival.change.record.resident_code for arrival in streams["131016"]])
        victim, row = next((code, row) for code, row in rows.items() if row.holder == "131016")
        row.protected = not row.protected
        exposed = written(connection, row)
        row.record.address.building = "別館"
        altered = written(connection, row)
        connection.execute(text(DAMAGES[damage].format(altered=altered, exposed=exposed)), {"code": victim})
        assert [root(connection, at) for at in ends] != sound


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_row_that_differs_is_found_in_its_bucket_and_no_other(
    engine: Engine, month: dict[str, list[Arrival]], data: st.DataObject
) -> None:
    stream = month["131016"][:60]
    at = Place("131016", 1, len(stream))
    victim = data.draw(st.sampled_from(stream)).change.record.resident_code
    with node(engine, "", [stream]) as connection:
        sound = digest(connection, KEY, at, stopped=never)
        before = {row.code: row for row in rows_in(connection, KEY, at, range(BUCKETS), stopped=never)}
        connection.execute(
            update(residents).where(residents.c.resident_code == victim).values(effective_date="1999-01-01")
        )
        found = digest(connection, KEY, at, stopped=never)
        differing = [n for n in range(BUCKETS) if found.buckets[32 * n :][:32] != sound.buckets[32 * n :][:32]]
        assert differing == [bucket_of(victim)]
        assert found.misfiled == 1
        after = {row.code: row for row in rows_in(connection, KEY, at, differing, stopped=never)}
        assert [code for code, row in after.items() if row != before[code]] == [victim]
        assert after[victim].misfiled


@pytest.mark.parametrize("column", ["resident", "checksum"])
def test_a_damaged_row_differs_and_is_named_as_damaged(
    engine: Engine, change: Callable[..., Any], arrive: Callable[..., Arrival], column: str
) -> None:
    at = Place("131016", 1, 3)
    with node(engine, "", [[arrive(change(number, 1)) for number in (1, 2, 3)]]) as connection:
        before = {row.code: row for row in rows_in(connection, KEY, at, range(BUCKETS), stopped=never)}
        assert not any(row.damaged for row in before.values())
        victim, value = connection.execute(select(residents.c.resident_code, residents.c[column]).limit(1)).one()
        ruined = update(residents).where(residents.c.resident_code == victim)
        connection.execute(ruined.values({column: flipped(value)}))
        after = {row.code: row for row in rows_in(connection, KEY, at, range(BUCKETS), stopped=never)}
    assert [code for code, row in after.items() if row.digest != before[code].digest] == [victim]
    assert [code for code, row in after.items() if row.damaged] == [victim]


@pytest.mark.parametrize("column", ["change", "applied_at"])
def test_a_row_that_is_made_again_of_a_damaged_change_differs_and_is_named_as_damaged(
    engine: Engine, change: Callable[..., Any], arrive: Callable[..., Arrival], column: str
) -> None:
    at = Place("131016", 1, 2)
    stream = [change(1, 1), change(2, 1), change(1, 2, reason="CORRECTION_MOVE_WITHIN", town="二丁目")]
    with engine.begin() as connection:
        take(connection, "", [arrive(each) for each in stream])
        before = {row.code: row for row in rows_in(connection, KEY, at, range(BUCKETS), stopped=never)}
    flip_kept(engine, 1, column)
    with engine.connect() as connection:
        after = {row.code: row for row in rows_in(connection, KEY, at, range(BUCKETS), stopped=never)}
    code = stream[0].record.resident_code
    assert [code for code, row in after.items() if row.digest != before[code].digest] == [code]
    assert [code for code, row in after.items() if row.damaged] == [code]


def test_a_row_without_a_checksum_is_equal_to_the_same_with_one(
    engine: Engine, change: Callable[..., Any], arrive: Callable[..., Arrival]
) -> None:
    """Rows of an earlier version have none at a tier that was upgraded, and one at a tier that was made again."""
    at = Place("131016", 1, 1)
    with node(engine, "", [[arrive(change(1, 1))]]) as connection:
        before = digest(connection, KEY, at, stopped=never)
        connection.execute(update(residents).values(checksum=None))
        after = digest(connection, KEY, at, stopped=never)
    assert (after.root, after.misfiled) == (before.root, 0)


def test_a_parked_change_is_named_beside_the_rows(engine: Engine, change: Callable[..., Any]) -> None:
    entry = change(1, 2, reason="ENTRY_DOMESTIC_MOVE_IN", at="131016", previous_municipality="142018")
    arrival = Arrival("131016", 1, 1, entry, entry.SerializeToString())
    with node(engine, "", [[arrival]]) as connection:
        found = digest(connection, KEY, Place("131016", 1, 1), stopped=never)
        assert (found.rows, found.parked) == (0, 1)
        (row,) = rows_in(connection, KEY, Place("131016", 1, 1), range(BUCKETS), stopped=never)
        assert (row.code, row.version) == (entry.record.resident_code, 0)
        assert row.parked == errors.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE


def test_a_change_that_was_set_aside_explains_its_row_until_the_row_has_gone_on(
    engine: Engine, change: Callable[..., Any]
) -> None:
    """A tier whose operators gave a change up is behind its municipality, and that is no drift."""
    entries = [change(number, 1, at="131016") for number in (1, 2)]
    arrivals = [Arrival("131016", 1, n, entry, entry.SerializeToString()) for n, entry in enumerate(entries, 1)]
    with node(engine, "", [arrivals]) as connection:
        for sequence, number, version in ((3, 1, 2), (4, 2, 1), (5, 3, 1), (6, 4, 1)):
            gone = change(number, version, at="131016")
            connection.execute(
                insert(set_aside).values(
                    resident_code=gone.record.resident_code,
                    municipality="131016",
                    epoch=1,
                    sequence=sequence,
                    version=version,
                    reason=errors.ERROR_REASON_CHANGE_NOT_COVERED,
                    change=gone.SerializeToString(),
                    parked_at=1,
                    proposed_by="a",
                    proposed_at=2,
                    carried_out_by="b",
                    carried_out_at=3,
                )
            )
        journal.write_origin(connection, "131016", journal.Origin(1, 6, b"", 0))
        named = rows_in(connection, KEY, Place("131016", 1, 5), range(BUCKETS), stopped=never)
    code = {number: change(number, 1).record.resident_code for number in (1, 2, 3)}
    assert {row.code: (row.version, bool(row.parked)) for row in named} == {
        code[1]: (1, True),
        code[2]: (1, False),
        code[3]: (0, True),
    }


def test_a_row_of_a_municipality_that_never_sent_anything_is_in_a_digest(
    engine: Engine, month: dict[str, list[Arrival]]
) -> None:
    with node(engine, "", [month["131016"][:10]]) as connection:
        victim = month["131016"][3].change.record.resident_code
        connection.execute(update(residents).where(residents.c.resident_code == victim).values(holder="999999"))
        assert Place("999999", 0, 0) in places(connection)
        assert digest(connection, KEY, Place("999999", 0, 0), stopped=never).rows == 1
