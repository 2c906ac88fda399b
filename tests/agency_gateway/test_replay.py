"""A replay decides what a gateway's own ledger holds as that gateway did: each kind of question, and nothing else."""

from collections import Counter
from datetime import date
from typing import Any

import pytest

from agency_gateway import recall_service
from center_node import changes as center_changes
from center_node import corrections as center_corrections
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.mesh.errors import Refused
from jukinet.purpose.edition import load_statute
from jukinet.purpose.editions import Editions
from jukinet.purpose.kinds import KINDS, TAKES_AWAY
from jukinet.purpose.replay import Replay, replay
from jukinet.purpose.statute import StatuteTable
from tests.agency_gateway.agencies import BANK
from tests.agency_gateway.office import Office
from tests.agency_gateway.residents import make_record, synthetic_number
from tests.agency_gateway.test_seals import later
from tests.agency_gateway.test_watch import House
from tests.purpose.drafts import draft

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
SEALING = draft("2020-01", date(2020, 1, 1), seals={"B1-77": 12})
NAME = inquiry.IDENTITY_FIELD_NAME
CODE = inquiry.IDENTITY_FIELD_RESIDENT_CODE


@pytest.fixture
async def asked(network: Network, monkeypatch: pytest.MonkeyPatch) -> Network:
    """A gateway of whom everything was asked that an agency can ask, lawfully and not."""
    for module in (center_changes, center_corrections, recall_service):
        monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)
    network.desk._policy.adopt(SEALING)
    office, house = Office(network, 1, 2, 3), House(network)
    by_number = inquiry.Subject(individual_number=synthetic_number(2))
    await office.ask(1)
    await network.verify(network.four_items(make_record(1)))
    await network.inquire(number=3, sealed_until=later(12))
    await network.inquire(number=9)
    message = network.batch_of(1, 9)
    message.subjects.append(by_number)
    await network.inquire_batch(message)
    named = [await house.handle(1), (await network.inquire(subject=by_number, for_watch=True)).handle]
    await house.begin(*named)
    house.report(2, block="4番5号")
    (change,) = await house.changes()
    assert await house.changes(change.position) == []
    await house.end()
    office.versions[1] = 1
    office.report(1, block="9番9号")
    await office.look()
    recalled = await office.told()
    await office.told(acknowledged=recalled[-1].place)
    for lawless in (
        network.inquire(fields=[CODE]),
        network.inquire(purpose="B1-999"),
        network.inquire(sealed_until=later(13)),
        network.inquire(subject=by_number, fields=[CODE]),
        network.inquire_batch(network.batch_of(1, fields=[CODE])),
        house.begin(*named, fields=[CODE]),
        house.changes(purpose="B1-999"),
        network.inquire(BANK.name),
    ):
        with pytest.raises(Refused):
            await lawless
    await network.note_refusal(errors.ERROR_REASON_INVALID_MESSAGE, "pension-service")
    return network


def replayed(network: Network, table: StatuteTable) -> Replay:
    known = Editions([load_statute(), SEALING, table])
    return replay(network.leaves(), table, network.directory, known=known)


async def test_under_the_edition_that_decided_nothing_comes_out_differently_and_all_is_accounted_for(
    asked: Network,
) -> None:
    found = replayed(asked, SEALING)
    assert not found.different
    assert not found.cannot_know
    assert found.entries == len(asked.leaves())
    assert {(kind.action, kind.why): count for kind, count in found.left_out.items()} == {
        (ledger.ACTION_INQUIRE, "refused for another reason: PRIVATE_SECTOR_BANNED"): 1,
        (ledger.ACTION_INQUIRE, "refused for another reason: INVALID_MESSAGE"): 1,
        (ledger.ACTION_RECALL, "asks the statute table nothing"): Counter(
            entry.action for entry in asked.leaves()
        )[ledger.ACTION_RECALL],
        (ledger.ACTION_END_WATCH, "asks the statute table nothing"): 1,
    }  # fmt: skip


async def test_a_draft_that_takes_a_row_away_changes_each_kind_of_question_about_it(asked: Network) -> None:
    found = replayed(asked, draft(rows={"B1-77": None}))
    by_the_table = KINDS.keys() - TAKES_AWAY
    answered = Counter(entry.action for entry in asked.leaves() if not entry.refusal and entry.action in by_the_table)
    gone: Counter[int] = Counter()
    for change, count in found.different.items():
        assert change.would_be == errors.ERROR_REASON_PURPOSE_UNKNOWN
        gone[change.action] += count if not change.was else 0
    assert gone == answered
    assert set(answered) == by_the_table


async def test_a_draft_that_ends_later_changes_changes_the_lists_alone(asked: Network) -> None:
    found = replayed(asked, draft(rows={"B1-77": {"provisions": "immediate batch"}}, seals={"B1-77": 12}))
    assert {(change.action, change.was, change.would_be) for change in found.different} == {
        (ledger.ACTION_WATCH, 0, errors.ERROR_REASON_PROVISION_NOT_ALLOWED),
        (ledger.ACTION_WATCH, errors.ERROR_REASON_FIELD_NOT_ALLOWED, errors.ERROR_REASON_PROVISION_NOT_ALLOWED),
        (ledger.ACTION_TELL_CHANGE, 0, errors.ERROR_REASON_PROVISION_NOT_ALLOWED),
    }


async def test_a_message_is_refused_as_a_whole_where_one_of_its_persons_is(asked: Network) -> None:
    found = replayed(asked, draft(rows={"B1-77": {"individual_number": "no"}}, seals={"B1-77": 12}))
    refused: Counter[int] = Counter()
    for change, count in found.different.items():
        if not change.was:
            refused[change.action] += count
    number = sum(
        entry.method == inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER and not entry.refusal
        for entry in asked.leaves()
        if entry.action == ledger.ACTION_INQUIRE
    )
    assert refused == {
        ledger.ACTION_INQUIRE: number,
        ledger.ACTION_INQUIRE_BATCH: 3,
        ledger.ACTION_WATCH: 2,
    }


async def test_a_draft_without_seals_refuses_what_was_sealed_and_says_what_may_have_been(asked: Network) -> None:
    found = replayed(asked, draft())
    assert [(change.was, change.would_be, count) for change, count in found.different.items()] == [
        (errors.ERROR_REASON_UNSPECIFIED, errors.ERROR_REASON_SEAL_NOT_ALLOWED, 1)
    ]
    why = "no entry says whether a seal was wanted, or how long"
    assert found.cannot_know == {(ledger.ACTION_INQUIRE, why): 1}
