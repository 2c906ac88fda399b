"""Seals, chains, and how a run of changes is cut."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.link.v1.link_pb2 import SealedSegment, Segment
from jukinet.link.seal import SEGMENT_BYTES, SEGMENT_CHANGES, cut, link_chain, seal_holds, segment_hash


def _sealed(link: Any, **fake: Any) -> SealedSegment:
    sealed: SealedSegment = link.Sealer().segment([b"one", b"two"], **fake)
    return sealed


def test_a_seal_holds_for_the_bytes_and_the_municipality_that_made_it(link: Any) -> None:
    sealed = _sealed(link)
    digest = segment_hash(sealed.segment)
    assert seal_holds(sealed, digest, link.key_of(link.CHIYODA))
    assert not seal_holds(sealed, digest, link.key_of(link.CHUO))
    assert not seal_holds(sealed, segment_hash(sealed.segment + b"x"), link.key_of(link.CHIYODA))
    assert not seal_holds(SealedSegment(segment=sealed.segment, seal=bytes(64)), digest, link.key_of(link.CHIYODA))


def test_a_signature_over_the_bare_hash_is_no_seal(link: Any) -> None:
    sealed = _sealed(link)
    digest = segment_hash(sealed.segment)
    bare = SealedSegment(segment=sealed.segment, seal=link.sealing_key(link.CHIYODA).sign(digest))
    assert not seal_holds(bare, digest, link.key_of(link.CHIYODA))


def test_a_segment_names_its_place_in_the_municipalitys_history(link: Any) -> None:
    sealer = link.Sealer()
    first = sealer.segment([b"a", b"b"])
    second = Segment.FromString(sealer.segment([b"c"]).segment)
    assert (second.municipality, second.epoch, second.first_sequence) == (link.CHIYODA, 1, 3)
    assert second.previous == segment_hash(first.segment)


@given(st.lists(st.binary(max_size=32), min_size=2, max_size=6, unique=True))
def test_the_link_chain_tells_any_two_histories_apart(parts: list[bytes]) -> None:
    def chain(order: list[bytes]) -> bytes:
        end = b""
        for number, part in enumerate(order, 1):
            end = link_chain(end, first_sequence=number, last_sequence=number, segment=segment_hash(part))
        return end

    assert chain(parts) != chain(parts[::-1])
    assert chain(parts) != chain(parts[:-1])


def test_the_link_chain_covers_the_numbers_too() -> None:
    segment = segment_hash(b"x")
    one = link_chain(b"", first_sequence=1, last_sequence=1, segment=segment)
    assert one != link_chain(b"", first_sequence=1, last_sequence=2, segment=segment)
    assert one != link_chain(one, first_sequence=1, last_sequence=1, segment=segment)


@given(st.lists(st.sampled_from([0, 1, 6147, 300_000, SEGMENT_BYTES]), max_size=1200))
def test_a_cut_run_fits_and_loses_nothing(sizes: list[int]) -> None:
    blank = bytes(SEGMENT_BYTES)
    changes = [blank[:size] for size in sizes]
    pieces = list(cut(changes))
    assert [index for begin, end in pieces for index in range(begin, end)] == list(range(len(changes)))
    for begin, end in pieces:
        assert 1 <= end - begin <= SEGMENT_CHANGES
        assert sum(sizes[begin:end]) <= SEGMENT_BYTES
