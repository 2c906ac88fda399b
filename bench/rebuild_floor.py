"""The floor of a rebuild: the same chunks, read and taken into one register by one plain script.

With the product's own functions (`next_chunk`, `read_chunk`, `offer`, `take`, `install`), one durable transaction a
chunk. What is missing is all that makes a network of it: gRPC, TLS, processes that read, event loop, live streams. Only
reading and taking are timed, not making the chunks.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select

from jukinet._pb.jukinet.link.v1.snapshot_pb2 import Chunk, Manifest
from jukinet.cli.layout import Mesh
from jukinet.link.apply_batch import Assembly
from jukinet.link.install import install, offer, take
from jukinet.link.manifest import chunk_digest, sign
from jukinet.link.read_chunk import read_chunk
from jukinet.link.snapshot_source import next_chunk
from jukinet.mesh.clock import now_us
from jukinet.mesh.pki import load_signing_key
from jukinet.store import journal
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.schema import residents


@dataclass(slots=True)
class Floor:
    """What it took: seconds by the clock, of processor, and of the longest transaction."""

    seconds: float = 0.0
    processor: float = 0.0
    longest: float = 0.0


def take_alone(mesh: Mesh, path: Path, municipalities: Sequence[str]) -> Floor:
    """Takes the registers of CSs that do not run into a new register.

    Args:
        mesh: to which the CSs belong.
        path: of the new database.
        municipalities: their codes.
    """
    engine, floor = open_writer(f"sqlite:///{path}"), Floor()
    assembly = Assembly(scope="", forwards=False, key_of=lambda _: None)  # signatures are no part of the floor
    ensure_schema(engine, REGISTER)
    for code in municipalities:
        below = open_reader(mesh.config(f"municipality-{code}").database)
        with below.connect() as connection:
            origin = journal.read_origins(connection)[code]
            chunks = list(_chunks(connection, code, origin.sequence))
            codes = connection.execute(select(func.count()).select_from(residents)).scalar_one()
        below.dispose()
        manifest = Manifest(
            municipality=code,
            epoch=origin.epoch,
            sequence=origin.sequence,
            segment_hash=origin.segment_hash,
            residents=codes,
            chunks=map(chunk_digest, chunks),
        )
        signed = sign(manifest, load_signing_key(mesh.folder(f"municipality-{code}") / "seal.key"))
        with engine.begin() as connection:
            offer(connection, signed, manifest, source="")
        for number, chunk in enumerate(chunks):
            began, worked = time.perf_counter(), time.process_time()
            changes = read_chunk(code, chunk, scope="")
            read = time.perf_counter()
            with engine.begin() as connection:
                take(connection, code, number, chunk, changes, assembly=assembly, now_us=now_us())
            ended = time.perf_counter()
            floor.seconds += ended - began
            floor.processor += time.process_time() - worked
            floor.longest = max(floor.longest, ended - read)
        with engine.begin() as connection:
            install(connection, code, now_us=now_us())
    engine.dispose()
    return floor


def _chunks(connection: Connection, municipality: str, until: int) -> Iterator[Chunk]:
    after, epoch = 0, 0
    while after < until:
        chunk = next_chunk(connection, municipality, epoch=epoch, after=after, until=until)
        assert chunk is not None
        yield chunk
        after, epoch = after + len(chunk.changes), chunk.changes[-1].epoch
