"""`jukinet bench poison`: what one change that cannot be applied costs the others.

Two registers take the same stream, ten thousand changes of a thousand residents, batch by batch and in turns. In one of
them one early change breaks the rules: it is parked, and so is every later one of that resident, which is looked at
again for ever. Measured is what each other change waits for the commit of its batch.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from bench.results import Report, Result, WorkDiffers, load_now, percentile
from bench.workload import MUNICIPALITY, PREFECTURE
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Hello
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.brake import Brake
from jukinet.domain.resident_code import check_digit
from jukinet.link.apply_batch import Assembly, apply_batch
from jukinet.link.receiver import greet
from jukinet.link.seal import link_chain, seal, segment_hash
from jukinet.mesh.identity import Identity
from jukinet.store import journal
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.schema import history, parked

RESIDENTS: Final = 1000
_WIDE: Final = Brake(floor=10**9, deletions=10**9)
_PREFECTURE: Final = Identity("prefecture", PREFECTURE)
_POISONED: Final = RESIDENTS // 2
"""The resident whose second change cannot be applied."""


@dataclass
class _Register:
    """One center's register, and how long each of its batches took, in milliseconds."""

    path: Path
    milliseconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self._engine = open_writer(f"sqlite:///{self.path}")
        ensure_schema(self._engine, REGISTER)
        self._assembly = Assembly(scope="", forwards=False, key_of=lambda _: self._key.public_key(), brake=_WIDE)
        self._sequence, self._chain, self._previous = 0, b"", b""
        with self._engine.begin() as connection:
            hello = Hello(epoch=1, version_min=1, version_max=1)
            journal.write_mark(connection, _PREFECTURE.uri, greet(None, hello, now_us=0))

    def take(self, changes: Sequence[change_pb2.Change]) -> None:
        """Seals a batch, and takes it in a transaction of its own; only the latter is timed."""
        batch = self._sealed([change.SerializeToString() for change in changes])
        began = time.perf_counter()
        with self._engine.begin() as connection:
            apply_batch(
                connection,
                batch,
                source=_PREFECTURE.uri,
                may_bring=lambda _: True,
                assembly=self._assembly,
                traceparents={},
                now_us=time.time_ns() // 1000,
            )
        self.milliseconds.append((time.perf_counter() - began) * 1e3)

    def rows(self) -> tuple[int, int]:
        """Changes in the history, and parked ones."""
        with self._engine.connect() as connection:
            applied, kept = (
                connection.execute(select(func.count()).select_from(table)).scalar_one() for table in (history, parked)
            )
        return applied, kept

    def close(self) -> None:
        """Closes the file."""
        self._engine.dispose()

    def _sealed(self, payloads: list[bytes]) -> Batch:
        first, before = self._sequence + 1, self._chain
        sealed = seal(
            payloads, municipality=MUNICIPALITY, epoch=1, first_sequence=first, previous=self._previous, key=self._key
        )
        self._sequence += len(payloads)
        self._previous = segment_hash(sealed.segment)
        self._chain = link_chain(before, first_sequence=first, last_sequence=self._sequence, segment=self._previous)
        return Batch(epoch=1, first_sequence=first, previous_chain=before, segments=[sealed])


def run_poison(*, changes: int, batch: int) -> Report:
    """Runs the benchmark.

    Args:
        changes: of each register; a thousand residents are born first.
        batch: changes of one transaction.

    Raises:
        WorkDiffers: more or less was parked than what stands behind the one change.
    """
    load = load_now()
    with TemporaryDirectory(prefix="jukinet-bench-") as folder:
        clean, poisoned = _Register(Path(folder) / "clean.db"), _Register(Path(folder) / "poisoned.db")
        try:
            _take_turns(clean, poisoned, changes=changes, batch=batch)
            behind = changes // RESIDENTS - 1
            if (clean.rows(), poisoned.rows()) != ((changes, 0), (changes - behind, behind)):
                raise WorkDiffers(f"applied and parked: {clean.rows()} without the poison, {poisoned.rows()} with it")
        finally:
            clean.close()
            poisoned.close()
    results = [
        Result(f"one of the others, p{share * 100:.0f}", percentile(poisoned.milliseconds, share), "ms", floor)
        for share, floor in ((share, percentile(clean.milliseconds, share)) for share in (0.5, 0.99))
    ]
    return Report("poison", results, (load, load_now()))


def _take_turns(clean: _Register, poisoned: _Register, *, changes: int, batch: int) -> None:
    for first in range(0, changes, batch):
        numbers = range(first, min(first + batch, changes))
        lawful = [_change(number) for number in numbers]
        spoilt = [_change(number, unlawful=number == RESIDENTS + _POISONED) for number in numbers]
        turns = [(clean, lawful), (poisoned, spoilt)]
        for register, work in turns if first // batch % 2 else reversed(turns):
            register.take(work)
    # What the database does once a file has grown so far falls on either by chance; the first batches are warm-up.
    for register in (clean, poisoned):
        del register.milliseconds[: RESIDENTS // batch]


def _change(number: int, *, unlawful: bool = False) -> change_pb2.Change:
    """Births first, then moves within the municipality, each resident in turn."""
    version, person = number // RESIDENTS + 1, number % RESIDENTS + 1
    body = f"00{person:08}"
    born = version == 1
    reason = change_pb2.CHANGE_REASON_ENTRY_BIRTH if born else change_pb2.CHANGE_REASON_CORRECTION_MOVE_WITHIN
    return change_pb2.Change(
        # A second birth of the same person is what no register takes.
        reason=change_pb2.CHANGE_REASON_ENTRY_BIRTH if unlawful else reason,
        version=version,
        event_date=identity_pb2.CalendarDate(year=2020, month=4, day=1),
        record=identity_pb2.IdentityRecord(
            resident_code=body + check_digit(body),
            name=identity_pb2.PersonName(legal="試験　太郎"),
            birth_date=identity_pb2.BirthDate(year=2020, month=4, day=1),
            sex=identity_pb2.SEX_MALE,
            address=identity_pb2.Address(local_government_code=MUNICIPALITY, town="丸の内", block=f"{version}番"),
        ),
    )
