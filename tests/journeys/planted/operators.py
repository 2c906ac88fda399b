"""Canaries in what operators and clerks see and say: releases, bodies, comparisons, the command line."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from jukinet._pb.jukinet.admin.v1 import freeze_pb2 as freeze
from jukinet._pb.jukinet.admin.v1.admin_pb2 import ListParkedRequest
from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceStub
from jukinet._pb.jukinet.admin.v1.freeze_pb2_grpc import FreezeServiceStub
from jukinet._pb.jukinet.body.v1 import body_pb2
from jukinet._pb.jukinet.body.v1.body_pb2_grpc import BodyKeyServiceStub, BodyServiceStub
from jukinet._pb.jukinet.consistency.v1 import consistency_pb2 as consistency
from jukinet._pb.jukinet.consistency.v1.consistency_pb2_grpc import ConsistencyServiceStub
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry
from jukinet._pb.jukinet.provision.v1 import frozen_pb2 as frozen
from jukinet._pb.jukinet.provision.v1.frozen_pb2_grpc import FrozenServiceStub
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.cli.development_agencies import PENSION_SERVICE
from jukinet.cli.layout import OPERATOR, SECOND_OPERATOR
from jukinet.ledger.body import unseal
from jukinet.mesh.identity import Identity
from tests.change_columns import values_of
from tests.journeys.canaries import CENTER, CHIYODA, CS, GATEWAY, PREFECTURE, Canaries, traced

Network = Any  # the fixtures' own class lives in conftest.py


async def plant_in_a_release(canaries: Canaries, network: Network) -> None:
    """An operator of the network releases somebody who is not frozen."""
    agency = Identity("agency", PENSION_SERVICE).uri
    request = freeze.ReleaseOperatorRequest(agency=agency, operator=canaries.word("operator"))
    async with network.channel(GATEWAY) as channel:
        await canaries.attempt(FreezeServiceStub(channel).ReleaseOperator(request, timeout=5), request)


async def plant_in_a_declaration(canaries: Canaries, network: Network) -> None:
    """A gateway declares once more what it declared before: nothing comes of it."""
    agency = Identity("agency", PENSION_SERVICE).uri
    named = frozen.DeclaredOperator(agency=agency, operator_pseudonym=bytes(32), operator=canaries.word("declared"))
    async with network.channel(CENTER, Identity("gateway", GATEWAY)) as channel:
        for number in (0, 1):
            request = frozen.DeclareFrozenRequest(number=number, frozen=[named])
            await canaries.attempt(FrozenServiceStub(channel).DeclareFrozen(request, timeout=5), request)


async def plant_bodies(canaries: Canaries, network: Network, known: identity_pb2.IdentityRecord) -> None:
    """Two operators open what a question asked in full, and destroy the keys about a person."""
    index = max(i for i, entry in enumerate(await network.ledger()) if entry.body_digest and entry.fields)
    async with network.channel(GATEWAY) as channel:
        taken = await canaries.attempt(
            BodyServiceStub(channel).TakeBody(body_pb2.TakeBodyRequest(index=index), timeout=5, metadata=traced())
        )
    entry, place = Entry.FromString(taken.entry), body_pb2.SealedBody.FromString(taken.sealed).place
    opening = body_pb2.OpenBodyRequest(agency=entry.agency, request_id=entry.request_id, place=place)
    destroying = body_pb2.DestroyKeyRequest(resident_code=known.resident_code)
    malformed = body_pb2.DestroyKeyRequest(resident_code=known.resident_code[:-1])
    for name in (OPERATOR, SECOND_OPERATOR):
        async with network.channel(CENTER, Identity("operator", name)) as channel:
            stub = BodyKeyServiceStub(channel)
            opened = await canaries.attempt(stub.OpenBody(opening, timeout=5, metadata=traced()), opening)
            await canaries.attempt(stub.DestroyKey(destroying, timeout=5, metadata=traced()), destroying)
            await canaries.attempt(stub.DestroyKey(malformed, timeout=5), malformed)
            if opened.key:
                canaries.plant(unseal(taken.sealed, opened.key, entry.agency, entry.request_id))


async def plant_in_a_comparison(canaries: Canaries, network: Network) -> None:
    """An operator compares a municipality's rows, and asks for damaged ones: the answers in which codes stand."""
    async with network.channel(CS) as channel:
        compare = ConsistencyServiceStub(channel)
        places = await compare.ListPlaces(consistency.ListPlacesRequest(), timeout=5)
        at = next(place for place in places.places if place.municipality == CHIYODA)
        everything = consistency.ListRowsRequest(key=bytes(32), at=at, buckets=range(4096))
        await canaries.attempt(compare.ListRows(everything, timeout=10, metadata=traced()), everything)
        early = consistency.Place(municipality=CHIYODA, epoch=at.epoch, sequence=at.sequence + 1_000)
        await canaries.attempt(
            compare.ListRows(consistency.ListRowsRequest(key=bytes(32), at=early, buckets=[0]), timeout=10), at
        )
        damaged = await canaries.attempt(compare.ListDamaged(consistency.ListDamagedRequest(), timeout=10))
        # No row of the shared mesh is; `test_damaged_rows` searches what nodes tell of some that are.
        assert not damaged.rows
        canaries.plant(consistency.DamagedRow(resident_code=network.code()))


async def plant_on_the_command_line(canaries: Canaries, network: Network, folder: Path) -> None:
    """A clerk's file, half of it wrong, and an agency's question."""
    submissions = [network.submission("ENTRY_EX_OFFICIO", canaries.record(network)) for _ in range(2)]
    lines = [values_of(each) for each in submissions]
    lines[1]["birth_date"] = canaries.word("nodate")
    rows = [list(lines[0]), *(list(each.values()) for each in lines), [canaries.word("nofields")]]
    file = folder / "changes.csv"
    file.write_text("".join(",".join(row) + "\r\n" for row in rows), "utf-8")
    for submission in submissions:
        canaries.plant(submission)
    await _run(canaries, "submit", str(file), "--mesh", str(network.mesh.root), "--municipality", CHIYODA)
    # By mistake, for an edition of the law.
    decide = ("--to", CENTER, "--to", GATEWAY)
    await _run(canaries, "statutes", "propose", str(file), "--mesh", str(network.mesh.root), *decide)
    await _run(canaries, "admin", "parked", "--mesh", str(network.mesh.root), "--node", PREFECTURE)
    await _run(canaries, "admin", "release", CHIYODA, "--mesh", str(network.mesh.root), "--node", PREFECTURE)
    for node in network.mesh.names:
        canaries.told.append(str(await network.status(node)).encode())
        async with network.channel(node) as channel:
            async for parked in AdminServiceStub(channel).ListParked(ListParkedRequest(), timeout=5):
                canaries.told.append(str(parked).encode())
    canaries.told += [entry.SerializeToString() for entry in await network.ledger()]


async def _run(canaries: Canaries, *arguments: str) -> None:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jukinet.cli", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, told = await program.communicate()
    assert out or told
    canaries.told += [out, told]
