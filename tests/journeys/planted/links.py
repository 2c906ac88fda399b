"""Canaries on a link, in bytes that no node of the network would send."""

from typing import Any

from jukinet._pb.jukinet.link.v1 import link_pb2 as link
from jukinet._pb.jukinet.link.v1 import snapshot_pb2 as snapshot
from jukinet._pb.jukinet.link.v1.link_pb2_grpc import LinkServiceStub
from jukinet._pb.jukinet.link.v1.snapshot_pb2_grpc import SnapshotServiceStub
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.mesh.identity import Identity
from tests.journeys.canaries import PREFECTURE, SHINJUKU, Canaries

Network = Any  # the fixtures' own class lives in conftest.py


async def plant_on_a_link(canaries: Canaries, network: Network) -> None:
    """A municipality whose seals do not verify sends canaries upwards, and bytes that are no segment."""
    change = change_pb2.Change(
        reason=change_pb2.CHANGE_REASON_CORRECTION_RESIDENT_CODE_REQUEST,
        event_date=identity_pb2.CalendarDate(year=2026, month=1, day=2),
        record=canaries.record(network, SHINJUKU),
        version=1,
        previous_resident_code=network.code(),
        previous_individual_number=network.number(),
    )
    segment = link.Segment(
        municipality=SHINJUKU, epoch=1, first_sequence=1, changes=[change.SerializeToString()]
    ).SerializeToString()
    hello = link.Hello(epoch=1, last_sequence=1, last_chain=bytes(32), first_kept=1, version_min=1, version_max=1)
    for body in (segment, segment[:-1], canaries.word("nosegment").encode()):
        sealed = link.SealedSegment(segment=body, seal=bytes(64))
        batch = link.Batch(epoch=1, first_sequence=1, segments=[sealed])
        requests = [link.StreamRequest(hello=hello), link.StreamRequest(batch=batch)]
        async with network.channel(PREFECTURE, Identity("municipality", SHINJUKU)) as channel:
            await canaries.attempt(LinkServiceStub(channel).Stream(iter(requests), timeout=5), *requests)
    for body in (change.SerializeToString(), canaries.word("nochange").encode()):
        chunk = snapshot.Chunk(first_sequence=1, changes=[snapshot.ChunkChange(epoch=1, change=body)])
        put = snapshot.PutChunkRequest(epoch=1, municipality=SHINJUKU, chunk=chunk)
        async with network.channel(PREFECTURE, Identity("municipality", SHINJUKU)) as channel:
            await canaries.attempt(SnapshotServiceStub(channel).PutChunk(put, timeout=5), put)
