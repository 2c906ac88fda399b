"""A cosignature holds for one key, one time and one checkpoint; writer and verifier read it alike."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from jukinet.ledger.cosignature import Cosigner, WitnessKey
from jukinet.ledger.errors import NoteInvalid
from jukinet.ledger.note import Signer, VerifierKey, open_checkpoint, sign_checkpoint, text_of
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.notes import cosigned_by, read_checkpoint, read_key, read_witness_key

ROOT = bytes(range(32))
COSIGNER = Cosigner("witness.example/w1", Ed25519PrivateKey.from_private_bytes(b"\x09" * 32))
OTHER = Cosigner("witness.example/w1", Ed25519PrivateKey.from_private_bytes(b"\x0a" * 32))
SECONDS = 1_679_315_147


@pytest.fixture(scope="module")
def checkpoint(signer: Signer) -> str:
    return sign_checkpoint(signer, 7, ROOT)


def test_a_cosignature_has_the_form_of_the_format(checkpoint: str) -> None:
    text = text_of(checkpoint)
    line = COSIGNER.cosign(text, SECONDS)
    dash, name, encoded = line.removesuffix("\n").split(" ")
    assert (dash, name) == ("—", "witness.example/w1")
    decoded = base64.b64decode(encoded)
    assert len(decoded) == 4 + 8 + 64
    assert decoded[:4] == COSIGNER.key.key_id
    assert int.from_bytes(decoded[4:12], "big") == SECONDS
    # As tlog-cosignature says it, in full.
    COSIGNER.key.public_key.verify(decoded[12:], f"cosignature/v1\ntime {SECONDS}\n{text}".encode())


def test_the_key_id_is_that_of_the_format() -> None:
    import hashlib

    raw = COSIGNER.key.public_key.public_bytes_raw()
    assert COSIGNER.key.key_id == hashlib.sha256(b"witness.example/w1\n\x04" + raw).digest()[:4]


@given(seconds=st.integers(0, 2**63 - 1))
def test_what_is_cosigned_verifies_and_tells_its_time(checkpoint: str, seconds: int) -> None:
    line = COSIGNER.cosign(text_of(checkpoint), seconds)
    assert COSIGNER.key.verify(line, text_of(checkpoint)) == seconds


def test_a_cosigned_checkpoint_is_still_the_ledgers(checkpoint: str, signer: Signer) -> None:
    note = checkpoint + COSIGNER.cosign(text_of(checkpoint), SECONDS)
    assert open_checkpoint(note, signer.verifier).size == 7
    key = read_witness_key(str(COSIGNER.key))
    assert read_checkpoint(note, read_key(str(signer.verifier))).size == 7
    assert cosigned_by(note, [key]) == ["witness.example/w1"]
    assert cosigned_by(checkpoint, [key]) == []
    assert cosigned_by(note, [read_witness_key(str(OTHER.key))]) == []


def test_no_single_bit_of_a_cosignature_or_its_checkpoint_can_be_changed(checkpoint: str, signer: Signer) -> None:
    line = COSIGNER.cosign(text_of(checkpoint), SECONDS)
    note, key, ledger = (
        (checkpoint + line).encode(),
        read_witness_key(str(COSIGNER.key)),
        read_key(str(signer.verifier)),
    )
    for bit in range(len(note) * 8):
        changed = bytearray(note)
        changed[bit // 8] ^= 1 << bit % 8
        text = changed.decode("utf-8", "surrogateescape")
        try:
            read_checkpoint(text, ledger)
            names = cosigned_by(text, [key])
        except Unsound:
            continue
        assert names == [], f"bit {bit}: only the name of the key may have changed, and then nobody cosigned"
    for bit in range(len(line.encode()) * 8):
        altered = bytearray(line.encode())
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NoteInvalid):
            COSIGNER.key.verify(altered.decode("utf-8", "surrogateescape"), text_of(checkpoint))


def test_a_cosignature_of_another_checkpoint_time_or_key_is_refused(checkpoint: str, signer: Signer) -> None:
    line = COSIGNER.cosign(text_of(checkpoint), SECONDS)
    with pytest.raises(NoteInvalid, match="does not verify"):
        COSIGNER.key.verify(line, text_of(sign_checkpoint(signer, 8, ROOT)))
    with pytest.raises(NoteInvalid, match="expected key"):
        COSIGNER.key.verify(OTHER.cosign(text_of(checkpoint), SECONDS), text_of(checkpoint))
    for bad in ("", "\n", line[:-1], line + line, line.replace("— ", "- "), f"— {COSIGNER.key.name} AAAA\n"):
        with pytest.raises(NoteInvalid):
            COSIGNER.key.verify(bad, text_of(checkpoint))


def test_a_signature_and_a_cosignature_cannot_stand_for_each_other(checkpoint: str) -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"\x0b" * 32)
    ledger, witness = Signer("one.example", private), Cosigner("one.example", private)
    assert ledger.verifier.key_id != witness.key.key_id
    with pytest.raises(NoteInvalid):
        WitnessKey.parse(str(ledger.verifier))
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(str(witness.key))
    with pytest.raises(Unsound):
        read_witness_key(str(ledger.verifier))
    with pytest.raises(Unsound):
        read_key(str(witness.key))
    own = sign_checkpoint(ledger, 1, ROOT)
    with pytest.raises(NoteInvalid):
        open_checkpoint(own[: own.index("—")] + witness.cosign(text_of(own), SECONDS), ledger.verifier)


def test_a_key_is_written_as_it_was_read() -> None:
    assert str(WitnessKey.parse(str(COSIGNER.key))) == str(COSIGNER.key)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "name",
        lambda text: text[:-4],
        lambda text: text.replace("w1", "w2"),
        lambda text: text.replace("witness", "wit ness"),
        lambda text: text + "=",
    ],
)
def test_a_malformed_key_is_refused(change: object) -> None:
    text = change(str(COSIGNER.key))  # type: ignore[operator]  # a function of one text
    with pytest.raises(NoteInvalid):
        WitnessKey.parse(text)
    with pytest.raises(Unsound):
        read_witness_key(text)
