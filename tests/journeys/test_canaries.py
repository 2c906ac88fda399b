"""Personal data (個人情報) stays in the registers and in the answers.

A canary, a word that stands nowhere else, is planted in every field of the contract that carries `debug_redact`, on
ways that succeed and on ways that fail. Then all that leaves a register is searched for it: logs, spans, metrics,
refusals, what the command line and the operator see, file names and every file but the registers themselves.
"""

import asyncio
import base64
import hashlib
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from sqlalchemy import text

from jukinet._pb.jukinet.admin.v1.admin_pb2 import ListParkedRequest
from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceStub
from jukinet._pb.jukinet.consistency.v1 import consistency_pb2 as consistency
from jukinet._pb.jukinet.consistency.v1.consistency_pb2_grpc import ConsistencyServiceStub
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeRequest, SubmitChangesRequest
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet._pb.jukinet.link.v1 import link_pb2 as link
from jukinet._pb.jukinet.link.v1 import snapshot_pb2 as snapshot
from jukinet._pb.jukinet.link.v1.link_pb2_grpc import LinkServiceStub
from jukinet._pb.jukinet.link.v1.snapshot_pb2_grpc import SnapshotServiceStub
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ProvisionServiceStub
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.cli.development_agencies import BANK, PENSION_SERVICE
from jukinet.mesh.clock import now
from jukinet.mesh.errors import name_of, reason_of
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_signing_key
from jukinet.mesh.redaction import is_personal, personal_fields
from jukinet.purpose.ticket import sign_ticket, subject_digest
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from tests.change_columns import values_of

Network = Any  # the fixture's own class lives in conftest.py
Collector = Any
CHIYODA, OKUTAMA, SHINJUKU = "131016", "133086", "131041"
CS, PREFECTURE, CENTER, GATEWAY = "municipality-131016", "prefecture-130001", "center", "gateway-1"
SYSTEM = Identity("municipal-system", CHIYODA)

MARK = f"kanaria{secrets.token_hex(4)}"
"""What every canary begins with; letters and digits, so that no escape and no search key changes it."""
BORN = identity_pb2.BirthDate(year=1899, month=7, day=23)
UNSEARCHABLE = (b"1899-07-23", b"18990723", b"year: 1899", b"sex_female", b"inquiry_outcome", b"no_single_match")
"""Dates, and names of enumerators and of the fields whose presence tells something."""
REGISTER_FILES = re.compile(r"register\.db(-wal|-shm)?")


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
            case "jukinet.provision.v1.SignedTicket.ticket":
                return provision.Ticket.FromString(value)
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


# ---- planting -------------------------------------------------------------------------------------------------------


