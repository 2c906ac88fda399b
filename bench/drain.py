"""`jukinet bench drain`: how fast a backlog goes up when a link that was away is back.

A CS holds many changes that nobody above knows. Center, prefecture and CS are started as processes, and what is
measured is the changes a second from the first that is seen at the center to the last, over both hops. Floor: one plain
script that applies the same batches to one register, without a network and without a second tier.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from bench.center_watch import CenterWatch
from bench.results import Report, Result, WorkDiffers, load_now
from bench.workload import MUNICIPALITY, PREFECTURE, submissions
from cs_node.intake import Item, Sealing, accept
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeResponse
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, SealedSegment
from jukinet.cli.init import UNBRAKED, Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.processes import MeshProcesses
from jukinet.domain.brake import Brake
from jukinet.link.apply_batch import Assembly, apply_batch
from jukinet.link.receiver import BATCH_CHANGES
from jukinet.link.sender import BATCH_BYTES
from jukinet.mesh.clock import now_us, today_in_japan
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_public_keys, load_signing_key
from jukinet.store import journal
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema

_CENTER, _ABOVE, _CS = "center", f"prefecture-{PREFECTURE}", f"municipality-{MUNICIPALITY}"
_SECONDS: Final = 600.0
_GROUP: Final = 256
_WIDE: Final = Brake(floor=10**9, deletions=10**9)


async def run_drain(*, changes: int) -> Report:
    """Runs the benchmark.

    Args:
        changes: of the backlog.

    Raises:
        WorkDiffers: not all of them were taken.
    """
    load = load_now()
    with tempfile.TemporaryDirectory(prefix="jukinet-bench-") as folder:
        mesh = write_mesh(
            Path(folder) / "mesh", Plan(municipalities=[MUNICIPALITY], gateways=["gateway-1"], brake=UNBRAKED)
        )
        async with MeshProcesses(mesh) as nodes:
            nodes.start(_CS)  # a new node is told from one that was restored by its first start
            await nodes.wait_healthy([_CS])
            nodes.terminate(_CS)
            await nodes.wait_ended(_CS)
            await asyncio.to_thread(_accept, mesh, submissions(changes))
            nodes.start(_CENTER)
            nodes.start(_ABOVE)
            await nodes.wait_healthy([_CENTER, _ABOVE])
            rate = await _drain(mesh, nodes, changes)
        floor = await asyncio.to_thread(_apply_alone, mesh, Path(folder) / "floor.db", changes)
    result = Result("changes a second of a backlog, CS to center", rate, "1/s", floor)
    return Report("drain", [result], (load, load_now()))


async def _drain(mesh: Mesh, nodes: MeshProcesses, changes: int) -> float:
    async with CenterWatch(mesh.folder(_CENTER) / "register.db", MUNICIPALITY, interval=0.01) as watch:
        nodes.start(_CS)
        seen = [each for each in await watch.until(changes, seconds=_SECONDS) if each[0] > 0]
    (first, began), (last, ended) = seen[0], seen[-1]
    if last != changes or first == last:
        raise WorkDiffers(f"{last} of {changes} changes came, the first {first} at once")
    return (last - first) / ((ended - began) / 1e9)


def _accept(mesh: Mesh, people: Sequence[Submission]) -> None:
    """Takes the backlog in as the CS does, while no node runs."""
    engine = open_writer(mesh.config(_CS).database)
    sealing, today = Sealing(MUNICIPALITY, load_signing_key(mesh.folder(_CS) / "seal.key")), today_in_japan()
    waiting = iter(people)
    while group := [Item(submission, "") for submission in islice(waiting, _GROUP)]:
        with engine.begin() as connection:
            answers = accept(connection, group, sealing, today=today, at_us=now_us())
        if not all(isinstance(answer, SubmitChangeResponse) for answer in answers):
            raise WorkDiffers("the CS refused changes of the backlog")
    engine.dispose()


def _apply_alone(mesh: Mesh, path: Path, changes: int) -> float:
    """The floor: changes a second of the same segments, batch by batch, into one register."""
    below, above = open_writer(mesh.config(_CS).database), open_writer(f"sqlite:///{path}")
    ensure_schema(above, REGISTER)
    sender = Identity("municipality", MUNICIPALITY)
    key_of = load_public_keys(mesh.folder(_CENTER) / "seals").get
    assembly = Assembly(scope=PREFECTURE[:2], forwards=True, key_of=key_of, brake=_WIDE)
    mark, seconds = journal.Mark(1, 0, b"", 0, 0), 0.0
    with above.begin() as connection:
        journal.write_mark(connection, sender.uri, mark)
    while mark.mark < changes:
        with below.begin() as connection:
            rows = journal.fetch_outbox(connection, mark.mark, max_changes=BATCH_CHANGES, max_bytes=BATCH_BYTES)
        batch = Batch(
            epoch=1,
            first_sequence=mark.mark + 1,
            previous_chain=mark.chain,
            segments=[SealedSegment(segment=row.segment, seal=row.seal) for row in rows],
        )
        began = time.perf_counter()
        with above.begin() as connection:
            mark = apply_batch(
                connection,
                batch,
                source=sender.uri,
                may_bring=lambda _: True,
                assembly=assembly,
                traceparents={},
                now_us=now_us(),
            ).mark
        seconds += time.perf_counter() - began
    below.dispose()
    above.dispose()
    return changes / seconds
