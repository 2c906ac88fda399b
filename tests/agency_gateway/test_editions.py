"""At the gateway both acts on the law are on the ledger with their effect, and the next question is decided by it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import date
from typing import Any

import pytest

from agency_gateway.node import acts_on_record
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.statute.v1 import statute_pb2 as statute
from jukinet.assembly.statute_service import StatuteService
from jukinet.ledger.entry import EntryKeys
from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.identity import Identity
from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.edition import MOST_BYTES
from jukinet.store.engine import open_reader
from tests.agency_gateway.calls import GATEWAY, called_by
from tests.purpose.drafts import draft, draft_text

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
ALICE, BOB = Identity("operator", "alice"), Identity("operator", "bob")
CLOSING = draft_text("2026-04", date(2026, 4, 1), rows={"B1-77": None})
DIGEST = draft("2026-04", date(2026, 4, 1), rows={"B1-77": None}).digest


class Operators:
    """Calls the gateway's StatuteService as operators do."""

    def __init__(self, network: Network) -> None:
        self.network, self.policy = network, network.desk._policy
        self.keys = EntryKeys(bytes(32))
        self.reader = open_reader(network.database)
        self.service = StatuteService(
            policy=self.policy,
            reader=self.reader,
            carry_out=acts_on_record(network.record, self.keys, self.policy, GATEWAY),
        )

    async def propose(
        self, content: bytes, operator: Identity = ALICE, *, part: int = 30_000
    ) -> statute.EditionStanding:
        async def parts() -> AsyncIterator[statute.ProposeEditionRequest]:
            for first in range(0, len(content), part):
                yield statute.ProposeEditionRequest(part=content[first : first + part])

        with called_by(operator):
            return (await self.service.ProposeEdition(parts(), None)).edition  # type: ignore[arg-type]  # the context is not used

    async def approve(self, digest: bytes, operator: Identity = BOB) -> statute.EditionStanding:
        request = statute.ApproveEditionRequest(digest=digest)
        with called_by(operator):
            return (await self.service.ApproveEdition(request, None)).edition  # type: ignore[arg-type]  # the context is not used

    async def listed(self) -> list[statute.EditionStanding]:
        return list((await self.service.ListEditions(statute.ListEditionsRequest(), None)).editions)  # type: ignore[arg-type]  # the context is not used


@pytest.fixture
def operators(network: Network) -> Iterator[Operators]:
    made = Operators(network)
    yield made
    made.reader.dispose()


async def test_a_center_that_has_another_edition_in_force_provides_nothing(network: Network) -> None:
    network.enter(network.record_of(1))
    gateways = network.desk._policy
    centers = PurposePolicy(gateways.editions, gateways._directory)
    centers.adopt(draft("2026-04", date(2026, 4, 1), rows={"B1-80": None}))
    network.center_service._policy = centers
    assert await network.refusal_of(network.inquire()) == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert network.reads == []
    assert [entry.edition for entry in network.leaves()] == ["2019-01"]
    gateways.adopt(draft("2026-04", date(2026, 4, 1), rows={"B1-80": None}))
    assert (await network.inquire()).legal_basis.edition == "2026-04"


async def test_both_acts_are_on_the_ledger_and_the_next_question_is_decided_by_the_new_edition(
    network: Network, operators: Operators
) -> None:
    network.enter(network.record_of(1))
    before = await network.inquire()
    proposed = await operators.propose(CLOSING)
    assert (proposed.name, proposed.digest, proposed.proposed_by) == ("2026-04", DIGEST, ALICE.uri)
    assert (proposed.approved_by, proposed.in_force) == ("", False)
    assert (await network.inquire()).legal_basis.edition == before.legal_basis.edition == "2019-01"
    approved = await operators.approve(DIGEST)
    assert (approved.approved_by, approved.in_force) == (BOB.uri, True)
    assert await network.refusal_of(network.inquire()) == errors.ERROR_REASON_PURPOSE_UNKNOWN
    entries = network.leaves()
    assert [(entry.action, entry.result, entry.edition) for entry in entries] == [
        (ledger.ACTION_INQUIRE, ledger.RESULT_PROVIDED, "2019-01"),
        (ledger.ACTION_PROPOSE_EDITION, ledger.RESULT_DONE, "2026-04"),
        (ledger.ACTION_INQUIRE, ledger.RESULT_PROVIDED, "2019-01"),
        (ledger.ACTION_APPROVE_EDITION, ledger.RESULT_DONE, "2026-04"),
        (ledger.ACTION_INQUIRE, ledger.RESULT_REFUSED, "2026-04"),
    ]
    assert [entry.edition_digest for entry in entries] == [b"", DIGEST, b"", DIGEST, b""]
    pseudonyms = [operators.keys.operator_pseudonym(GATEWAY.uri, who.uri) for who in (ALICE, BOB)]
    assert [entries[1].operator_pseudonym, entries[3].operator_pseudonym] == pseudonyms
    assert b"alice" not in b"".join(network.entries())
    digests = [entry.policy_digest for entry in entries]
    assert digests[0] == digests[1] == digests[2] == digests[3] != digests[4]
    assert digests[4] == operators.policy.digest_on(today_in_japan())