async def plant_changes(canaries: Canaries, network: Network) -> identity_pb2.IdentityRecord:
    """Changes that are accepted, refused, repeated, malformed, too large; gives a resident who is asked about."""
    known = canaries.record(network)
    new_code, new_number = network.code(), network.number()
    entry = network.submission("ENTRY_EX_OFFICIO", known)
    other_content = _copy(entry)
    other_content.record.address.block = canaries.word("othercontent")
    numbered = _with(known, individual_number=new_number)
    recoded = _with(numbered, resident_code=new_code)
    unknown = canaries.record(network)
    bad = [canaries.record(network) for _ in range(6)]
    bad[0].resident_code = _other_digit(bad[0].resident_code)
    bad[1].individual_number = _other_digit(bad[1].individual_number)
    bad[2].name.legal += "\x1b[31m"
    bad[3].address.building = canaries.word("x" * 201)
    bad[4].resident_code = canaries.word("nocode")
    bad[5].birth_date.CopyFrom(identity_pb2.BirthDate(year=9999, month=7, day=23))
    submissions = [
        entry,
        entry,
        other_content,
        network.submission("ENTRY_EX_OFFICIO", known),
        network.submission("CORRECTION_MOVE_WITHIN", unknown),
        network.submission(
            "CORRECTION_INDIVIDUAL_NUMBER_REQUEST", numbered, previous_individual_number=network.number()
        ),
        network.submission(
            "CORRECTION_INDIVIDUAL_NUMBER_REQUEST", numbered, previous_individual_number=known.individual_number
        ),
        network.submission("CORRECTION_RESIDENT_CODE_REQUEST", recoded, previous_resident_code=known.resident_code),
        network.submission("DELETION_DEATH", known),  # under the old code
        *(network.submission("ENTRY_EX_OFFICIO", record) for record in bad),
        network.submission("UNSPECIFIED", unknown),
    ]
    async with network.channel(CS, SYSTEM) as channel:
        stub = IntakeServiceStub(channel)
        for submission in submissions:
            request = SubmitChangeRequest(submission=submission)
            await canaries.attempt(stub.SubmitChange(request, timeout=5, metadata=_traced()), request)
        requests = [SubmitChangesRequest(submission=each, traceparent=_traced()[0][1]) for each in submissions[-9:]]
        await canaries.attempt(stub.SubmitChanges(iter(requests), timeout=5), *requests)
        raw = channel.unary_unary("/jukinet.intake.v1.IntakeService/SubmitChange")
        serialised = requests[0].SerializeToString()
        large = serialised * (1024 * 1024 // len(serialised) + 1)
        for body in (serialised[:-3], b"\xff\xff" + serialised, large, large * 2):
            await canaries.attempt(raw(body, timeout=5))
    async with network.channel(CS, Identity("municipal-system", OKUTAMA)) as channel:
        request = SubmitChangeRequest(submission=entry)
        await canaries.attempt(IntakeServiceStub(channel).SubmitChange(request, timeout=5), request)
    await plant_a_move(canaries, network)
    await plant_a_parked_change(canaries, network)
    await network.arrived(CHIYODA)
    return recoded


async def plant_a_move(canaries: Canaries, network: Network) -> None:
    """Somebody moves from Chiyoda to Okutama."""
    here = canaries.record(network)
    there = _with(here, address=canaries.record(network, OKUTAMA).address)
    version = 0
    for municipality, submission in (
        (CHIYODA, network.submission("ENTRY_EX_OFFICIO", here)),
        (CHIYODA, network.submission("DELETION_DOMESTIC_MOVE_OUT", here, next_municipality=OKUTAMA)),
        (OKUTAMA, network.submission("ENTRY_DOMESTIC_MOVE_IN", there, previous_municipality=CHIYODA)),
    ):
        if submission.previous_municipality:
            submission.transfer_version = version
        canaries.plant(submission)
        answer = await network.submit(municipality, submission)
        canaries.plant(answer)
        version = answer.version


async def plant_a_parked_change(canaries: Canaries, network: Network) -> None:
    """Chiyoda enters somebody whom Okutama holds: on its way up, the change is parked."""
    held = canaries.record(network, OKUTAMA)
    await network.submit(OKUTAMA, network.submission("ENTRY_EX_OFFICIO", held))
    await network.arrived(OKUTAMA)
    stolen = _with(held)
    stolen.address.local_government_code = CHIYODA
    submission = network.submission("ENTRY_EX_OFFICIO", stolen)
    canaries.plant(submission)
    await network.submit(CHIYODA, submission)


async def plant_questions(canaries: Canaries, network: Network, known: identity_pb2.IdentityRecord) -> None:
    """Questions that find somebody, find nobody, are refused, repeated, malformed, too large."""

    def context(**parts: Any) -> Any:
        return network.context(case_reference=canaries.word("case"), operator=canaries.word("operator"), **parts)

    by_number = inquiry.Subject(individual_number=known.individual_number)
    by_alias = inquiry.Subject(four_items=network.four_items(known))
    by_alias.four_items.name = known.name.alias
    nobody = network.four_items(canaries.record(network))
    wanted = [inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS, inquiry.IDENTITY_FIELD_BIRTH_DATE]
    wanted += [inquiry.IDENTITY_FIELD_SEX, inquiry.IDENTITY_FIELD_CHANGE, inquiry.IDENTITY_FIELD_INDIVIDUAL_NUMBER]
    found = network.question(known, context=context(), fields=wanted)
    malformed = network.question(known, context=context())
    malformed.subject.four_items.name += "\n"
    malformed.context.case_reference = canaries.word("case") + "\0"
    letters = inquiry.Subject(individual_number=canaries.word("nonumber"))
    requests = [
        found,
        found,
        network.question(known, context=context(), subject=by_number, fields=wanted),
        network.question(known, context=context(), subject=by_alias, fields=wanted),
        network.question(known, context=context(), subject=inquiry.Subject(four_items=nobody)),
        network.question(known, context=context(purpose="B1-41-3")),
        network.question(known, context=context(), fields=[inquiry.IDENTITY_FIELD_RESIDENT_CODE]),
        network.question(known, context=context(), subject=letters),
        malformed,
        inquiry.VerifyIdentityRequest(context=context(), four_items=network.four_items(known)),
        inquiry.VerifyIdentityRequest(context=context(), four_items=nobody),
    ]
    for agency in (PENSION_SERVICE, BANK, "unlisted"):
        async with network.channel(GATEWAY, Identity("agency", agency)) as channel:
            stub = InquiryServiceStub(channel)
            for request in requests:
                rpc = stub.Inquire if isinstance(request, inquiry.InquireRequest) else stub.VerifyIdentity
                await canaries.attempt(rpc(request, timeout=5, metadata=_traced()), request)
            raw = channel.unary_unary("/jukinet.inquiry.v1.InquiryService/Inquire")
            serialised = found.SerializeToString()
            await canaries.attempt(raw(serialised * (64 * 1024 // len(serialised) + 1), timeout=5))


async def plant_at_the_center(canaries: Canaries, network: Network, known: identity_pb2.IdentityRecord) -> None:
    """A gateway's questions: with a good ticket, with an altered one, about another person, without any."""
    subject = inquiry.Subject(four_items=network.four_items(known))
    request_id = network.context().request_id
    ticket = provision.Ticket(
        gateway=Identity("gateway", GATEWAY).uri,
        agency=Identity("agency", PENSION_SERVICE).uri,
        purpose="B1-77.12",
        request_id=request_id,
        kind=provision.PROVISION_KIND_RECORD,
        method=inquiry.INQUIRY_METHOD_FOUR_ITEMS,
        fields=[inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_CHANGE],
        subject_digest=subject_digest(subject, request_id),
    )
    signed = sign_ticket(ticket, load_signing_key(network.folder(GATEWAY) / "ticket.key"), now=now())
    forged = provision.SignedTicket(ticket=signed.ticket, signature=bytes(64))
    about_another = inquiry.Subject(individual_number=known.individual_number)
    async with network.channel(CENTER, Identity("gateway", GATEWAY)) as channel:
        for request in (
            provision.ProvideRequest(ticket=forged, subject=subject),
            provision.ProvideRequest(ticket=signed, subject=about_another),
            provision.ProvideRequest(subject=subject),
            provision.ProvideRequest(ticket=signed, subject=subject),
            provision.ProvideRequest(ticket=signed, subject=subject),
        ):
            call = ProvisionServiceStub(channel).Provide(request, timeout=5, metadata=_traced())
            await canaries.attempt(call, request)


async def plant_on_a_link(canaries: Canaries, network: Network) -> None:
    """A municipality whose seals do not verify sends canaries upwards, and bytes that are no segment."""
    change = change_pb2.Change(
        reason=change_pb2.CHANGE_REASON_CORRECTION_RESIDENT_CODE_REQUEST,
        event_date=identity_pb2.CalendarDate(year=2026, month=1, day=2),
        record=canaries.record(network, SHINJUKU),
        version=1,
        previous_resident_code=network.code(),
        previous_individual_number=network.number(),
    )
    segment = link.Segment(
        municipality=SHINJUKU, epoch=1, first_sequence=1, changes=[change.SerializeToString()]
    ).SerializeToString()
    hello = link.Hello(epoch=1, last_sequence=1, last_chain=bytes(32), first_kept=1, version_min=1, version_max=1)
    for body in (segment, segment[:-1], canaries.word("nosegment").encode()):
        sealed = link.SealedSegment(segment=body, seal=bytes(64))
        batch = link.Batch(epoch=1, first_sequence=1, segments=[sealed])
        requests = [link.StreamRequest(hello=hello), link.StreamRequest(batch=batch)]
        async with network.channel(PREFECTURE, Identity("municipality", SHINJUKU)) as channel:
            await canaries.attempt(LinkServiceStub(channel).Stream(iter(requests), timeout=5), *requests)
    for body in (change.SerializeToString(), canaries.word("nochange").encode()):
        chunk = snapshot.Chunk(first_sequence=1, changes=[snapshot.ChunkChange(epoch=1, change=body)])
        put = snapshot.PutChunkRequest(epoch=1, municipality=SHINJUKU, chunk=chunk)
        async with network.channel(PREFECTURE, Identity("municipality", SHINJUKU)) as channel:
            await canaries.attempt(SnapshotServiceStub(channel).PutChunk(put, timeout=5), put)


async def plant_on_the_command_line(canaries: Canaries, network: Network, folder: Path) -> None:
    """A clerk's file, half of it wrong, and an agency's question."""
    submissions = [network.submission("ENTRY_EX_OFFICIO", canaries.record(network)) for _ in range(2)]
    lines = [values_of(each) for each in submissions]
    lines[1]["birth_date"] = canaries.word("nodate")
    rows = [list(lines[0]), *(list(each.values()) for each in lines), [canaries.word("nofields")]]
    file = folder / "changes.csv"
    file.write_text("".join(",".join(row) + "\r\n" for row in rows), "utf-8")
    for submission in submissions:
        canaries.plant(submission)
    await _run(canaries, "submit", str(file), "--mesh", str(network.mesh.root), "--municipality", CHIYODA)
    await _run(canaries, "admin", "parked", "--mesh", str(network.mesh.root), "--node", PREFECTURE)
    await _run(canaries, "admin", "release", CHIYODA, "--mesh", str(network.mesh.root), "--node", PREFECTURE)
    for node in network.mesh.names:
        canaries.told.append(str(await network.status(node)).encode())
        async with network.channel(node) as channel:
            async for parked in AdminServiceStub(channel).ListParked(ListParkedRequest(), timeout=5):
                canaries.told.append(str(parked).encode())
    canaries.told += [entry.SerializeToString() for entry in await network.ledger()]


async def plant_in_a_comparison(canaries: Canaries, network: Network) -> None:
    """An operator compares a municipality's rows: the one answer to an operator in which codes stand."""
    async with network.channel(CS) as channel:
        compare = ConsistencyServiceStub(channel)
        places = await compare.ListPlaces(consistency.ListPlacesRequest(), timeout=5)
        at = next(place for place in places.places if place.municipality == CHIYODA)
        everything = consistency.ListRowsRequest(key=bytes(32), at=at, buckets=range(4096))
        await canaries.attempt(compare.ListRows(everything, timeout=10, metadata=_traced()), everything)
        early = consistency.Place(municipality=CHIYODA, epoch=at.epoch, sequence=at.sequence + 1_000)
        await canaries.attempt(
            compare.ListRows(consistency.ListRowsRequest(key=bytes(32), at=early, buckets=[0]), timeout=10), at
        )


async def _run(canaries: Canaries, *arguments: str) -> None:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jukinet.cli", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, told = await program.communicate()
    assert out or told
    canaries.told += [out, told]


async def plant(canaries: Canaries, network: Network, collector: Collector, folder: Path) -> None:
    known = await plant_changes(canaries, network)
    await plant_questions(canaries, network, known)
    await plant_at_the_center(canaries, network, known)
    await plant_on_a_link(canaries, network)
    await plant_on_the_command_line(canaries, network, folder)
    await plant_in_a_comparison(canaries, network)
    # Each process sends its spans in the order of their ends: when these are here, all earlier ones are.
    traced = _traced()
    record = network.person(CHIYODA)
    await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", record), metadata=traced)
    await network.inquire(network.question(record), metadata=traced)
    last = [(role, "link.receive") for role in ("prefecture", "center")]
    await collector.wait_for(
        traced[0][1].split("-")[1], *last, ("municipality", "register.apply"), ("gateway", "ledger.append")
    )
    # What travelled between the nodes, out of their registers.
    for node in (CS, PREFECTURE, CENTER):
        for row in network.rows(node, "residents"):
            canaries.plant(identity_pb2.Resident.FromString(row["resident"]), needles=False)
        for row in network.rows(node, "outbox"):
            canaries.plant(link.SealedSegment(segment=row["segment"]), needles=False)


@pytest.fixture(scope="module")
def canaries(network: Network, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Canaries:
    """All canaries, planted."""
    planted = Canaries()
    asyncio.run(plant(planted, network, collector, tmp_path_factory.mktemp("clerk")))
    return planted


# ---- searching ------------------------------------------------------------------------------------------------------


def test_every_personal_field_of_the_contract_was_planted(canaries: Canaries) -> None:
    assert sorted(canaries.fields) == personal_fields()


def test_the_ways_that_fail_were_gone(canaries: Canaries) -> None:
    assert canaries.refusals >= {
        *("INVALID_MESSAGE", "MESSAGE_TOO_LARGE", "CALLER_NOT_ALLOWED", "MESSAGE_ID_REUSED", "PREVIOUS_VALUE"),
        *("RESIDENT_EXISTS", "RESIDENT_UNKNOWN", "RESIDENT_CODE_RETIRED", "RESIDENT_CODE_CHECK_DIGIT", "BIRTH_DATE"),
        *("PRIVATE_SECTOR_BANNED", "AGENCY_UNKNOWN", "PURPOSE_NOT_GRANTED", "FIELD_NOT_ALLOWED", "REQUEST_ID_REUSED"),
        *("TICKET_INVALID", "LINK_SEAL", "RESOURCE_EXHAUSTED"),
    }


def test_the_search_finds_what_is_there(canaries: Canaries, network: Network) -> None:
    """In the registers, of course; and in whatever coat."""
    registers = [path.read_bytes() for path in network.mesh.root.rglob("register.db*")]
    found = canaries.leaks(registers)
    assert {"legal", "furigana", "alias", "town", "block", "building"} <= {
        re.sub(rf"{MARK}|\d+$", "", each) for each in found if each.startswith(MARK)
    }
    needle = next(iter(found)).encode()
    for coat in (needle.upper(), needle.hex().encode(), base64.b64encode(b"x" + needle + b"yz")):
        assert canaries.leaks([b"..." + coat + b"..."])
    assert canaries.leaks([hashlib.sha256(needle).digest()])
    assert not canaries.leaks([b"x" * 100])


def test_no_log_tells_of_a_person(canaries: Canaries, network: Network) -> None:
    logs = [network.log(node).encode() for node in network.mesh.names]
    assert b"question refused" in b"".join(logs)
    assert not canaries.leaks(logs)
    assert not _mentions(logs)


def test_no_span_tells_of_a_person(canaries: Canaries, collector: Collector) -> None:
    assert not canaries.leaks(collector.exports)
    assert not _mentions(collector.exports)


def test_no_metric_tells_of_a_person_or_an_agency(canaries: Canaries, network: Network) -> None:
    metrics = [network.metrics_of(node).encode() for node in network.mesh.names]
    assert b"jukinet_changes_refused" in metrics[network.mesh.names.index(CS)]
    assert not canaries.leaks(metrics)
    assert not _mentions(metrics)
    assert b"agency/" not in b"".join(metrics)


def test_no_refusal_and_nothing_that_an_operator_sees_tells_of_a_person(canaries: Canaries) -> None:
    assert not canaries.leaks(canaries.told)
    assert not _mentions(canaries.told)


def test_no_file_but_a_register_holds_a_person(canaries: Canaries, network: Network) -> None:
    files = [path for path in network.mesh.root.rglob("*") if path.is_file()]
    others = [path for path in files if not REGISTER_FILES.fullmatch(path.name)]
    assert {"ledger.db", "log.jsonl", "node.toml", "agencies.toml"} <= {path.name for path in others}
    assert {path.parent.name for path in set(files) - set(others)} == set(network.mesh.names) - {GATEWAY}
    leaking = [str(path) for path in others if canaries.leaks([path.read_bytes()])]
    assert not leaking


def test_no_name_of_a_file_or_process_tells_of_a_person(canaries: Canaries, network: Network) -> None:
    names = [str(path).encode() for path in network.mesh.root.rglob("*")]
    for node in network.mesh.names:
        process = Path(f"/proc/{network.nodes.pid(node)}")
        if process.exists():
            names += [(process / "cmdline").read_bytes(), (process / "environ").read_bytes()]
            names += [os.readlink(each).encode() for each in (process / "fd").iterdir()]
    assert not canaries.leaks(names)


def _mentions(places: Iterable[bytes]) -> set[bytes]:
    return {form for form in UNSEARCHABLE for place in places if form in place.lower()}


# ---- what nobody foresaw --------------------------------------------------------------------------------------------

# Runs before the node, as site customisation: whoever names a way in the message id gets an exception on that way, and
# the whole submission in its text.
BREAKING = """
import asyncio, threading
import cs_node.intake as intake, cs_node.service as service
from jukinet.store import grouping

def fail(where, submission):
    if submission.message_id.startswith(where):
        raise ValueError(f"{submission} {submission.record.name.legal} {submission.resident_code}")

def wrap(owner, name, where, find):
    real = getattr(owner, name)
    def wrapped(*arguments, **named):
        for submission in find(*arguments):
            fail(where, submission)
        return real(*arguments, **named)
    setattr(owner, name, wrapped)

async def task(submission):
    fail("task", submission)

def beside(handler, request, context):
    submission = request.submission
    asyncio.get_running_loop().create_task(task(submission))
    threading.Thread(target=fail, args=("thread", submission)).start()
    return [submission]

wrap(intake, "accept", "writer", lambda connection, items, *_: [item.submission for item in items])
wrap(service.IntakeService, "SubmitChange", "handler", beside)
wrap(service, "_attributes", "attributes", lambda submission: [submission])
wrap(grouping, "_settle", "part", lambda group, results: [item.submission for (item, _future) in group])
"""


@pytest.fixture
def breaking(
    new_network: Callable[..., Network], collector: Collector, tmp_path: Path
) -> Iterator[tuple[Network, Canaries]]:
    """A CS that breaks on request, and whose database refuses one name in words that hold it."""
    canaries = Canaries()
    network = new_network(tmp_path, [CHIYODA], environ={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint})
    (tmp_path / "sitecustomize.py").write_text(BREAKING)
    engine = open_writer(network.mesh.config(CS).database)
    ensure_schema(engine, REGISTER)
    with engine.begin() as connection:
        refuse = f"SELECT RAISE(ABORT, 'the name {MARK}constraint and more')"
        when = "BEFORE INSERT ON residents WHEN NEW.name_key LIKE '%constraint%'"
        connection.execute(text(f"CREATE TRIGGER refuse {when} BEGIN {refuse}; END"))
    engine.dispose()
    canaries.needles.add(f"{MARK}constraint")
    try:
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        network.start(CS, environ={"PYTHONPATH": path.removesuffix(os.pathsep)})
        yield network, canaries
    finally:
        network.stop()


async def test_an_exception_that_nobody_foresaw_tells_nothing_anywhere(
    breaking: tuple[Network, Canaries], collector: Collector
) -> None:
    network, canaries = breaking
    for where, refusal in (
        ("handler", "UNSPECIFIED"),
        ("attributes", "UNSPECIFIED"),
        ("writer", "UNSPECIFIED"),
        ("task", None),
        ("thread", None),
        ("constraint", "DEPENDENCY_UNAVAILABLE"),
        ("part", None),
    ):
        record = canaries.record(network)
        if where == "constraint":
            record.name.legal = f"{MARK}constraint"
        submission = network.submission("ENTRY_EX_OFFICIO", record, message_id=f"{where}-1")
        request = SubmitChangeRequest(submission=submission)
        async with network.channel(CS, SYSTEM) as channel:
            canaries.refusals.clear()
            call = IntakeServiceStub(channel).SubmitChange(request, timeout=5, metadata=_traced())
            await canaries.attempt(call, request)
        if where != "part":
            assert canaries.refusals == ({refusal} if refusal else set()), where
            assert network.nodes.is_running(CS)
    # The loss of a part ends the process, in one sentence.
    assert await network.nodes.wait_ended(CS) == 1
    log = network.log(CS)
    assert log.splitlines()[-1] == "The node does not run: a part of the node failed (ValueError)"
    for told in ("a thread fails", "nobody waited for what failed in a task", "call failed: ValueError at "):
        assert told in log
    assert not canaries.leaks([log.encode(), *canaries.told, *collector.exports])
    assert not _mentions([log.encode(), *canaries.told])


def _copy(submission: Submission) -> Submission:
    copy = Submission()
    copy.CopyFrom(submission)
    return copy


def _with(record: identity_pb2.IdentityRecord, **parts: Any) -> identity_pb2.IdentityRecord:
    copy = identity_pb2.IdentityRecord()
    copy.CopyFrom(record)
    copy.MergeFrom(identity_pb2.IdentityRecord(**parts))
    return copy


def _other_digit(code: str) -> str:
    return code[:-1] + str((int(code[-1]) + 1) % 10)


def _traced() -> list[tuple[str, str]]:
    return [("traceparent", f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01")]
