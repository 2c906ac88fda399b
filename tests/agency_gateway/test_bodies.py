"""What is kept of a question beside the tree: all of it, under a key that the gateway does not have."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from agency_gateway.body_service import BodyService
from jukinet._pb.jukinet.body.v1 import body_pb2
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.ledger import body, schema
from jukinet.ledger.entry import EntryKeys
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from tests.agency_gateway.calls import GATEWAY, called_by

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls


def kept(network: Network) -> dict[int, bytes]:
    with network.ledger_engine.connect() as connection:
        return {row.leaf_index: row.sealed for row in connection.execute(select(schema.bodies))}


async def opened(network: Network, index: int) -> body_pb2.Body:
    entry, sealed = network.leaves()[index], kept(network)[index]
    assert body.digest(sealed) == entry.body_digest
    place = body_pb2.SealedBody.FromString(sealed).place
    key = await network.body_keys.key_of(place, entry.agency, entry.request_id)
    return body.unseal(sealed, key, entry.agency, entry.request_id)


async def test_the_body_of_an_answer_is_the_whole_question(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire()
    found = await opened(network, 0)
    assert found.subject.four_items == network.four_items(network.record_of(1))
    assert (found.context.case_reference, found.context.operator) == ("case-1", "op-1")
    assert found.outcome == inquiry.INQUIRY_OUTCOME_MATCH
    assert list(found.fields) == [inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS]
    assert [each.municipality for each in found.freshness] == ["131016"]


async def test_nobody_a_verification_and_each_person_of_a_batch_have_bodies_too(network: Network) -> None:
    network.enter(network.record_of(1), network.record_of(2))
    await network.inquire(number=3)
    await network.verify(network.four_items(network.record_of(1)))
    await network.inquire_batch(network.batch_of(1, 2, 3))
    names = [(await opened(network, index)).subject.four_items.name for index in range(5)]
    assert names == [network.record_of(number).name.legal for number in (3, 1, 1, 2, 3)]


async def test_a_refusal_and_a_used_request_id_have_none(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire(request_id="5f7d1c1e-0000-4000-8000-000000000001")
    await network.refusal_of(network.inquire(purpose="B1-41-3"))
    assert list(kept(network)) == [0]
    # The center refuses a used ticket, so the ledger is asked itself.
    first = network.leaves()[0]
    with pytest.raises(Refused) as caught:
        await network.record.keep(first)
    assert caught.value.reason == errors.ERROR_REASON_REQUEST_ID_REUSED
    assert list(kept(network)) == [0]
    assert [bool(entry.body_digest) for entry in network.leaves()] == [True, False, False]


async def test_without_a_key_from_the_center_nothing_is_answered(network: Network) -> None:
    def forget(response: provision.ProvideResponse) -> None:
        for each in response.provisions:
            each.body_key = b""

    network.enter(network.record_of(1))
    network.center.alter = forget
    assert await network.refusal_of(network.inquire()) == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert [entry.result for entry in network.leaves()] == [ledger.RESULT_REFUSED]


async def test_no_name_stands_in_the_gateways_database(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire()
    name = network.record_of(1).name.legal.encode()
    assert all(name not in sealed for sealed in kept(network).values())


async def test_whoever_takes_a_body_stands_in_the_ledger_before_it_leaves(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire()
    service = BodyService(
        reader=network.ledger_engine,
        record=network.record,
        keys=EntryKeys(bytes(32)),
        gateway=GATEWAY,
        policy_digest=lambda: bytes(32),
    )
    with called_by(Identity("operator", "one")):
        taken = await service.TakeBody(body_pb2.TakeBodyRequest(index=0), None)  # type: ignore[arg-type]  # the context is not used
        assert taken.sealed == kept(network)[0]
        assert [entry.action for entry in network.leaves()] == [ledger.ACTION_INQUIRE, ledger.ACTION_TAKE_BODY]
        for missing in (1, 7):
            asked = service.TakeBody(body_pb2.TakeBodyRequest(index=missing), None)  # type: ignore[arg-type]  # the context is not used
            assert await network.refusal_of(asked) == errors.ERROR_REASON_BODY_NOT_KEPT
        network.record._is_open = lambda: False
        asked = service.TakeBody(body_pb2.TakeBodyRequest(index=0), None)  # type: ignore[arg-type]  # the context is not used
        assert await network.refusal_of(asked) == errors.ERROR_REASON_LEDGER_UNAVAILABLE


async def test_bodies_of_many_questions_at_once_are_each_their_own(network: Network) -> None:
    network.enter(*(network.record_of(number) for number in range(1, 9)))
    await asyncio.gather(*(network.inquire(number=number) for number in range(1, 9)))
    names = {(await opened(network, index)).subject.four_items.name for index in range(8)}
    assert names == {network.record_of(number).name.legal for number in range(1, 9)}
