"""A sealed body opens with its own key alone, tells nothing by its length, and its place is the center's own."""

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.body.v1.body_pb2 import Body, SealedBody
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet.ledger import body
from jukinet.ledger.errors import BodyUnreadable

AGENCY = "spiffe://agencies.jukinet/agency/pension-service"
REQUEST = "5f7d1c1e-0000-4000-8000-000000000001"
MONTH, PERSON = b"\x01" * 32, b"\x02" * 32
NONCE = bytes(12)
NAME = body.person_name(body.names_key(bytes(32)), "00000000019")


def made(name: str = "山田太郎") -> Body:
    subject = inquiry.Subject(four_items=inquiry.FourItems(name=name))
    return Body(context=inquiry.InquiryContext(case_reference="case-1", operator="op-1"), subject=subject)


def opened(plain: bytes) -> body.Opened:
    place = body.seal_place("2026-11", body.place_cipher(MONTH), NAME, AGENCY, REQUEST, nonce=NONCE)
    return body.Opened(plain, body.body_key(MONTH, PERSON, AGENCY, REQUEST), place, REQUEST)


def sealed(name: str = "山田太郎") -> bytes:
    (only,) = body.seal([opened(made(name).SerializeToString())], AGENCY)
    return only


def test_a_body_opens_with_the_key_that_both_secrets_give() -> None:
    place = SealedBody.FromString(sealed()).place
    assert body.open_place(place, MONTH, AGENCY, REQUEST) == NAME
    assert body.unseal(sealed(), body.body_key(MONTH, PERSON, AGENCY, REQUEST), AGENCY, REQUEST) == made()


@pytest.mark.parametrize(
    "other",
    [
        (bytes(32), PERSON, AGENCY, REQUEST),
        (MONTH, bytes(32), AGENCY, REQUEST),
        (MONTH, b"", AGENCY, REQUEST),
        (MONTH, PERSON, AGENCY + "s", REQUEST),
        (MONTH, PERSON, AGENCY, REQUEST[:-1] + "2"),
    ],
)
def test_no_other_key_opens_it(other: tuple[bytes, bytes, str, str]) -> None:
    with pytest.raises(BodyUnreadable):
        body.unseal(sealed(), body.body_key(*other), AGENCY, REQUEST)


@given(person=st.sampled_from([b"", PERSON]) | st.binary(min_size=32, max_size=32), request=st.text(max_size=60))
def test_a_key_is_the_one_that_rfc_5869_derives(person: bytes, request: str) -> None:
    info = f"jukinet body v1 body\n{request}\n{AGENCY}".encode()
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(person + MONTH)
    assert body.body_key(MONTH, person, AGENCY, request) == derived


def test_a_body_is_of_its_own_question() -> None:
    key = body.body_key(MONTH, PERSON, AGENCY, REQUEST)
    for about in ((AGENCY + "s", REQUEST), (AGENCY, REQUEST[:-1] + "2")):
        with pytest.raises(BodyUnreadable):
            body.unseal(sealed(), key, *about)
        with pytest.raises(BodyUnreadable):
            body.open_place(SealedBody.FromString(sealed()).place, MONTH, *about)


@given(st.integers(0, 2**32))
def test_a_changed_bit_is_found(place: int) -> None:
    original = sealed()
    changed = bytearray(original)
    changed[place // 8 % len(changed)] ^= 1 << place % 8
    key = body.body_key(MONTH, PERSON, AGENCY, REQUEST)
    assert body.digest(bytes(changed)) != body.digest(original)
    try:
        found = body.unseal(bytes(changed), key, AGENCY, REQUEST)
    except BodyUnreadable:
        return
    assert found == made()  # the bit was in the place of the key, which the leaf's digest guards


@given(st.text("あ𠮷a", max_size=200))
def test_the_length_of_a_sealed_body_does_not_follow_that_of_a_name(name: str) -> None:
    ciphertext = SealedBody.FromString(sealed(name)).ciphertext
    assert (len(ciphertext) - 16) % 256 == 0
    key = body.body_key(MONTH, PERSON, AGENCY, REQUEST)
    assert body.unseal(sealed(name), key, AGENCY, REQUEST) == made(name)


@given(st.lists(st.text("あ𠮷a", max_size=200), max_size=5))
def test_bodies_that_are_sealed_together_open_alone_and_have_nonces_of_their_own(names: list[str]) -> None:
    wholes = list(map(made, names))
    parts = [[Body(context=each.context), Body(subject=each.subject)] for each in wholes]
    together = body.seal([opened(b"".join(one.SerializeToString() for one in each)) for each in parts], AGENCY)
    key = body.body_key(MONTH, PERSON, AGENCY, REQUEST)
    assert [body.unseal(each, key, AGENCY, REQUEST) for each in together] == wholes
    assert list(map(len, together)) == [len(sealed(name)) for name in names]
    nonces = {SealedBody.FromString(each).nonce for each in together}
    assert (len(nonces), {len(nonce) for nonce in nonces}) == (len(names), {12} if names else set())


def test_nonces_that_are_drawn_together_differ_from_each_other() -> None:
    drawn = [*body.nonces(64), *body.nonces(64)]
    assert {len(each) for each in drawn} == {12}
    assert len(set(drawn)) == 128


def test_a_place_looks_the_same_for_nobody_and_has_no_name_of_a_person() -> None:
    of_nobody = body.seal_place("2026-11", body.place_cipher(MONTH), body.NOBODY, AGENCY, REQUEST, nonce=NONCE)
    of_somebody = body.seal_place("2026-11", body.place_cipher(MONTH), NAME, AGENCY, REQUEST, nonce=NONCE)
    assert len(of_nobody.handle) == len(of_somebody.handle) == 60
    assert bytes.fromhex(NAME) not in of_somebody.SerializeToString()
    assert body.open_place(of_nobody, MONTH, AGENCY, REQUEST) == body.NOBODY
    with pytest.raises(BodyUnreadable):
        body.open_place(of_somebody, bytes(32), AGENCY, REQUEST)
