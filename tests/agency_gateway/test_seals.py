"""A question is sealed where the law lets it be, answered and on record at once; else it is refused, on record."""

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from agency_gateway import detectors
from agency_gateway.detectors import CROWD
from agency_gateway.today import todays_entries
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.ledger import schema
from jukinet.ledger.entry import month_key, person_token
from jukinet.ledger.layout import decode
from jukinet.ledger.seal import crowd_key, crowd_tag, seal_key, sealed_token
from jukinet.ledger.verify.layout import read_entry
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.errors import Refused
from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.editions import Editions
from tests.agency_gateway.residents import make_record
from tests.agency_gateway.test_detectors import answered, restart
from tests.agency_gateway.test_held import ADDRESS, NAME, move
from tests.purpose.drafts import draft

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
ALARM = "have to be explained"
NOT_ALLOWED = errors.ERROR_REASON_SEAL_NOT_ALLOWED


def later(months: int) -> str:
    today = today_in_japan()
    month = today.year * 12 + today.month - 1 + months
    return f"{month // 12}-{month % 12 + 1:02}-01"


@pytest.fixture
def sealing(network: Network) -> Network:
    """A network whose law lets the questions of one row be sealed for a year."""
    network.desk._policy.adopt(draft("2020-01", date(2020, 1, 1), seals={"B1-77": 12}))
    network.enter(make_record(1))
    return network


async def refused(call: Any) -> Any:
    with pytest.raises(Refused) as refusal:
        await call
    return refusal.value.reason


async def test_a_sealed_question_is_answered_and_its_entry_names_nobody_that_others_name(sealing: Network) -> None:
    answer = await sealing.inquire(sealed_until=later(12))
    assert answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
    (entry,) = sealing.leaves()
    assert (entry.result, entry.sealed_until, entry.purpose) == (ledger.RESULT_PROVIDED, later(12), "B1-77.12")
    code = make_record(1).resident_code
    assert entry.person_token == sealed_token(seal_key(bytes(32), later(12), code), entry.request_id)
    assert entry.person_token != person_token(month_key(bytes(32), now()), code)
    await sealing.inquire()
    assert sealing.leaves()[1].sealed_until == ""


async def test_a_sealed_question_about_nobody_is_an_entry_like_any_other(sealing: Network) -> None:
    answer = await sealing.inquire(number=2, sealed_until=later(1))
    assert answer.outcome == inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH
    assert [(entry.result, entry.sealed_until) for entry in sealing.leaves()] == [(ledger.RESULT_NO_SINGLE_MATCH, "")]


async def test_a_sealed_batch_seals_each_person_who_is_found_by_the_question_about_him(sealing: Network) -> None:
    sealing.enter(make_record(2))
    message = sealing.batch_of(3, 2, 1, 1, sealed_until=later(12))
    (response,) = await sealing.inquire_batch(message)
    match, nobody = inquiry.INQUIRY_OUTCOME_MATCH, inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH
    assert [each.outcome for each in response.answers] == [nobody, match, match, match]
    none, *found = sealing.leaves()
    assert (none.sealed_until, none.person_token) == ("", b"")
    assert {entry.sealed_until for entry in found} == {later(12)}
    for entry, number in zip(found, (2, 1, 1), strict=True):
        key = seal_key(bytes(32), later(12), make_record(number).resident_code)
        assert entry.person_token == sealed_token(key, entry.request_id)
    assert len({entry.person_token for entry in found}) == 3
    for leaf in sealing.entries():
        assert decode(leaf) == read_entry(leaf)


async def test_a_batch_is_sealed_no_longer_than_its_row_allows(sealing: Network) -> None:
    message = sealing.batch_of(1, sealed_until=later(13))
    assert await refused(sealing.inquire_batch(message)) == NOT_ALLOWED
    assert [(entry.refusal, entry.sealed_until) for entry in sealing.leaves()] == [(NOT_ALLOWED, "")]
    assert sealing.reads == []


@pytest.mark.parametrize("months", [0, 13, -5, 600])
async def test_longer_than_the_row_allows_is_refused_and_on_record(sealing: Network, months: int) -> None:
    assert await refused(sealing.inquire(sealed_until=later(months))) == NOT_ALLOWED
    assert [(entry.refusal, entry.sealed_until) for entry in sealing.leaves()] == [(NOT_ALLOWED, "")]
    assert sealing.reads == []


async def test_where_no_edition_lets_it_sealing_is_refused_and_on_record(network: Network) -> None:
    network.enter(make_record(1))
    assert await refused(network.inquire(sealed_until=later(1))) == NOT_ALLOWED
    assert [entry.refusal for entry in network.leaves()] == [NOT_ALLOWED]
    assert network.center.requests == []


