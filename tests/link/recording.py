"""Records what a release sends over its links, so that every later one can be shown to take it.

`python -m tests.link.recording` writes the streams of the version at hand into `tests/link/recorded/VERSION/`: one file
a hop, each message of it with its length in front, and what a receiver made of it. Run it once for each release, before
it is tagged; a folder that exists is never written again.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed
from sqlalchemy import Connection, Engine, select

import jukinet
from cs_node.intake import Item, Sealing, accept
from jukinet._pb.jukinet.link.v1.link_pb2 import StreamRequest, Welcome
from jukinet._pb.jukinet.register.v1.change_pb2 import CHANGE_REASON_ENTRY_BIRTH, Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import (
    SEX_MALE,
    Address,
    BirthDate,
    CalendarDate,
    IdentityRecord,
    PersonName,
)
from jukinet.cli.change_columns import submission_of
from jukinet.domain.brake import Brake
from jukinet.domain.resident_code import check_digit
from jukinet.link.apply_batch import Assembly, apply_batch
from jukinet.link.outbox import queue
from jukinet.link.outputs import Fetch, Send
from jukinet.link.receiver import greet
from jukinet.link.sender import Sender
from jukinet.mesh.errors import name_of
from jukinet.mesh.identity import Identity
from jukinet.store import journal
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.schema import outbox, parked, residents
from nation import Nation

FOLDER = Path(__file__).with_name("recorded")
CHIYODA, OKUTAMA, YOKOSUKA = "131016", "133086", "142018"
_SETTLED, _FIRST, _LAST = date(2026, 1, 1), date(2026, 1, 2), date(2026, 2, 28)
_AT_US = 1_772_236_800_000_000
_UNBRAKED = Brake(floor=10**9, deletions=10**9)
_NUMBER_OF_TOMORROW = 15_000
"""Of a field that no version has: what a later one may add to a change."""


def sealing_key(municipality: str) -> Ed25519PrivateKey:
    """The key with which a recorded municipality sealed: no secret, the same for ever."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"recorded {municipality}".encode()).digest())


def key_of(municipality: str) -> Ed25519PublicKey | None:
    """The public key of a recorded municipality."""
    return sealing_key(municipality).public_key() if municipality in (CHIYODA, OKUTAMA, YOKOSUKA) else None


@dataclass
class Receiver:
    """A prefecture or the center, without its network."""

    engine: Engine
    scope: str
    outcomes: dict[str, int] = field(default_factory=dict)

    def hear(self, sender: Identity, request: StreamRequest) -> journal.Mark:
        """Takes a message of a stream as the link service does: the mark after it."""
        with self.engine.begin() as connection:
            if request.WhichOneof("message") == "hello":
                mark = greet(journal.read_mark(connection, sender.uri), request.hello, now_us=1)
                journal.write_mark(connection, sender.uri, mark)
                return mark
            taken = apply_batch(
                connection,
                request.batch,
                source=sender.uri,
                may_bring=lambda municipality: municipality.startswith(self.scope),
                assembly=Assembly(scope=self.scope, forwards=bool(self.scope), key_of=key_of, brake=_UNBRAKED),
                traceparents={},
                now_us=_AT_US,
            )
        for reason in taken.outcomes:
            name = name_of(reason) if reason else "applied"
            self.outcomes[name] = self.outcomes.get(name, 0) + 1
        return taken.mark

    def found(self) -> dict[str, Any]:
        """What it holds: counts, and one digest of all residents, of what is parked, and of what went on as it came."""
        with self.engine.connect() as connection:
            columns = (residents.c.resident_code, residents.c.version, residents.c.status, residents.c.holder)
            people = connection.execute(select(*columns, residents.c.resident).order_by(residents.c.resident_code))
            waiting = connection.execute(
                select(parked.c.municipality, parked.c.sequence, parked.c.reason, parked.c.change).order_by(
                    parked.c.municipality, parked.c.sequence
                )
            )
            forwarded = connection.execute(select(outbox.c.segment, outbox.c.seal).order_by(outbox.c.last_sequence))
            return {
                "outcomes": dict(sorted(self.outcomes.items())),
                "residents": _digest(people.all()),
                "parked": _digest(waiting.all()),
                "forwarded": _digest(forwarded.all()),
            }


def read_stream(path: Path) -> Iterator[StreamRequest]:
    """The messages of a recorded stream."""
    raw = BytesIO(path.read_bytes())
    while (message := parse_length_prefixed(StreamRequest, raw)) is not None:
        yield message


