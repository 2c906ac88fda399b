"""Signed notes keep the C2SP formats, have one spelling each, and hold for one key only."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.ledger.errors import NoteInvalid
from jukinet.ledger.note import Signer, VerifierKey, open_checkpoint, open_note, sign_checkpoint

ROOT = bytes(range(32))
# The signed note and its key in the documentation of Go's golang.org/x/mod/sumdb/note.
KNOWN_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
KNOWN_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
KNOWN_NOTE = (
    KNOWN_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_the_known_note_opens_with_its_known_key() -> None:
    assert open_note(KNOWN_NOTE, VerifierKey.parse(KNOWN_KEY)) == KNOWN_TEXT


def test_a_key_is_written_as_it_was_read(signer: Signer) -> None:
    assert str(VerifierKey.parse(KNOWN_KEY)) == KNOWN_KEY
    assert str(VerifierKey.parse(str(signer.verifier))) == str(signer.verifier)


def test_a_checkpoint_has_the_lines_of_the_format(signer: Signer) -> None:
    note = sign_checkpoint(signer, 7, ROOT)
    lines = note.split("\n")
    assert lines[:4] == [signer.verifier.name, "7", base64.b64encode(ROOT).decode(), ""]
    assert lines[4].startswith(f"— {signer.verifier.name} ")
    assert lines[5:] == [""]


@given(size=st.integers(0, 2**63 - 1), root=st.binary(min_size=32, max_size=32))
def test_a_signed_checkpoint_opens_to_what_was_signed(signer: Signer, size: int, root: bytes) -> None:
    note = sign_checkpoint(signer, size, root)
    assert open_checkpoint(note, signer.verifier) == (signer.verifier.name, size, root)


def test_no_single_bit_of_a_checkpoint_can_be_changed(signer: Signer) -> None:
    note = sign_checkpoint(signer, 1234, ROOT).encode()
    for bit in range(len(note) * 8):
        changed = bytearray(note)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NoteInvalid):
            open_checkpoint(changed.decode("utf-8", "surrogateescape"), signer.verifier)


def test_a_checkpoint_by_another_key_is_refused(signer: Signer, other_signer: Signer) -> None:
    with pytest.raises(NoteInvalid, match="expected key"):
        open_checkpoint(sign_checkpoint(other_signer, 1, ROOT), signer.verifier)


def test_a_false_signature_under_the_right_key_id_is_refused(signer: Signer) -> None:
    note = sign_checkpoint(signer, 1, ROOT)
    other = sign_checkpoint(signer, 2, ROOT)
    with pytest.raises(NoteInvalid, match="does not verify"):
        open_checkpoint(note[: note.index("—")] + other[other.index("—") :], signer.verifier)


def test_signatures_by_unknown_keys_are_passed_over(signer: Signer, other_signer: Signer) -> None:
    note, other = sign_checkpoint(signer, 1, ROOT), sign_checkpoint(other_signer, 1, ROOT)
    assert open_checkpoint(note + other[other.index("—") :], signer.verifier).size == 1


@pytest.mark.parametrize(
    "text",
    [
        "other.example\n1\n{root}\n",
        "{name}\n01\n{root}\n",
        "{name}\n-1\n{root}\n",
        "{name}\n１\n{root}\n",
        "{name}\n\n{root}\n",
        "{name}\n1\n{root}\nextension\n",
        "{name}\n1\nAAAA\n",
        "{name}\n1\n\n",
        "{name}\n9223372036854775808\n{root}\n",
        "{name}\n99999999999999999999\n{root}\n",
        "{name}\n1\n",
        "{name}\n1\n{loose}\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(signer: Signer, text: str) -> None:
    root = base64.b64encode(ROOT).decode()
    loose = root[:-2] + "9="  # The same 32 bytes, with a stray bit in the last character.
    note = signer.sign(text.format(name=signer.verifier.name, root=root, loose=loose))
    with pytest.raises(NoteInvalid):
        open_checkpoint(note, signer.verifier)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "text\n",
        "text\n\n",
        "\n\n— a AAAAAAA=\n",
        "text\n\n- a AAAAAAA=\n",
        "text\n\n— aAAAAAAA=\n",
        "text\n\n— a+b AAAAAAA=\n",
        "text\n\n—  AAAAAAA=\n",
        "text\n\n— a A\n",
        "text\n\n— a AAAAAA==\n",
        "text\n\n— a AAAAAAA=",
        "te\txt\n\n— a AAAAAAA=\n",
        "te\ud800xt\n\n— a AAAAAAA=\n",
        "text\n" * 20_000 + "\n— a AAAAAAA=\n",
        "text\n\n" + "— a AAAAAAA=\n" * 65,
    ],
)
def test_a_malformed_note_is_refused(signer: Signer, note: str) -> None:
    with pytest.raises(NoteInvalid):
        open_note(note, signer.verifier)


@pytest.mark.parametrize("text", ["", "\n", "no newline", "bell\x07\n", "lone \udc00\n"])
def test_a_text_that_no_note_can_hold_is_not_signed(signer: Signer, text: str) -> None:
    with pytest.raises(NoteInvalid):
        signer.sign(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "na me" + KNOWN_KEY[12:],
        "Other" + KNOWN_KEY[12:],
        KNOWN_KEY[:-4],
        KNOWN_KEY.replace("ARpc", "Ahpc"),
        KNOWN_KEY.replace("c74f", "C74F"),
    ],
)
def test_a_malformed_key_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(text)


@given(st.text())
def test_any_text_is_refused_by_a_typed_error(signer: Signer, text: str) -> None:
    with pytest.raises(NoteInvalid):
        open_checkpoint(text, signer.verifier)
