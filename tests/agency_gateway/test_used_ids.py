"""A request id is good for once, whatever else is marked with it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from agency_gateway import used_ids
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Receipt
from jukinet.mesh.errors import Refused
from jukinet.store.engine import open_writer

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
AGENCY = "spiffe://agencies.jukinet/agency/pension-service"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_writer(database_url)
    used_ids.metadata.create_all(opened)
    yield opened
    opened.dispose()


def digests(first: int, end: int) -> list[bytes]:
    return [used_ids.digest_of(AGENCY, f"5f7d1c1e-0000-4000-8000-{number:012}") for number in range(first, end)]


def test_what_was_gathered_is_found_and_nothing_else(engine: Engine) -> None:
    with engine.begin() as connection:
        assert used_ids.gathered(connection) == 0
        used_ids.gather(connection, digests(0, 5), ledger_size=5)
        used_ids.gather(connection, digests(3, 9), ledger_size=11)
        assert used_ids.gathered(connection) == 11
        assert used_ids.among(connection, digests(7, 12)) == set(digests(7, 9))
        assert used_ids.among(connection, []) == set()
        assert connection.execute(select(func.count()).select_from(used_ids.used_ids)).scalar() == 9


@pytest.mark.parametrize("other", [f"{AGENCY}-2", "spiffe://agencies.jukinet/agency/pension"])
def test_one_agencys_id_is_not_anothers(other: str) -> None:
    request_id = "5f7d1c1e-0000-4000-8000-000000000001"
    assert used_ids.digest_of(AGENCY, request_id) != used_ids.digest_of(other, request_id)
    assert len(used_ids.digest_of(AGENCY, request_id)) == 16


async def test_of_questions_of_one_id_that_share_a_commit_the_first_one_is_answered(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire()
    (entry,) = network.leaves()
    entry.request_id = "5f7d1c1e-0000-4000-8000-00000000000a"
    first, *others = await asyncio.gather(*(network.record.keep(entry) for _ in range(3)), return_exceptions=True)
    assert isinstance(first, Receipt)
    assert [isinstance(each, Refused) and each.reason for each in others] == [errors.ERROR_REASON_REQUEST_ID_REUSED] * 2
    assert [leaf.refusal for leaf in network.leaves()] == [0, 0, *[errors.ERROR_REASON_REQUEST_ID_REUSED] * 2]
