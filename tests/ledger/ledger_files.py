"""Ledger files of any content, signed with a key of the tests."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger import merkle
from jukinet.ledger.entry import EntryKeys, make_act, make_entry
from jukinet.ledger.export import export
from jukinet.ledger.layout import encode
from jukinet.ledger.note import Signer, sign_checkpoint
from jukinet.ledger.verify.notes import Key, read_key

AGENCIES = ("pension-service", "national-tax-agency", "prefecture-130001")
BANNED = errors_pb2.ERROR_REASON_PRIVATE_SECTOR_BANNED
NOT_GRANTED = errors_pb2.ERROR_REASON_PURPOSE_NOT_GRANTED
APRIL, MAY = datetime(2026, 4, 10, tzinfo=UTC), datetime(2026, 5, 10, tzinfo=UTC)
KEYS = EntryKeys(bytes(32))


class Ledger(NamedTuple):
    """A ledger file, its public key as text, and its checkpoint."""

    path: Path
    key_text: str
    checkpoint: str

    @property
    def key(self) -> Key:
        return read_key(self.key_text)


def spiffe(agency: str) -> str:
    return f"spiffe://agencies.jukinet/agency/{agency}"


def leaf(number: int, time: datetime, **changed: Any) -> bytes:
    parts: dict[str, Any] = {
        "time": time,
        "request_id": f"5f7d1c1e-0000-4000-8000-{number:012x}",
        "agency": spiffe(AGENCIES[0]),
        "operator": "op-1",
        "purpose": "B1-77.12",
        "article": "30-9",
        "case_reference": "case-1",
        "action": ledger_pb2.ACTION_INQUIRE,
        "result": ledger_pb2.RESULT_PROVIDED,
        "fields": (1, 4),
        "token": b"\x01" * 32,
        "answer": b"answer",
        "policy_digest": bytes(32),
        "method": inquiry_pb2.INQUIRY_METHOD_FOUR_ITEMS,
        "wanted": (1, 4, 6),
        "edition": "2019-01",
    }
    return encode(make_entry(KEYS, **{**parts, **changed}))


def refusal(number: int, time: datetime, reason: int, agency: str = AGENCIES[0], **changed: Any) -> bytes:
    """`agency` is an id of the directory or a SPIFFE ID."""
    nothing: dict[str, Any] = {"fields": (), "token": b"", "answer": None, **changed}
    return leaf(
        number,
        time,
        agency=agency if "/" in agency else spiffe(agency),
        result=ledger_pb2.RESULT_REFUSED,
        refusal=reason,
        **nothing,
    )


def act(time: datetime) -> bytes:
    """An entry that no report counts."""
    made = make_act(
        KEYS,
        time=time,
        request_id="5f7d1c1e-0000-4000-9000-000000000000",
        gateway="spiffe://nodes.jukinet/gateway/1",
        operator="spiffe://operators.jukinet/operator/o-1",
        action=ledger_pb2.ACTION_TAKE_BODY,
        about="0",
        policy_digest=bytes(32),
    )
    return encode(made)


def write(path: Path, leaves: Sequence[bytes], *, name: str = "jukinet/gateway-1", size: int | None = None) -> Ledger:
    """A ledger file signed over its first `size` entries, all of them by default."""
    signer = Signer(name, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    growth = merkle.append(merkle.EMPTY, [merkle.leaf_hash(each) for each in leaves[:size]])
    note = sign_checkpoint(signer, growth.frontier.size, growth.root)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        export(leaves, note, file)
    return Ledger(path, str(signer.verifier), note)
