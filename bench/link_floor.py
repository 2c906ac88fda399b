"""The floor of the link: the same rules, tables and durable commits on three tiers, with nothing between them.

One plain script a tier, each with its own database, as a process of its own:

    python -m bench.link_floor FOLDER TIER        TIER: municipality, prefecture or center

Each takes work from standard input, does what the node of that tier does to it with the product's own functions
(protovalidate, `intake.accept`, `apply_batch`, one durable transaction a batch), and hands the outbox on through a
pipe. What is missing is all that makes a network of it: gRPC, TLS, identities, event loop, acknowledgements, credit,
marks of the neighbour. The three run at the same time, as the nodes do, and in batches as large as the protocol allows,
so this is what two cores and one disk give at best.
"""

import json
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from sqlalchemy import Connection, Engine, func, select

from bench.workload import MUNICIPALITY, PREFECTURE
from cs_node.intake import Item, Sealing, accept
from jukinet._pb.jukinet.intake.v1.intake_pb2 import SubmitChangeResponse, SubmitChangesRequest
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, SealedSegment
from jukinet.cli.init import UNBRAKED
from jukinet.domain.brake import Brake
from jukinet.link.apply_batch import Assembly, apply_batch
from jukinet.link.receiver import BATCH_CHANGES
from jukinet.link.sender import BATCH_BYTES
from jukinet.mesh.clock import now_us, today_in_japan
from jukinet.mesh.errors import check_message
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_public_keys, load_signing_key
from jukinet.store import journal
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.schema import history

TIERS: Final = ("municipality", "prefecture", "center")
_LENGTH: Final = struct.Struct(">I")
_Work = Callable[[bytes], bytes]