async def test_a_sealed_question_whose_id_was_used_is_on_record_as_reused(sealing: Network) -> None:
    """Neither ticket office nor record takes an id twice; here only the record is asked."""
    await sealing.inquire(sealed_until=later(1))
    (entry,) = sealing.leaves()
    reason = await refused(sealing.record.keep(entry))
    assert reason == errors.ERROR_REASON_REQUEST_ID_REUSED
    assert [(each.refusal, each.sealed_until) for each in sealing.leaves()] == [(0, later(1)), (reason, "")]


async def test_the_center_decides_again_whether_a_question_may_be_sealed(network: Network) -> None:
    network.enter(make_record(1))
    own = network.desk._policy
    (name,) = [edition.edition for edition in own.editions]
    lax = draft(name, own.editions.on(today_in_japan()).in_force_from, seals={"B1-77": 12})
    network.desk._policy = PurposePolicy(Editions([lax]), network.directory)
    assert await refused(network.inquire(sealed_until=later(1))) == NOT_ALLOWED
    assert await refused(network.inquire_batch(network.batch_of(1, 1, sealed_until=later(1)))) == NOT_ALLOWED
    assert network.reads == []
    assert [entry.refusal for entry in network.leaves()] == [NOT_ALLOWED] * 2


async def test_a_center_that_does_not_seal_lets_nothing_leave(sealing: Network) -> None:
    def forget(response: Any) -> None:
        response.provisions[0].sealed_token = b""

    sealing.center.alter = forget
    assert await refused(sealing.inquire(sealed_until=later(1))) == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    (response,) = await sealing.inquire_batch(sealing.batch_of(1, 2, sealed_until=later(1)))
    away = errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert [(each.refusal, each.HasField("provided")) for each in response.answers] == [(away, False), (0, False)]
    assert [entry.refusal for entry in sealing.leaves()] == [away, away, 0]


async def test_a_crowd_is_seen_although_it_seals_its_questions(
    sealing: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ledger.Entry] = []
    watch = sealing.admission.watch

    async def see(watched: Any) -> None:
        looked_at = list(watched)
        seen.extend(each.entry for each in looked_at)
        await watch(looked_at)

    monkeypatch.setattr(sealing.admission, "watch", see)
    for _ in range(CROWD):
        await sealing.inquire(sealed_until=later(1))
    await sealing.inquire_batch(sealing.batch_of(1, sealed_until=later(1)))
    assert len({entry.person_token for entry in seen}) == 1
    assert len({entry.person_token for entry in sealing.leaves()}) == CROWD + 1


async def test_who_asks_again_sealed_with_what_is_held_hears_of_a_change_and_the_record_does_not_show_it(
    sealing: Network,
) -> None:
    """In place of a list, which is told when something happens: whoever is on it could make it happen, and look."""
    sealing.enter(make_record(2))
    message = sealing.batch_of(1, 2, sealed_until=later(1), fields=[NAME, ADDRESS])
    for number, subject in enumerate(message.subjects, 1):
        subject.individual_number = sealing.number_of(number)
    unchanged = []
    for day in range(3):
        if day == 2:
            move(sealing, 2, "架空棟")
        message.context.CopyFrom(sealing.context())
        (response,) = await sealing.inquire_batch(message)
        unchanged.append([each.unchanged for each in response.answers])
        message.held[:] = [each.held for each in response.answers]
    assert unchanged == [[False, False], [True, True], [True, False]]
    again = sealing.leaves()[2:]
    assert len(again) == len({each.person_token for each in again}) == 4
    assert len({_without_chance(entry) for entry in again}) == 1
    with sealing.ledger_reader.connect() as connection:
        assert len({len(body) for body in connection.execute(select(schema.bodies.c.sealed)).scalars()}) == 1


def _without_chance(entry: ledger.Entry) -> bytes:
    """What anybody can compare of an entry: without its moment, and without digests, which look like chance."""
    fields = ("request_id", "time", "answer_digest", "person_token", "body_digest", "operator_proof", "case_commitment")
    for field in fields:
        entry.ClearField(field)  # type: ignore[arg-type]  # by name
    return entry.SerializeToString(deterministic=True)


async def test_of_a_sealed_question_nobody_is_told_that_it_was_asked_before(sealing: Network) -> None:
    """Not even whoever asks the same: a colleague need not know of an investigation."""
    for until in (later(1), later(1), "", later(1)):
        assert not (await sealing.inquire(sealed_until=until)).repeated
    assert (await sealing.inquire()).repeated


