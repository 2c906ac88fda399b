"""Canaries: words that stand nowhere else, planted in personal fields, and sought in all that leaves a register."""

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import Message

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.link.v1 import link_pb2 as link
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.mesh.errors import name_of, reason_of
from jukinet.mesh.redaction import is_personal

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, OKUTAMA, SHINJUKU = "131016", "133086", "131041"
CS, PREFECTURE, CENTER, GATEWAY = "municipality-131016", "prefecture-130001", "center", "gateway-1"

MARK = f"kanaria{secrets.token_hex(4)}"
"""What every canary begins with; letters and digits, so that no escape and no search key changes it."""
BORN = identity_pb2.BirthDate(year=1899, month=7, day=23)
UNSEARCHABLE = (b"1899-07-23", b"18990723", b"year: 1899", b"sex_female", b"inquiry_outcome", b"no_single_match")
"""Dates, and names of enumerators and of the fields whose presence tells something."""


class Canaries:
    """What was planted, and what came back of it."""

    def __init__(self) -> None:
        self.fields: set[str] = set()
        self.needles: set[str] = set()
        self.told: list[bytes] = []
        """Refusals, and all else that nodes told to somebody who may not see a person in it."""
        self.refusals: set[str] = set()
        self._count = 0

    def word(self, what: str) -> str:
        """A canary that stands nowhere else."""
        self._count += 1
        return f"鸞　{MARK}{what}{self._count}"

    def plant(self, message: Message, *, personal: bool = False, needles: bool = True) -> None:
        """Takes note of every personal field that a message fills, and of the canaries in it."""
        for field, value in message.ListFields():
            below = personal or is_personal(field)
            if is_personal(field):
                self.fields.add(field.full_name)
            for each in value if field.is_repeated else [value]:
                inner = _inside(field.full_name, each)
                if inner is not None:
                    self.plant(inner, personal=below, needles=needles)
                elif below and needles and isinstance(each, str):
                    self.needles |= set(re.findall(rf"{MARK}\w+|^\d{{11,12}}$", each))

    async def attempt(self, call: Any, *requests: Message) -> Any:
        """Makes a call; keeps what it carried and, when it is refused, all that the caller got."""
        for request in requests:
            self.plant(request)
        try:
            answers = [answer async for answer in call] if hasattr(call, "__aiter__") else [await call]
        except grpc.aio.AioRpcError as error:
            metadata = [*(error.trailing_metadata() or ()), *(error.initial_metadata() or ())]
            self.told += [str(error).encode(), repr(error).encode(), repr(metadata).encode()]
            self.told += [value if isinstance(value, bytes) else value.encode() for _, value in metadata]
            reason = reason_of(error)
            self.refusals.add(error.code().name if reason is None else name_of(reason))
            return None
        for answer in answers:
            self.plant(answer)
        return answers[-1] if answers else None

    def leaks(self, places: Iterable[bytes]) -> set[str]:
        """The canaries that stand in any of these, plain, encoded or hashed."""
        lowered = [place.lower() for place in places]
        return {
            needle
            for needle in self.needles
            for form in _forms(needle.encode())
            if any(form in place for place in lowered)
        }

    def record(self, network: Network, municipality: str = CHIYODA) -> identity_pb2.IdentityRecord:
        """Somebody all of whose items are canaries."""
        name = {each.name: self.word(each.name.replace("_", "")) for each in identity_pb2.PersonName.DESCRIPTOR.fields}
        address = {each: self.word(each) for each in ("town", "block", "building")}
        record: identity_pb2.IdentityRecord = network.person(
            municipality,
            name=identity_pb2.PersonName(**name),
            birth_date=BORN,
            sex=identity_pb2.SEX_FEMALE,
            address=identity_pb2.Address(local_government_code=municipality, **address),
        )
        return record


def altered(record: identity_pb2.IdentityRecord, **parts: Any) -> identity_pb2.IdentityRecord:
    """A record with other parts."""
    copy = identity_pb2.IdentityRecord()
    copy.CopyFrom(record)
    copy.MergeFrom(identity_pb2.IdentityRecord(**parts))
    return copy


def _inside(name: str, value: Any) -> Message | None:
    """The message in a field: as such, or serialised."""
    if isinstance(value, Message):
        return value
    try:
        match name:
            case "jukinet.link.v1.SealedSegment.segment":
                return link.Segment.FromString(value)
            case "jukinet.link.v1.Segment.changes" | "jukinet.link.v1.ChunkChange.change":
                return change_pb2.Change.FromString(value)
            case "jukinet.provision.v1.SignedTickets.tickets":
                return provision.Tickets.FromString(value)
            case "jukinet.disclosure.v1.SignedIdentityCheck.check":
                return disclosure.IdentityCheck.FromString(value)
            case "jukinet.disclosure.v1.FindUsageResponse.usage":
                return disclosure.Usage.FromString(value)
    except Exception:
        return None  # a segment that is none, planted as such
    return None


def _forms(needle: bytes) -> list[bytes]:
    """A word as it may stand in a text, a dump or a file, in small letters."""
    base64s = []
    for shift, cut in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\0" * shift + needle)
        base64s.append(encoded[cut : len(encoded) - 4])
    hashed = hashlib.sha256(needle)
    return [
        each.lower() for each in (needle, needle.hex().encode(), *base64s, hashed.digest(), hashed.hexdigest().encode())
    ]


def mentions(places: Iterable[bytes]) -> set[bytes]:
    """The dates and names of enumerators that stand in any of these."""
    return {form for form in UNSEARCHABLE for place in places if form in place.lower()}


def traced() -> list[tuple[str, str]]:
    """Metadata with a trace context of its own."""
    return [("traceparent", f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01")]