class LinkFloor:
    """The three tiers as processes, seen from the benchmark.

    Args:
        folder: gets the databases.
        sealing_key: the municipality's private key, PEM.
        public_keys: folder with its public half.
    """

    def __init__(self, folder: Path, *, sealing_key: Path, public_keys: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        keys = {"sealing_key": str(sealing_key), "public_keys": str(public_keys)}
        (folder / "keys.json").write_text(json.dumps(keys), encoding="utf-8")
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._done = 0

    def __enter__(self) -> Self:
        source: IO[bytes] | int = subprocess.PIPE
        for tier in TIERS:
            command = [sys.executable, "-m", "bench.link_floor", str(self._folder), tier]
            process = subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE)
            if not isinstance(source, int):
                source.close()  # the tier above holds it now, and must see its end
            assert process.stdout is not None
            source = process.stdout
            self._processes.append(process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        first, last = self._processes[0].stdin, self._processes[-1].stdout
        assert first is not None
        assert last is not None
        first.close()
        for process in self._processes:
            process.wait()
        last.close()

    @property
    def pids(self) -> list[int]:
        """Process ids of the tiers."""
        return [process.pid for process in self._processes]

    def run(self, requests: Sequence[bytes]) -> float:
        """Takes serialised SubmitChangesRequests from the intake to the center's disk.

        Returns:
            Seconds.
        """
        frames = [_frame(b"".join(_frame(raw) for raw in group)) for group in _groups(requests)]
        first, last = self._processes[0].stdin, self._processes[-1].stdout
        assert first is not None
        assert last is not None
        began = time.monotonic()
        feeding = threading.Thread(target=lambda: (first.writelines(frames), first.flush()))
        feeding.start()
        self._done += len(requests)
        while int.from_bytes(_take(last)) < self._done:
            pass
        seconds = time.monotonic() - began
        feeding.join()
        return seconds

    def rows(self) -> dict[str, int]:
        """Changes in the history of each tier."""
        counts = {}
        for tier in TIERS:
            engine = open_writer(_url(self._folder, tier))
            with engine.begin() as connection:
                counts[f"floor {tier}"] = connection.execute(select(func.count()).select_from(history)).scalar_one()
            engine.dispose()
        return counts


def main(folder: Path, tier: str) -> None:
    """Works one tier until its input ends."""
    keys = json.loads((folder / "keys.json").read_text(encoding="utf-8"))
    engine = open_writer(_url(folder, tier))
    ensure_schema(engine, REGISTER)
    if tier == "municipality":
        work = _intake(engine, Path(keys["sealing_key"]))
    else:
        work = _receiver(engine, tier, Path(keys["public_keys"]))
    while frame := _take(sys.stdin.buffer):
        sys.stdout.buffer.write(_frame(work(frame)))
        sys.stdout.buffer.flush()


def _intake(engine: Engine, key: Path) -> _Work:
    sealing = Sealing(MUNICIPALITY, load_signing_key(key))

    def work(frame: bytes) -> bytes:
        items = [Item(_checked(raw).submission, "") for raw in _frames(frame)]
        with engine.begin() as connection:
            before = journal.read_stream(connection)
            answers = accept(connection, items, sealing, today=today_in_japan(), at_us=now_us())
        assert all(isinstance(answer, SubmitChangeResponse) for answer in answers)
        with engine.begin() as connection:
            return _outgoing(connection, before)

    return work


def _receiver(engine: Engine, tier: str, keys: Path) -> _Work:
    key_of = load_public_keys(keys).get
    at_center = tier == "center"
    below = Identity("prefecture", PREFECTURE) if at_center else Identity("municipality", MUNICIPALITY)
    unbraked = Brake(deletions=UNBRAKED["brake_deletions"], floor=UNBRAKED["brake_floor"])
    scope = "" if at_center else PREFECTURE[:2]
    assembly = Assembly(scope=scope, forwards=not at_center, key_of=key_of, brake=unbraked)
    with engine.begin() as connection:
        if journal.read_mark(connection, below.uri) is None:
            journal.write_mark(connection, below.uri, journal.Mark(1, 0, b"", 0, 0))

    def work(frame: bytes) -> bytes:
        batch = Batch.FromString(frame)
        check_message(batch)
        with engine.begin() as connection:
            before = journal.read_stream(connection)
            taken = apply_batch(
                connection,
                batch,
                source=below.uri,
                may_bring=lambda municipality: municipality == MUNICIPALITY,
                assembly=assembly,
                traceparents={},
                now_us=now_us(),
            )
        assert not any(taken.outcomes)
        if at_center:
            return taken.mark.mark.to_bytes(8)
        with engine.begin() as connection:
            return _outgoing(connection, before)

    return work


def _outgoing(connection: Connection, before: journal.Stream) -> bytes:
    """What the outbox holds after a stream's earlier state, as a batch."""
    rows = journal.fetch_outbox(connection, before.last_sequence, max_changes=BATCH_CHANGES, max_bytes=BATCH_BYTES)
    segments = [SealedSegment(segment=row.segment, seal=row.seal) for row in rows]
    return Batch(
        epoch=before.epoch,
        first_sequence=rows[0].first_sequence,
        previous_chain=before.chain,
        segments=segments,
    ).SerializeToString()


def _checked(raw: bytes) -> SubmitChangesRequest:
    request = SubmitChangesRequest.FromString(raw)
    check_message(request)
    return request


def _groups(requests: Sequence[bytes]) -> Iterator[list[bytes]]:
    waiting = iter(requests)
    while group := list(islice(waiting, BATCH_CHANGES)):
        yield group


def _frame(content: bytes) -> bytes:
    return _LENGTH.pack(len(content)) + content


def _take(stream: IO[bytes]) -> bytes:
    """The next frame; empty at the end."""
    head = stream.read(_LENGTH.size)
    return stream.read(*_LENGTH.unpack(head)) if head else b""


def _frames(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size + length
        yield content[at - length : at]


def _url(folder: Path, tier: str) -> str:
    return f"sqlite:///{folder / tier}.db"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