def record(folder: Path) -> None:
    """Writes the streams of this version, and what its own receivers made of them."""
    folder.mkdir(parents=True)
    nation = Nation([CHIYODA, OKUTAMA, YOKOSUKA], count=60, seed=20261126, on=_SETTLED)
    filed = [*nation.residents(), *nation.changes(_FIRST, _LAST, intensity=60.0)]
    with TemporaryDirectory() as temporary:
        databases = Path(temporary)
        receivers = {code: Receiver(_register(databases / code), code[:2]) for code in ("130001", "140007")}
        for code in (CHIYODA, OKUTAMA, YOKOSUKA):
            below = _register(databases / code)
            _live(below, code, [each.row for each in filed if each.municipality == code])
            prefecture = "140007" if code == YOKOSUKA else "130001"
            _send(below, Identity("municipality", code), receivers[prefecture], folder / f"municipality-{code}.stream")
        center = Receiver(_register(databases / "center"), "")
        for code, receiver in receivers.items():
            _send(receiver.engine, Identity("prefecture", code), center, folder / f"prefecture-{code}.stream")
        found = {code: receiver.found() for code, receiver in (*receivers.items(), ("center", center))}
    (folder / "expected.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")


def _register(path: Path) -> Engine:
    engine = open_writer(f"sqlite:///{path}.db")
    ensure_schema(engine, REGISTER)
    return engine


def _live(engine: Engine, municipality: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Takes a municipality's submissions in, ten at a time, and seals two changes of tomorrow among them."""
    sealing = Sealing(municipality, sealing_key(municipality))
    for first in range(0, len(rows), 10):
        items = [Item(submission_of(row), "") for row in rows[first : first + 10]]
        with engine.begin() as connection:
            for answer in accept(connection, items, sealing, today=_LAST, at_us=_AT_US):
                if isinstance(answer, Exception):
                    raise answer
            if first == 0:
                _of_tomorrow(connection, sealing)


def _of_tomorrow(connection: Connection, sealing: Sealing) -> None:
    """A change with a field that nobody knows, which is kept byte for byte, and one of an unknown kind."""
    code = "00" + sealing.municipality.zfill(8)
    code += check_digit(code)
    record = IdentityRecord(
        resident_code=code,
        name=PersonName(legal="試験　太郎"),
        birth_date=BirthDate(year=2026, month=1, day=2),
        sex=SEX_MALE,
        address=Address(local_government_code=sealing.municipality, town="本町", block="1番"),
    )
    day = CalendarDate(year=2026, month=1, day=2)
    birth = Change(reason=CHANGE_REASON_ENTRY_BIRTH, version=1, record=record, event_date=day)
    unknown_field = bytes([*_varint(_NUMBER_OF_TOMORROW << 3 | 2), 3]) + b"new"
    unknown_kind = Change(version=2, record=record, event_date=day)
    unknown_kind.reason = 4711  # type: ignore[assignment]  # what a later version may know
    queue(
        connection,
        [birth.SerializeToString() + unknown_field, unknown_kind.SerializeToString()],
        traceparents=["", ""],
        municipality=sealing.municipality,
        key=sealing.key,
        now_us=_AT_US,
    )


def _send(engine: Engine, identity: Identity, receiver: Receiver, path: Path) -> None:
    """Lets the sender of this version talk, and keeps each message that it writes."""
    with engine.connect() as connection:
        stream, first_kept = journal.read_stream(connection), journal.first_kept(connection)
    sender, said = Sender(), BytesIO()
    outputs = list(sender.opened(stream, first_kept=first_kept))
    while outputs:
        match outputs.pop(0):
            case Send(request):
                serialize_length_prefixed(request, said)
                mark = receiver.hear(identity, request)
                if request.HasField("hello"):
                    welcome = Welcome(epoch=mark.epoch, mark=mark.mark, chain=mark.chain, version=1)
                    welcome.credit.batches, welcome.credit.bytes = 10**6, 10**9
                    outputs += sender.welcomed(welcome, chain_here=b"")
            case Fetch(after, max_bytes):
                with engine.connect() as connection:
                    rows = journal.fetch_outbox(connection, after, max_changes=40, max_bytes=max_bytes)
                outputs += sender.fetched(rows)
    path.write_bytes(said.getvalue())


def _varint(number: int) -> Iterator[int]:
    while number > 0x7F:
        yield number & 0x7F | 0x80
        number >>= 7
    yield number


def _digest(rows: Sequence[Any]) -> dict[str, Any]:
    content = repr([tuple(row) for row in rows])
    return {"rows": len(rows), "sha256": hashlib.sha256(content.encode()).hexdigest()}


if __name__ == "__main__":
    record(FOLDER / jukinet.__version__)