async def test_no_entry_tells_whether_the_person_was_asked_about_in_another_way_before(sealing: Network) -> None:
    sealing.enter(make_record(2))
    for number, sealed_until in (
        (1, later(12)),
        (1, ""),
        (1, later(12)),
        (1, ""),
        (2, ""),
        (2, later(1)),
        (3, later(1)),
    ):
        await sealing.inquire(number=number, sealed_until=sealed_until)
    new = [(bool(entry.sealed_until), entry.new_subject) for entry in sealing.leaves()]
    assert new == [
        (True, True),
        (False, True),
        (True, True),
        (False, False),
        (False, True),
        (True, True),
        (False, True),
    ]


async def test_no_case_ties_what_was_asked_under_seal_to_what_was_asked_openly(sealing: Network) -> None:
    """A resident is shown his open entries, and reads the whole ledger: one commitment in common would be the tie."""
    for number, sealed_until in ((1, ""), (1, later(12)), (3, later(12)), (3, "")):
        await sealing.inquire(number=number, sealed_until=sealed_until)
    openly, sealed, sealed_nobody, open_nobody = (entry.case_commitment for entry in sealing.leaves())
    assert openly == open_nobody
    assert sealed == sealed_nobody
    assert openly != sealed


async def test_an_entry_of_a_sealed_batch_counts_nobody_as_new(sealing: Network) -> None:
    await sealing.inquire_batch(sealing.batch_of(1, 2, sealed_until=later(12)))
    assert [entry.new_subject for entry in sealing.leaves()] == [False, False]


@pytest.mark.parametrize("restarted", [False, True])
async def test_who_is_asked_about_again_under_seal_counts_once_for_his_case(
    sealing: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, restarted: bool
) -> None:
    monkeypatch.setattr(detectors, "MOST_OF_A_CASE", 2)
    for _ in range(4):
        await sealing.inquire(sealed_until=later(12))
    if restarted:
        await restart(sealing)
    sealing.enter(make_record(2), make_record(3))
    await sealing.inquire(number=2, sealed_until=later(12))
    assert ALARM not in caplog.text
    await sealing.inquire(number=3, sealed_until=later(12))
    assert (ALARM in caplog.text) is not restarted, "the one of before the restart counts for no case"


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_crowd_that_seals_is_seen_over_a_restart_too(
    sealing: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, restarted: bool
) -> None:
    monkeypatch.setattr(detectors, "CROWD", 3)
    sealing.enter(make_record(2))
    await sealing.inquire(sealed_until=later(1), operator="op-1")
    await sealing.inquire_batch(sealing.batch_of(2, 1, sealed_until=later(2), operator="op-2"))
    if restarted:
        await restart(sealing)
    for operator, number in (("op-3", 2), ("op-1", 1)):
        await sealing.inquire(number=number, operator=operator)
    assert ALARM not in caplog.text, "two were told of each"
    await sealing.inquire(operator="op-3")
    assert ALARM in caplog.text


async def test_what_a_restart_leaves_on_the_disk_ties_no_two_sealed_questions_and_none_to_its_person(
    sealing: Network,
) -> None:
    for _ in range(2):
        await sealing.inquire(sealed_until=later(1))
    await sealing.inquire()
    await sealing.inquire(number=2, sealed_until=later(1))  # nobody
    with sealing.ledger_engine.connect() as connection:
        seen = list(todays_entries(connection, now()))
    one, other = (each.crowd_tag for each in seen[:2])
    assert (len(one), len(other), [each.crowd_tag for each in seen[2:]]) == (32, 32, [b"", b""])
    code, day = make_record(1).resident_code, today_in_japan()
    key = crowd_key(bytes(32), day, code)
    assert [one, other] == [crowd_tag(key, each.entry.request_id) for each in seen[:2]]
    # All that a resident is ever given, and the gateway's keys, make neither of them.
    known = [person_token(month_key(bytes(32), now()), code), seal_key(bytes(32), later(1), code), bytes(32)]
    known.append(crowd_key(bytes(32), day - timedelta(days=1), code))
    assert not {crowd_tag(each, one_seen.entry.request_id) for each in known for one_seen in seen} & {one, other}
    assert one != other


def test_each_sealed_entry_is_known_again_once_and_the_oldest_of_very_many_not() -> None:
    key, watched = bytes(32), detectors.Detectors()

    def sealed(number: int) -> detectors.Seen:
        entry = answered(True, operator=number % 250, person=number)
        entry.request_id = str(number)
        return detectors.Seen(entry, crowd_tag=crowd_tag(key, entry.request_id))

    for number in range(detectors.MOST_SEALED + 1):
        assert not list(watched.see(sealed(number)))
    assert len(watched._known_again(bytes([1]) * 32)) == 0
    assert len(watched._known_again(key)) == detectors.MOST_SEALED
    assert watched._known_again(key) == []
