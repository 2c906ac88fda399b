"""The ban on private use (民間利用の禁止, Act art. 30-38) stands above every other refusal, and counts each attempt."""

import uuid
from typing import Any

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.mesh.interceptors import RefusedCall

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
BANK = Identity("private", "example-bank")
BANNED = errors.ERROR_REASON_PRIVATE_SECTOR_BANNED
INQUIRE = "/jukinet.inquiry.v1.InquiryService/Inquire"
LIST_ENTRIES = "/jukinet.ledger.v1.LedgerService/ListEntries"


@pytest.mark.parametrize(
    ("rpc", "action"), [(INQUIRE, ledger.ACTION_INQUIRE), (LIST_ENTRIES, ledger.ACTION_OTHER_CALL)]
)
@pytest.mark.parametrize("entered", [False, True])
@pytest.mark.parametrize(
    "reason",
    [
        errors.ERROR_REASON_UNSPECIFIED,
        errors.ERROR_REASON_CALLER_NOT_ALLOWED,
        errors.ERROR_REASON_CALLER_AT_LIMIT,
        errors.ERROR_REASON_DEADLINE_REQUIRED,
        errors.ERROR_REASON_INVALID_MESSAGE,
    ],
)
async def test_whatever_refuses_a_private_organisation_is_told_and_counted_as_the_ban(
    network: Network,
    reason: "errors.ErrorReason.ValueType",
    rpc: str,
    action: "ledger.Action.ValueType",
    *,
    entered: bool,
) -> None:
    told = network.note_refusal(reason, BANK.name, rpc=rpc, entered=entered)
    assert await network.refusal_of(told) == BANNED
    (entry,) = network.leaves()
    assert (entry.agency, entry.action) == (BANK.uri, action)
    assert (entry.result, entry.refusal, entry.article) == (ledger.RESULT_REFUSED, BANNED, "30-38")


@pytest.mark.parametrize("rpc", [INQUIRE, LIST_ENTRIES])
async def test_a_private_organisation_of_no_directory_is_banned_and_counted_by_its_certificate(
    network: Network, rpc: str
) -> None:
    caller = Identity("private", "in-no-directory")
    refused = Refused(errors.ERROR_REASON_CALLER_NOT_ALLOWED)
    call = RefusedCall(rpc=rpc, error_id="0" * 16, caller=caller, entered=False, refused=refused)
    assert await network.refusal_of(network.inquiry.note_refusal(call)) == BANNED
    assert [(entry.agency, entry.refusal) for entry in network.leaves()] == [(caller.uri, BANNED)]


async def test_a_ban_that_the_law_spoke_is_counted_once(network: Network) -> None:
    assert await network.refusal_of(network.inquire(BANK.name)) == BANNED
    await network.note_refusal(BANNED, BANK.name, entered=True)
    assert [entry.refusal for entry in network.leaves()] == [BANNED]


async def test_a_message_of_a_stream_that_cannot_be_read_is_counted_as_the_ban(network: Network) -> None:
    broken = Refused(errors.ERROR_REASON_INVALID_MESSAGE, field="context")
    asking = network.inquire_batch(broken, agency=BANK.name)
    assert await network.refusal_of(asking) == BANNED
    assert [(entry.action, entry.refusal) for entry in network.leaves()] == [(ledger.ACTION_INQUIRE_BATCH, BANNED)]


async def test_an_attempt_under_a_request_id_that_was_used_is_counted_too(network: Network) -> None:
    request_id = str(uuid.uuid4())
    for _ in range(3):
        assert await network.refusal_of(network.inquire(BANK.name, request_id=request_id)) == BANNED
    assert [entry.refusal for entry in network.leaves()] == [BANNED] * 3


@pytest.mark.parametrize("rpc", [INQUIRE, LIST_ENTRIES])
async def test_a_closed_ledger_tells_a_private_organisation_of_nothing_that_is_not_counted(
    network: Network, rpc: str
) -> None:
    network.record._is_open = lambda: False
    told = network.note_refusal(errors.ERROR_REASON_INVALID_MESSAGE, BANK.name, rpc=rpc)
    assert await network.refusal_of(told) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    assert network.entries() == []


async def test_a_ledger_that_opens_meanwhile_takes_the_attempt_as_what_it_is(network: Network) -> None:
    states = iter([False])
    network.record._is_open = lambda: next(states, True)
    assert await network.refusal_of(network.inquire(BANK.name)) in (BANNED, errors.ERROR_REASON_LEDGER_UNAVAILABLE)
    assert {entry.refusal for entry in network.leaves()} <= {BANNED}


async def test_what_other_services_refuse_a_public_body_is_no_attempt(network: Network) -> None:
    for agency in ("pension-service", "unlisted"):
        await network.note_refusal(errors.ERROR_REASON_CALLER_NOT_ALLOWED, agency, rpc=LIST_ENTRIES)
    assert network.entries() == []
