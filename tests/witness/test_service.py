"""What a witness signs is on its disk first, and it answers for the logs of its configuration alone."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, event

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.witness.v1 import witness_pb2
from jukinet.ledger import merkle
from jukinet.ledger.cosignature import Cosigner
from jukinet.ledger.note import Signer, VerifierKey, sign_checkpoint, text_of
from jukinet.ledger.verify.notes import read_key
from jukinet.mesh.config import ConfigError
from jukinet.mesh.errors import Refused
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import ensure_schema
from jukinet.store.writer import Writer
from jukinet.witness.node import MIGRATIONS, load_ledger_keys
from jukinet.witness.service import WitnessService

COSIGNER = Cosigner("jukinet/witness-1", Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))
LOG = Signer("log.example", Ed25519PrivateKey.from_private_bytes(b"\x03" * 32))
LEAVES = [merkle.leaf_hash(bytes([number])) for number in range(40)]


def note(size: int) -> str:
    return sign_checkpoint(LOG, size, merkle.append(merkle.EMPTY, LEAVES[:size]).root)


def proof(old: int, new: int) -> list[bytes]:
    nodes = {(node.level, node.position): node.hash for node in merkle.append(merkle.EMPTY, LEAVES).subtrees}
    nodes |= {(0, index): leaf for index, leaf in enumerate(LEAVES)}
    return merkle.consistency_proof(old, new, lambda level, position: nodes[level, position])


class Served:
    """A witness's service on a database of its own."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder}/witness.db"
        self.engine: Engine = open_writer(url)
        ensure_schema(self.engine, MIGRATIONS)
        self.reader = open_reader(url)
        self.writer = Writer(self.engine)
        keys = {LOG.verifier.name: read_key(str(LOG.verifier))}
        self.service = WitnessService(writer=self.writer, reader=self.reader, cosigner=COSIGNER, keys=keys)

    async def add(self, old: int, new: int, checkpoint: str | None = None) -> str:
        request = witness_pb2.AddCheckpointRequest(
            old_size=old, proof=proof(old, new) if old <= new else [], checkpoint=checkpoint or note(new)
        )
        context: Any = None  # it is not used
        return (await self.service.AddCheckpoint(request, context)).cosignature

    async def latest(self, origin: str = "log.example") -> str:
        context: Any = None
        answer = await self.service.GetLatest(witness_pb2.GetLatestRequest(origin=origin), context)
        return answer.checkpoint

    def close(self) -> None:
        self.writer.close()
        self.reader.dispose()
        self.engine.dispose()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.close()


async def test_a_growing_log_is_cosigned_step_by_step(served: Served) -> None:
    assert await served.latest() == ""
    for old, new in ((0, 0), (0, 3), (3, 3), (3, 17), (17, 40)):
        line = await served.add(old, new)
        assert COSIGNER.key.verify(line, text_of(note(new))) > 1_700_000_000
        assert await served.latest() == note(new)


async def test_requests_at_the_same_moment_are_judged_one_after_the_other(served: Served) -> None:
    await served.add(0, 5)
    results = await asyncio.gather(*(served.add(5, new) for new in range(6, 30)), return_exceptions=True)
    cosigned = [new for new, result in zip(range(6, 30), results, strict=True) if isinstance(result, str)]
    assert len(cosigned) == 1
    assert all(
        isinstance(result, Refused) and (result.reason, result.size) == (errors.ERROR_REASON_CHECKPOINT_CONFLICT, new)
        for result in results
        if not isinstance(result, str)
        for new in cosigned
    )
    assert await served.latest() == note(cosigned[0])


async def test_nothing_is_signed_that_is_not_on_disk(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    signed: list[str] = []
    committed: list[bool] = []
    event.listen(served.engine, "commit", lambda _: committed.append(True))
    real = COSIGNER.cosign

    def watch(text: str, seconds: int) -> str:
        assert committed, "the commit comes first"
        signed.append(text)
        return real(text, seconds)

    monkeypatch.setattr(COSIGNER, "cosign", watch)
    await served.add(0, 4)
    assert signed == [text_of(note(4))]
    served.writer.close()
    with pytest.raises(Refused) as caught:
        await served.add(4, 9)
    assert caught.value.reason == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert signed == [text_of(note(4))]


async def test_a_log_that_it_does_not_know_is_refused_by_both(served: Served) -> None:
    stranger = Signer("elsewhere.example", Ed25519PrivateKey.generate())
    for call in (served.latest("elsewhere.example"), served.add(0, 0, sign_checkpoint(stranger, 0, merkle.EMPTY_ROOT))):
        with pytest.raises(Refused) as caught:
            await call
        assert caught.value.reason == errors.ERROR_REASON_ORIGIN_UNKNOWN


def written(folder: Path, **keys: str) -> Path:
    for name, text in keys.items():
        (folder / f"{name}.vkey").write_text(text, encoding="utf-8")
    return folder


def test_the_ledgers_of_a_directory_are_known_by_their_origin(tmp_path: Path) -> None:
    other = VerifierKey("other.example", Ed25519PrivateKey.generate().public_key())
    keys = load_ledger_keys(written(tmp_path, one=f"{LOG.verifier}\n", two=str(other)))
    assert set(keys) == {"log.example", "other.example"}


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({}, "holds no NAME.vkey"),
        ({"one": "nonsense"}, "name"),
        ({"one": str(COSIGNER.key)}, "key id"),
        ({"one": str(LOG.verifier), "two": str(LOG.verifier)}, "same ledger"),
    ],
)
def test_a_directory_that_does_not_hold_is_refused(tmp_path: Path, keys: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_ledger_keys(written(tmp_path, **keys))