async def test_an_entry_says_what_was_asked(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire(
        subject=inquiry.Subject(individual_number=network.number_of(1)), fields=[inquiry.IDENTITY_FIELD_ADDRESS]
    )
    await network.inquire(number=9, fields=[inquiry.IDENTITY_FIELD_CHANGE, inquiry.IDENTITY_FIELD_NAME])
    await network.verify(network.four_items(network.record_of(1)))
    await network.refusal_of(network.inquire(fields=[inquiry.IDENTITY_FIELD_RESIDENT_CODE]))
    await network.note_refusal(errors.ERROR_REASON_INVALID_MESSAGE, "pension-service")
    asked = [(entry.method, list(entry.wanted), entry.edition) for entry in network.leaves()]
    assert asked == [(2, [4], "2019-01"), (1, [1, 7], "2019-01"), (1, [], "2019-01"), (1, [6], "2019-01"), (0, [], "")]


async def test_what_is_refused_or_repeated_leaves_no_entry(network: Network, operators: Operators) -> None:
    await operators.propose(CLOSING)
    await operators.propose(CLOSING, BOB)
    refused = network.refusal_of
    assert await refused(operators.approve(DIGEST, ALICE)) == errors.ERROR_REASON_SECOND_OPERATOR_NEEDED
    assert await refused(operators.approve(bytes(32))) == errors.ERROR_REASON_EDITION_UNKNOWN
    assert await refused(operators.propose(b"no edition")) == errors.ERROR_REASON_EDITION_INVALID
    too_large = operators.propose(b"#" * (MOST_BYTES + 1))
    assert await refused(too_large) == errors.ERROR_REASON_MESSAGE_TOO_LARGE
    assert [entry.action for entry in network.leaves()] == [ledger.ACTION_PROPOSE_EDITION]
    assert (await operators.listed())[-1].approved_by == ""


async def test_an_act_without_its_entry_has_no_effect(network: Network, operators: Operators) -> None:
    await operators.propose(CLOSING)
    sign, network.record._sign = network.record._sign, None
    assert await network.refusal_of(operators.approve(DIGEST)) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    network.record._sign = sign
    assert [standing.approved_by for standing in await operators.listed()] == ["", ""]
    assert operators.policy.editions.named("2026-04") is None


async def test_a_ledger_that_is_closed_takes_no_act(network: Network, operators: Operators) -> None:
    await operators.propose(CLOSING)
    network.record._is_open = lambda: False
    assert await network.refusal_of(operators.approve(DIGEST)) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    assert operators.policy.editions.named("2026-04") is None
    network.record._is_open = lambda: True
    assert (await operators.approve(DIGEST)).approved_by == BOB.uri


async def test_a_caller_that_hangs_up_does_not_keep_an_approved_edition_from_deciding(
    network: Network, operators: Operators
) -> None:
    await operators.propose(CLOSING)
    call = asyncio.create_task(operators.approve(DIGEST))
    while not operators.service._approvals:
        await asyncio.sleep(0)
    (approval,) = operators.service._approvals
    call.cancel()
    await asyncio.gather(call, approval, return_exceptions=True)
    assert call.cancelled()
    assert operators.policy.editions.on(today_in_japan()).edition == "2026-04"


async def test_all_editions_are_listed_and_exactly_one_is_in_force(network: Network, operators: Operators) -> None:
    await operators.propose(CLOSING)
    await operators.approve(DIGEST)
    await operators.propose(draft_text("2099-04", date(2099, 4, 1)), BOB)
    standings = await operators.listed()
    assert [(each.name, bool(each.approved_by), each.in_force) for each in standings] == [
        ("2019-01", False, False),
        ("2026-04", True, True),
        ("2099-04", False, False),
    ]
    assert standings[1].approved_at.seconds >= standings[1].proposed_at.seconds > 0
    assert not standings[0].HasField("proposed_at")


async def test_acts_and_questions_of_one_commit_keep_their_order(network: Network, operators: Operators) -> None:
    network.enter(network.record_of(1))
    await operators.propose(CLOSING)
    calls = [network.inquire() for _ in range(5)]
    results = await asyncio.gather(
        *calls, operators.approve(DIGEST, ALICE), operators.approve(DIGEST), return_exceptions=True
    )
    assert [getattr(result, "outcome", None) for result in results[:5]] == [inquiry.INQUIRY_OUTCOME_MATCH] * 5
    approvals = [entry for entry in network.leaves() if entry.action == ledger.ACTION_APPROVE_EDITION]
    assert len(approvals) == 1
    assert len(network.leaves()) == 7
