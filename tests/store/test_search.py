"""An answer needs exactly one resident who matches in all four items."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import FourItems, Subject
from jukinet._pb.jukinet.register.v1 import identity_pb2 as identity
from jukinet.store import search
from jukinet.store.checksum import RecordDamaged
from jukinet.store.register import apply_arrivals
from jukinet.store.schema import residents
from tests import searched
from tests.watched import Watched

DAY = date(2026, 4, 10)
Change = Callable[..., Any]


@pytest.fixture
def enter(engine: Engine, change: Change, arrive: Change) -> Callable[..., None]:
    """Registers changes of residents."""

    def write(*changes: Any) -> None:
        with engine.begin() as connection:
            applied = apply_arrivals(connection, [arrive(one) for one in changes], scope="", now_us=0)
            assert set(applied.outcomes) == {None}

    return write


def asked(record: identity.IdentityRecord, **other: Any) -> FourItems:
    """A question for the four items of a record, with others in their place."""
    items = FourItems(name=record.name.legal, birth_date=record.birth_date, sex=record.sex, address=record.address)
    items.MergeFrom(FourItems(**other))
    return items


def found(engine: Engine, items: FourItems, day: date = DAY) -> str | None:
    with engine.connect() as connection:
        resident = searched.by_four_items(connection, items, day=day)
    return resident.record.resident_code if resident else None


def test_one_match_over_four_items_is_found(engine: Engine, enter: Change, change: Change, record: Change) -> None:
    enter(change(1, 1), change(2, 1, legal="佐藤 一郎"))
    assert found(engine, asked(record(1))) == record(1).resident_code


@pytest.mark.parametrize(
    "other",
    [
        {"name": "山田 花江"},
        {"birth_date": identity.BirthDate(day=3)},
        {"sex": identity.SEX_MALE},
        {"address": identity.Address(block="2番4号")},
        {"address": identity.Address(local_government_code="131024")},
    ],
)
def test_each_item_must_match(engine: Engine, enter: Change, change: Change, record: Change, other: Any) -> None:
    enter(change(1, 1))
    assert found(engine, asked(record(1), **other)) is None


def test_two_of_the_same_four_items_are_not_told_apart(
    engine: Engine, enter: Change, change: Change, record: Change
) -> None:
    enter(change(1, 1), change(2, 1))
    assert found(engine, asked(record(1))) is None


def test_other_spellings_of_name_and_address_find_the_same_person(
    engine: Engine, enter: Change, change: Change, record: Change
) -> None:
    enter(change(1, 1, legal="髙橋　邉"))
    address = identity.Address(town="本町１", block="－２－３")
    assert found(engine, asked(record(1), name="高橋辺", address=address)) == record(1).resident_code


def test_an_alias_finds_its_bearer(engine: Engine, enter: Change, change: Change, record: Change) -> None:
    enter(change(1, 1, legal="KIM MINJI", alias="金田 美知"), change(2, 1))
    assert found(engine, asked(record(1), name="金田美知")) == record(1).resident_code


def test_a_former_surname_before_the_given_name_finds_its_bearer_and_nobody_else(
    engine: Engine, enter: Change, change: Change, record: Change
) -> None:
    enter(change(1, 1, former_surname="髙橋"), change(2, 1, legal="佐藤 花子"), change(3, 1, legal="高橋 春子"))
    for name in ("高橋 花子", "髙橋花子", "山田 花子"):
        assert found(engine, asked(record(1), name=name)) == record(1).resident_code
    for name in ("高橋", "花子", "山田 高橋", "高橋 山田 花子"):
        assert found(engine, asked(record(1), name=name)) is None


def test_a_former_surname_and_a_name_of_today_are_not_told_apart(
    engine: Engine, enter: Change, change: Change, record: Change
) -> None:
    enter(change(1, 1, former_surname="高橋"), change(2, 1, legal="高橋 花子"))
    assert found(engine, asked(record(1), name="高橋 花子")) is None
    assert found(engine, asked(record(1))) == record(1).resident_code


def test_a_former_surname_that_was_deleted_finds_nobody(
    engine: Engine, enter: Change, change: Change, record: Change
) -> None:
    enter(change(1, 1, former_surname="高橋"), change(1, 2, reason="CORRECTION_EX_OFFICIO"))
    assert found(engine, asked(record(1), name="高橋 花子")) is None


@pytest.mark.parametrize("name", ["・", " ", "　-　", ""])
def test_a_name_of_which_nothing_is_left_finds_nobody(
    engine: Engine, enter: Change, change: Change, record: Change, name: str
) -> None:
    enter(change(1, 1))
    items = asked(record(1))
    items.name = name
    assert found(engine, items) is None


def test_an_address_of_which_nothing_is_left_finds_nobody(
    engine: Engine, enter: Change, change: Change, record: Change
) -> None:
    entry = change(1, 1, town="-")
    entry.record.address.block = ""
    enter(entry)
    assert found(engine, asked(entry.record)) is None


@pytest.mark.parametrize(
    ("reason", "until"),
    [
        ("DELETION_DOMESTIC_MOVE_OUT", date(2026, 4, 1)),
        ("DELETION_ABROAD_MOVE_OUT", date(2026, 4, 1)),
        ("DELETION_DEATH", date.min),
        ("DELETION_EX_OFFICIO", date.min),
    ],
)
def test_a_person_is_found_until_the_day_of_a_planned_move_and_not_after_an_end(
    engine: Engine, enter: Change, change: Change, record: Change, reason: str, until: date
) -> None:
    towards = {"next_municipality": "271004"} if reason == "DELETION_DOMESTIC_MOVE_OUT" else {}
    enter(change(1, 1), change(1, 2, reason=reason, **towards))
    for day in (date(2026, 3, 31), date(2026, 4, 1), date(2026, 4, 2)):
        assert (found(engine, asked(record(1)), day) is not None) == (day < until)


def test_a_replaced_code_is_found_under_its_successor_alone(
    engine: Engine, enter: Change, change: Change, record: Change, code: Change
) -> None:
    change_of_code = {"reason": "CORRECTION_RESIDENT_CODE_REQUEST", "previous_resident_code": code(1)}
    enter(change(1, 1), change(2, 2, **change_of_code))
    assert found(engine, asked(record(1))) == code(2)


def test_who_is_protected_is_found_by_nobody_and_still_counts(
    engine: Engine, enter: Change, change: Change, record: Change
) -> None:
    enter(change(1, 1), change(1, 2, reason="PROTECTION_BEGIN", protected=True))
    assert found(engine, asked(record(1))) is None
    enter(change(2, 1))
    assert found(engine, asked(record(1))) is None  # the namesake is not taken for the one who is protected
    enter(change(2, 2, reason="DELETION_DEATH"), change(1, 3, reason="PROTECTION_END"))
    assert found(engine, asked(record(1))) == record(1).resident_code


def test_a_number_finds_the_one_who_bears_it(engine: Engine, enter: Change, change: Change, code: Change) -> None:
    bearer, other = change(1, 1), change(2, 1)
    bearer.record.individual_number = "000000000019"
    with engine.begin() as connection:
        write_row(connection, bearer.record)
        write_row(connection, other.record)
        resident = searched.by_individual_number(connection, "000000000019", day=DAY)
        assert resident is not None
        assert resident.record == bearer.record
        assert searched.by_individual_number(connection, "000000000027", day=DAY) is None
        write_row(connection, bearer.record, protected=True)
        assert searched.by_individual_number(connection, "000000000019", day=DAY) is None
        write_row(connection, bearer.record)
        other.record.individual_number = "000000000019"
        write_row(connection, other.record)
        assert searched.by_individual_number(connection, "000000000019", day=DAY) is None


def test_of_questions_asked_together_each_is_answered_as_if_alone(
    engine: Engine, enter: Change, change: Change, record: Change
) -> None:
    """By name and by number in turns, with somebody, nobody and one whose record is damaged among them."""
    numbered = change(1, 1)
    numbered.record.individual_number = "000000000019"
    enter(numbered, *(change(number, 1, legal=f"佐藤 一郎{number}") for number in (2, 3, 4)))
    with engine.begin() as connection:
        row = residents.c.resident_code == record(3).resident_code
        connection.execute(residents.update().where(row).values(checksum=1))
    subjects = [
        Subject(four_items=asked(record(2), name="佐藤 一郎2")),
        Subject(individual_number="000000000027"),
        Subject(four_items=FourItems(name=" ")),
        Subject(individual_number="000000000019"),
        Subject(four_items=asked(record(5), name="佐藤 一郎5")),
        Subject(four_items=asked(record(3), name="佐藤 一郎3")),
        Subject(),
        Subject(four_items=asked(record(4), name="佐藤 一郎4")),
    ]
    with engine.connect() as connection:
        together = search.find(connection, subjects, day=DAY)
        alone = [search.find(connection, [subject], day=DAY)[0] for subject in subjects]
        assert search.find(connection, [], day=DAY) == []
    told = [each.record.resident_code if isinstance(each, identity.Resident) else type(each) for each in together]
    none = type(None)
    codes = [record(number).resident_code for number in (1, 2, 4)]
    assert told == [codes[1], none, none, codes[0], none, RecordDamaged, none, codes[2]]
    assert [repr(each) for each in together] == [repr(each) for each in alone]


def write_row(connection: Connection, record: identity.IdentityRecord, *, protected: bool = False) -> None:
    resident = identity.Resident(
        record=record,
        version=1,
        status=identity.RESIDENT_STATUS_ACTIVE,
        holder="131016",
        protected=protected,
    )
    connection.execute(residents.delete().where(residents.c.resident_code == record.resident_code))
    connection.execute(
        residents.insert().values(
            resident_code=record.resident_code,
            version=1,
            status=resident.status,
            holder="131016",
            effective_date="2026-04-01",
            birth_date="1980-01-02",
            sex=record.sex,
            name_key="",
            alias_key="",
            former_name_key=None,
            address_key="",
            individual_number=record.individual_number,
            resident=resident.SerializeToString(),
        )
    )


# PostgreSQL plans by what is there.
_MANY = (
    "INSERT INTO residents SELECT n::text, 1, 1, '131016', '2026-04-01', '1980-01-02', 1, 'name ' || n, '', '', "
    "n::text, '' FROM generate_series(10000000000, 10000005000) AS n",
    "ANALYZE residents",
)


def test_a_question_does_not_walk_through_the_register(engine: Engine, record: Change) -> None:
    with engine.connect() as connection:
        seen: list[str] = []
        if engine.dialect.name == "postgresql":
            for statement in _MANY:
                connection.execute(text(statement))
        driver: Any = connection.connection.driver_connection
        prefix = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "

        def note_plan(statement: str, values: Any) -> None:
            seen.extend(" ".join(map(str, row)) for row in driver.execute(prefix + statement, values))

        explain: Any = Watched(connection, before=note_plan)
        searched.by_four_items(explain, asked(record(1)), day=DAY)
        searched.by_individual_number(explain, "000000000019", day=DAY)
    plans = "\n".join(seen)
    assert "residents_by_individual_number" in plans
    assert "residents_by_name" in plans
    assert "residents_by_alias" in plans
    assert "residents_by_former_name" in plans
    assert "SCAN residents" not in plans
    assert "Seq Scan on residents" not in plans
    assert "Sort" not in plans
    assert "residents_by_holder" not in plans


_PEOPLE = st.lists(
    st.tuples(
        st.sampled_from(["斎藤 一", "齋藤 一", "斎藤 二", "加藤 一"]),
        st.sampled_from(["本町一丁目", "本町1丁目", "栄町"]),
    ),
    max_size=6,
)


@given(
    people=_PEOPLE, question=st.tuples(st.sampled_from(["斉藤一", "加藤　一"]), st.sampled_from(["本町１丁目", "栄町"]))
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_somebody_is_found_exactly_when_one_person_alone_matches(
    engine: Engine,
    change: Change,
    arrive: Change,
    record: Change,
    people: list[tuple[str, str]],
    question: tuple[str, str],
) -> None:
    folded = [(name.replace("齋", "斉").replace("斎", "斉").replace(" ", ""), "本" in town) for name, town in people]
    wanted = (question[0].replace("　", ""), "本" in question[1])
    matches = [number for number, person in enumerate(folded) if person == wanted]
    items = asked(record(0), name=question[0], address=identity.Address(town=question[1]))
    with engine.connect() as connection:  # rolled back at the end
        arrivals = [arrive(change(number, 1, legal=name, town=town)) for number, (name, town) in enumerate(people)]
        apply_arrivals(connection, arrivals, scope="", now_us=0)
        resident = searched.by_four_items(connection, items, day=DAY)
    assert (resident is not None) == (len(matches) == 1)
    if resident:
        assert resident.record.resident_code == record(matches[0]).resident_code
