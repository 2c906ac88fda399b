"""A snapshot is cut the same by everybody, and no altered byte of it passes."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.snapshot_pb2 import Chunk, Manifest, SignedManifest
from jukinet.link import manifest as manifest_module
from jukinet.link.manifest import SealedChange, check_chunk, chunk_digest, cut, opened, sign
from jukinet.mesh.errors import Refused

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
BODIES = st.lists(st.tuples(st.integers(1, 3), st.binary(max_size=40)), min_size=1, max_size=60)


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> object:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(manifest_module, "CHUNK_CHANGES", 7)
        patched.setattr(manifest_module, "CHUNK_BYTES", 100)
        yield


def changes_of(bodies: list[tuple[int, bytes]]) -> list[SealedChange]:
    return [SealedChange(sequence, epoch, body) for sequence, (epoch, body) in enumerate(bodies, 1)]


def manifest_of(chunks: list[Chunk], sequence: int) -> Manifest:
    digests = [chunk_digest(chunk) for chunk in chunks]
    return Manifest(municipality="131016", epoch=3, sequence=sequence, segment_hash=bytes(32), chunks=digests)


@given(bodies=BODIES)
def test_chunks_hold_every_change_once_in_order_and_their_manifest_takes_each_of_them(
    bodies: list[tuple[int, bytes]],
) -> None:
    changes = changes_of(bodies)
    chunks = list(cut(changes))
    manifest = opened(sign(manifest_of(chunks, len(changes)), KEY), KEY.public_key())
    after, found = 0, []
    for number, chunk in enumerate(chunks):
        check_chunk(manifest, number, Chunk.FromString(chunk.SerializeToString()), after=after)
        after += len(chunk.changes)
        found += [(each.epoch, each.change) for each in chunk.changes]
        assert len(chunk.changes) <= 7
    assert found == bodies


@given(bodies=BODIES, more=BODIES)
def test_a_later_snapshot_begins_with_the_full_chunks_of_an_earlier_one(
    bodies: list[tuple[int, bytes]], more: list[tuple[int, bytes]]
) -> None:
    before, after = list(cut(changes_of(bodies))), list(cut(changes_of(bodies + more)))
    assert after[: len(before) - 1] == before[:-1]


@settings(max_examples=300)
@given(bodies=BODIES, data=st.data())
def test_no_altered_byte_of_a_chunk_is_taken(bodies: list[tuple[int, bytes]], data: st.DataObject) -> None:
    chunks = list(cut(changes_of(bodies)))
    manifest = manifest_of(chunks, len(bodies))
    number = data.draw(st.integers(0, len(chunks) - 1))
    raw = bytearray(chunks[number].SerializeToString())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        altered = Chunk.FromString(bytes(raw))
    except Exception:
        return  # it never gets here
    after = sum(len(chunk.changes) for chunk in chunks[:number])
    with pytest.raises(Refused) as refused:
        check_chunk(manifest, number, altered, after=after)
    assert refused.value.reason == errors.ERROR_REASON_SNAPSHOT_CHUNK


@settings(max_examples=300)
@given(bodies=BODIES, data=st.data())
def test_no_altered_byte_of_a_manifest_is_taken(bodies: list[tuple[int, bytes]], data: st.DataObject) -> None:
    signed = sign(manifest_of(list(cut(changes_of(bodies))), len(bodies)), KEY)
    raw = bytearray(signed.manifest + signed.seal)
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Refused) as refused:
        opened(SignedManifest(manifest=bytes(raw[:-64]), seal=bytes(raw[-64:])), KEY.public_key())
    assert refused.value.reason in (errors.ERROR_REASON_LINK_SEAL, errors.ERROR_REASON_LINK_PROTOCOL)


def test_a_chunk_counts_in_its_place_alone() -> None:
    chunks = list(cut(changes_of([(1, b"x")] * 20)))
    manifest = manifest_of(chunks, 20)
    for number, chunk, after in ((1, chunks[0], 0), (0, chunks[0], 7), (1, chunks[2], 7), (3, chunks[2], 14)):
        with pytest.raises(Refused):
            check_chunk(manifest, number, chunk, after=after)
    for wrong in (13, 21):
        with pytest.raises(Refused):
            check_chunk(manifest_of(chunks, wrong), 2, chunks[2], after=14)
