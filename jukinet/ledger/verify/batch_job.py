"""Reading the signed file job of a batch (一括提供): who ordered it, in which affair, about whom.

The first line is the order, the second one the signature of the operator who gave it, each further line one person, a
Subject of the contract in JSON, and where the agency holds an answer already, the mark of it (変更なし):

    {"format":"jukinet-batch-job/1","agency":…,"purpose":…,"case":…,"ordered_by":…,"ordered_at":…,"fields":[…],
     "max_age":…,"for_watch":…,"sealed_until":…,"persons":…,"persons_sha256":…}
    {"signature":…}
    {"four_items":{…}}
    {"four_items":{…},"held":…}

The signature (Ed25519) is over the 20 bytes `jukinet batch job v1`, a zero byte and the first line without its newline.
The order holds number and SHA-256 of all lines behind the second one, newlines included; so it speaks for them. The
job's digest, by which a gateway hears of it, is the SHA-256 of the first line without its newline.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.json_lines import parse_line, read_line
from jukinet.ledger.verify.notes import decode_base64

FORMAT = "jukinet-batch-job/1"
CONTEXT = b"jukinet batch job v1\0"
LIFETIME = timedelta(days=31)
"""How long an order may be carried out: whose data was needed last year is another question."""
SKEW = timedelta(minutes=5)
"""How far the clock of who ordered may be ahead of that of who asks, and of the gateway's."""
FIRST_PERSON = 3
"""Line of the first person, from 1."""
_MARK_BYTES = 32
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_BLOCK = 1 << 20


class Order(NamedTuple):
    """What the first line says; its keys but `format`, in their order."""

    agency: str
    """SPIFFE ID."""
    purpose: str
    case: str
    ordered_by: str
    """The operator who signed it, by the agency's own id."""
    ordered_at: str
    """UTC, to the second, such as `2026-11-27T09:30:00Z`."""
    fields: list[str]
    """Names of the wanted items without prefix, such as `BIRTH_DATE`."""
    max_age: int
    """How old an answer may be, seconds; 0 = as old as it is."""
    for_watch: bool
    sealed_until: str
    """Day on which the persons may be shown that it was asked (封印), such as `2027-04-01`; empty = at once."""
    persons: int
    persons_sha256: str

    @property
    def begins(self) -> datetime:
        """From when it may be carried out. Raises Unsound."""
        try:
            return datetime.strptime(self.ordered_at, _TIME).replace(tzinfo=UTC)
        except ValueError:
            raise Unsound("the time of the order is none") from None

    @property
    def ends(self) -> datetime:
        """Up to when it may be carried out. Raises Unsound."""
        return self.begins + LIFETIME

    def question(self) -> inquiry_pb2.InquireBatchRequest:
        """What is asked of everybody: a message without persons, id, operator and digest of the job. Raises Unsound."""
        try:
            fields = [inquiry_pb2.IdentityField.Value(f"IDENTITY_FIELD_{name}") for name in self.fields]
            context = inquiry_pb2.InquiryContext(
                purpose=self.purpose, case_reference=self.case, maximum_age_seconds=self.max_age
            )
            return inquiry_pb2.InquireBatchRequest(
                context=context, fields=fields, for_watch=self.for_watch, sealed_until=self.sealed_until
            )
        except ValueError:
            raise Unsound("the order asks for what there is not") from None


class Person(NamedTuple):
    """A person of a batch."""

    subject: inquiry_pb2.Subject
    held: bytes = b""
    """Mark of what the agency holds of the person, 32 bytes; empty for nothing."""


def digest_of(subject: inquiry_pb2.Subject) -> str:
    """What stands for a person beside the answer: SHA-256 of how the person was named, 64 hexadecimal digits."""
    return hashlib.sha256(subject.SerializeToString(deterministic=True)).hexdigest()


def put_persons(request: inquiry_pb2.InquireBatchRequest, persons: Iterable[Person]) -> None:
    """Writes into a message whom it asks about and, if anything is held of any of them, what."""
    people = list(persons)
    request.subjects.extend(each.subject for each in people)
    if any(each.held for each in people):
        request.held.extend(each.held for each in people)


def format_time(moment: datetime) -> str:
    """A moment as it stands in an order, to the second."""
    return moment.astimezone(UTC).strftime(_TIME)


class Job(NamedTuple):
    """The head of a job."""

    order: Order
    line: bytes
    """The first line, without its newline."""
    signature: bytes

    @property
    def digest(self) -> bytes:
        """By which a gateway hears of it, 32 bytes."""
        return hashlib.sha256(self.line).digest()

    def require_signed(self, key: Ed25519PublicKey) -> None:
        """Raises Unsound unless the order is signed by this key."""
        try:
            key.verify(self.signature, CONTEXT + self.line)
        except InvalidSignature:
            raise Unsound("the order is not signed by the given key of the one who gave it") from None


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Reads an operator's public key, Ed25519 in PEM. Raises Unsound, OSError."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise Unsound(f"{path.name} is not a public key of Ed25519 in PEM")
    return key


def read_head(file: BinaryIO) -> Job:
    """Reads order and signature; the file then stands at the first person. Raises Unsound."""
    line = read_line(file)
    content, signed = parse_line(line), parse_line(read_line(file))
    if content.pop("format", None) != FORMAT or list(content) != list(Order._fields):
        raise Unsound(f"the file does not begin with an order of {FORMAT}")
    signature = signed.pop("signature", None)
    if signed or not isinstance(signature, str):
        raise Unsound("the second line is not a signature")
    return Job(_order(content), line, decode_base64(signature))


def require_whole(file: BinaryIO, order: Order) -> None:
    """Reads on to the end of a job and makes sure that all persons are those of the order. Raises Unsound."""
    digest, count = hashlib.sha256(), 0
    while block := file.read(_BLOCK):
        digest.update(block)
        count += block.count(b"\n")
    if (count, digest.hexdigest()) != (order.persons, order.persons_sha256):
        raise Unsound("the persons are not those of the order: lines were changed, left out, added or put elsewhere")


def person_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines behind the head with their numbers. Raises Unsound."""
    number = FIRST_PERSON
    while line := read_line(file):
        yield number, line
        number += 1


def read_person(line: bytes) -> Person:
    """The person of a line. Raises Unsound; its text tells nothing of the line."""
    content = parse_line(line)
    held = read_mark(content.pop("held")) if "held" in content else b""
    try:
        return Person(json_format.ParseDict(content, inquiry_pb2.Subject()), held)
    except json_format.ParseError:
        raise Unsound("the line is not a person of the contract") from None


def read_mark(text: object) -> bytes:
    """The mark of what is held. Raises Unsound unless it is canonical base64 of 32 bytes."""
    mark = decode_base64(text) if isinstance(text, str) else b""
    if len(mark) != _MARK_BYTES:
        raise Unsound("a mark of what is held has not 32 bytes")
    return mark


def _order(content: dict[str, object]) -> Order:
    # A boolean is an integer to Python and none here.
    for name in Order._fields:
        wanted = {"fields": list, "max_age": int, "persons": int, "for_watch": bool}.get(name, str)
        if type(content[name]) is not wanted:
            raise Unsound(f"the order's {name} is not of the right kind")
    order = Order(**content)  # type: ignore[arg-type]  # looked at just now
    if not all(isinstance(name, str) for name in order.fields) or not _DIGEST.fullmatch(order.persons_sha256):
        raise Unsound("the order's fields or digest are not of the right kind")
    if order.persons < 1 or not 0 <= order.max_age < 2**32:
        raise Unsound("the order's numbers are out of range")
    return order
