"""Canaries in every personal field of the contract, on ways that succeed and on ways that fail."""

import asyncio
import sys
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from jukinet._pb.jukinet.admin.v1 import freeze_pb2 as freeze
from jukinet._pb.jukinet.admin.v1.admin_pb2 import ListParkedRequest
from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceStub
from jukinet._pb.jukinet.admin.v1.freeze_pb2_grpc import FreezeServiceStub
from jukinet._pb.jukinet.body.v1 import body_pb2
from jukinet._pb.jukinet.body.v1.body_pb2_grpc import BodyKeyServiceStub, BodyServiceStub
from jukinet._pb.jukinet.consistency.v1 import consistency_pb2 as consistency
from jukinet._pb.jukinet.consistency.v1.consistency_pb2_grpc import ConsistencyServiceStub
from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import DisclosureServiceStub
from jukinet._pb.jukinet.disclosure.v1.record_pb2 import GetRecordRequest
from jukinet._pb.jukinet.disclosure.v1.record_pb2_grpc import RecordServiceStub
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeRequest, SubmitChangesRequest
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry
from jukinet._pb.jukinet.link.v1 import link_pb2 as link
from jukinet._pb.jukinet.link.v1 import snapshot_pb2 as snapshot
from jukinet._pb.jukinet.link.v1.link_pb2_grpc import LinkServiceStub
from jukinet._pb.jukinet.link.v1.snapshot_pb2_grpc import SnapshotServiceStub
from jukinet._pb.jukinet.provision.v1 import correction_pb2 as correction
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.provision.v1.correction_pb2_grpc import CorrectionServiceStub
from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ChangeProvisionServiceStub, ProvisionServiceStub
from jukinet._pb.jukinet.recall.v1 import recall_pb2 as recall
from jukinet._pb.jukinet.recall.v1.recall_pb2_grpc import RecallServiceStub
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet._pb.jukinet.watch.v1 import watch_pb2 as watch
from jukinet._pb.jukinet.watch.v1.watch_pb2_grpc import WatchServiceStub
from jukinet.cli.development_agencies import BANK, PENSION_SERVICE
from jukinet.cli.layout import OPERATOR, SECOND_OPERATOR
from jukinet.ledger.body import unseal
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_signing_key
from jukinet.purpose.identity_check import sign_check
from jukinet.purpose.ticket import sign_tickets, subject_digest, subject_digests
from tests.change_columns import values_of
from tests.journeys.canaries import CHIYODA, MARK, Canaries, traced

Network = Any  # the fixtures' own classes live in conftest.py
Collector = Any
OKUTAMA, SHINJUKU = "133086", "131041"
CS, PREFECTURE, CENTER, GATEWAY = "municipality-131016", "prefecture-130001", "center", "gateway-1"
SYSTEM = Identity("municipal-system", CHIYODA)
DISCLOSURE = "disclosure"


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
    victim = network.submission("ENTRY_EX_OFFICIO", canaries.record(network), protected=True)
    submissions = [
        entry,
        entry,
        victim,
        network.submission("PROTECTION_BEGIN", victim.record),
        network.submission("PROTECTION_END", victim.record),
        network.submission("PROTECTION_BEGIN", victim.record),
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
            await canaries.attempt(stub.SubmitChange(request, timeout=5, metadata=traced()), request)
        requests = [SubmitChangesRequest(submission=each, traceparent=traced()[0][1]) for each in submissions[-9:]]
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
    """Somebody who is protected moves from Chiyoda to Okutama."""
    here = canaries.record(network)
    there = _with(here, address=canaries.record(network, OKUTAMA).address)
    version = 0
    for municipality, submission in (
        (CHIYODA, network.submission("ENTRY_EX_OFFICIO", here, protected=True)),
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
        return network.context(**{"case_reference": canaries.word("case"), **parts})

    def by_canary() -> Any:
        """Nobody whom the directory lists: he is refused, and nowhere named."""
        return context(operator=canaries.word("operator"))

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
        network.question(known, context=by_canary()),
        network.question(known, context=context(), fields=[inquiry.IDENTITY_FIELD_RESIDENT_CODE]),
        network.question(known, context=context(), subject=letters),
        network.question(known, context=context(), sealed_until="2099-01-01"),
        malformed,
        inquiry.VerifyIdentityRequest(context=context(), four_items=network.four_items(known)),
        inquiry.VerifyIdentityRequest(context=context(), four_items=nobody),
        inquiry.VerifyIdentityRequest(context=by_canary(), four_items=nobody),
        network.signed(network.question(known, context=context())),
    ]
    for agency in (PENSION_SERVICE, BANK, "unlisted"):
        async with network.channel(GATEWAY, Identity("agency", agency)) as channel:
            stub = InquiryServiceStub(channel)
            for request in requests:
                rpc = stub.Inquire if isinstance(request, inquiry.InquireRequest) else stub.VerifyIdentity
                await canaries.attempt(rpc(request, timeout=5, metadata=traced()), request)
            people = [found.subject, by_number, inquiry.Subject(four_items=nobody)]
            batch = inquiry.InquireBatchRequest(context=context(), subjects=people, fields=wanted, job=bytes(32))
            broken = inquiry.InquireBatchRequest(context=context(), subjects=[*people, letters], fields=wanted)
            for messages in ([batch], [broken]):
                await canaries.attempt(stub.InquireBatch(iter(messages), timeout=5, metadata=traced()), *messages)
            raw = channel.unary_unary("/jukinet.inquiry.v1.InquiryService/Inquire")
            serialised = found.SerializeToString()
            await canaries.attempt(raw(serialised * (64 * 1024 // len(serialised) + 1), timeout=5))


async def plant_in_a_release(canaries: Canaries, network: Network) -> None:
    """An operator of the network releases somebody who is not frozen."""
    agency = Identity("agency", PENSION_SERVICE).uri
    request = freeze.ReleaseOperatorRequest(agency=agency, operator=canaries.word("operator"))
    async with network.channel(GATEWAY) as channel:
        await canaries.attempt(FreezeServiceStub(channel).ReleaseOperator(request, timeout=5), request)


async def plant_at_the_center(canaries: Canaries, network: Network, known: identity_pb2.IdentityRecord) -> None:
    """A gateway's questions: with a good ticket, with an altered one, about another person, without any."""
    subject = inquiry.Subject(four_items=network.four_items(known))
    request_id = network.context().request_id
    ticket = provision.Ticket(
        agency=Identity("agency", PENSION_SERVICE).uri,
        purpose="B1-77.12",
        request_id=request_id,
        kind=provision.PROVISION_KIND_RECORD,
        method=inquiry.INQUIRY_METHOD_FOUR_ITEMS,
        fields=[inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_CHANGE],
        subject_digest=subject_digest(subject, request_id),
        edition="2019-01",
    )
    gateway = Identity("gateway", GATEWAY)
    key = load_signing_key(network.folder(GATEWAY) / "ticket.key")
    signed = sign_tickets([ticket], key, gateway=gateway.uri, now=now())
    batch = provision.Ticket(
        agency=ticket.agency,
        purpose=ticket.purpose,
        request_id=network.context().request_id,
        kind=provision.PROVISION_KIND_BATCH,
        fields=ticket.fields,
        subject_digests=subject_digests([subject], request_id),
        edition=ticket.edition,
    )
    of_batch = sign_tickets([batch], key, gateway=gateway.uri, now=now())
    forged = provision.SignedTickets(tickets=signed.tickets, signature=bytes(64))
    question = provision.Question(subject=subject, traceparent=traced()[0][1])
    # The law of this network lets nothing be sealed, so that no answer holds one.
    canaries.plant(provision.Provision(sealed_token=uuid.uuid4().bytes * 2, crowd_key=uuid.uuid4().bytes * 2))
    about_another = provision.Question(subject=inquiry.Subject(individual_number=known.individual_number))
    async with network.channel(CENTER, gateway) as channel:
        for request in (
            provision.ProvideRequest(tickets=forged, questions=[question]),
            provision.ProvideRequest(tickets=signed, questions=[about_another]),
            provision.ProvideRequest(questions=[question]),
            provision.ProvideRequest(tickets=of_batch, questions=[question]),
            provision.ProvideRequest(tickets=signed, questions=[question]),
            provision.ProvideRequest(tickets=signed, questions=[question]),
        ):
            call = ProvisionServiceStub(channel).Provide(request, timeout=5, metadata=traced())
            await canaries.attempt(call, request)


async def plant_a_disclosure(canaries: Canaries, network: Network, known: identity_pb2.IdentityRecord) -> None:
    """A counter has a resident told, with a good check, a forged one, another's, a second time."""
    key = load_signing_key(network.mesh.root / "clients" / f"counter-{CHIYODA}" / "check.key")
    counter = Identity("counter", CHIYODA)
    day = today_in_japan()
    today = identity_pb2.CalendarDate(year=day.year, month=day.month, day=day.day)
    # So long a period has an opening day of sealed entries in it.
    first = day - timedelta(days=40)
    before = identity_pb2.CalendarDate(year=first.year, month=first.month, day=first.day)
    wanted = len(await network.ledger())

    async def mirrored() -> bool:
        return bool((await network.status(DISCLOSURE)).mirrors[0].entries >= wanted)

    await network.until(mirrored)

    def request(**parts: Any) -> disclosure.FindUsageRequest:
        check = _check(network, known, key, disclosure.AFFAIR_FIND_USAGE)
        return disclosure.FindUsageRequest(**{"check": check, "first_day": before, "last_day": today, **parts})

    forged = request()
    forged.check.signature = bytes(64)
    for caller in (counter, Identity("counter", "portal"), SYSTEM):
        async with network.channel(DISCLOSURE, caller) as channel:
            stub = DisclosureServiceStub(channel)
            for each in (forged, request(), request(), request(last_day=None)):
                await canaries.attempt(stub.FindUsage(each, timeout=10, metadata=traced()), each)
    await plant_an_own_record(canaries, network, known, lambda affair: _check(network, known, key, affair))


async def plant_an_own_record(
    canaries: Canaries,
    network: Network,
    known: identity_pb2.IdentityRecord,
    check: Callable[[Any], disclosure.SignedIdentityCheck],
) -> None:
    """A resident is shown the own record and has it corrected; then the center is asked without the node."""
    async with network.channel(DISCLOSURE, Identity("counter", CHIYODA)) as channel:
        stub = DisclosureServiceStub(channel)
        asked = disclosure.RequestRecordRequest(check=check(disclosure.AFFAIR_REQUEST_RECORD))
        taken = await canaries.attempt(stub.RequestRecord(asked, timeout=10, metadata=traced()), asked)
        number = taken.request.request_id
        for word in (check(disclosure.AFFAIR_FIND_USAGE), check(disclosure.AFFAIR_ANSWER_REQUEST)):
            answer = disclosure.AnswerRequestRequest(check=word, request_id=number)
            await canaries.attempt(stub.AnswerRequest(answer, timeout=10, metadata=traced()), answer)
        wrong = disclosure.RequestCorrectionRequest(
            check=check(disclosure.AFFAIR_REQUEST_CORRECTION), disclosed_by=number, document="7-1"
        )
        await canaries.attempt(stub.RequestCorrection(wrong, timeout=10, metadata=traced()), wrong)
        await canaries.attempt(stub.ListRequests(disclosure.ListRequestsRequest(), timeout=10))
    async with network.channel(CENTER, Identity("disclosure")) as channel:
        for word in (check(disclosure.AFFAIR_FIND_USAGE), check(disclosure.AFFAIR_ANSWER_REQUEST)):
            get = GetRecordRequest(check=word)
            await canaries.attempt(RecordServiceStub(channel).GetRecord(get, timeout=10, metadata=traced()), get)


def _check(network: Network, known: identity_pb2.IdentityRecord, key: Any, affair: Any) -> Any:
    check = disclosure.IdentityCheck(
        id=network.context().request_id,
        counter=Identity("counter", CHIYODA).uri,
        clerk=f"{MARK}clerk",
        resident_code=known.resident_code,
        proof=disclosure.IDENTITY_PROOF_PHOTO_DOCUMENT,
        affair=affair,
    )
    check.checked_at.FromDatetime(now())
    return sign_check(check, key)


async def plant_bodies(canaries: Canaries, network: Network, known: identity_pb2.IdentityRecord) -> None:
    """Two operators open what a question asked in full, and destroy the keys about a person."""
    index = max(i for i, entry in enumerate(await network.ledger()) if entry.body_digest and entry.fields)
    async with network.channel(GATEWAY) as channel:
        taken = await canaries.attempt(
            BodyServiceStub(channel).TakeBody(body_pb2.TakeBodyRequest(index=index), timeout=5, metadata=traced())
        )
    entry, place = Entry.FromString(taken.entry), body_pb2.SealedBody.FromString(taken.sealed).place
    opening = body_pb2.OpenBodyRequest(agency=entry.agency, request_id=entry.request_id, place=place)
    destroying = body_pb2.DestroyKeyRequest(resident_code=known.resident_code)
    malformed = body_pb2.DestroyKeyRequest(resident_code=known.resident_code[:-1])
    for name in (OPERATOR, SECOND_OPERATOR):
        async with network.channel(CENTER, Identity("operator", name)) as channel:
            stub = BodyKeyServiceStub(channel)
            opened = await canaries.attempt(stub.OpenBody(opening, timeout=5, metadata=traced()), opening)
            await canaries.attempt(stub.DestroyKey(destroying, timeout=5, metadata=traced()), destroying)
            await canaries.attempt(stub.DestroyKey(malformed, timeout=5), malformed)
            if opened.key:
                canaries.plant(unseal(taken.sealed, opened.key, entry.agency, entry.request_id))


async def plant_a_watch(canaries: Canaries, network: Network) -> None:
    """An agency watches somebody who moves, by the gateway; and the gateway asks the center for the same itself."""
    person = canaries.record(network)
    await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", person))
    await network.arrived(CHIYODA)
    last = today_in_japan()
    day = identity_pb2.CalendarDate(year=last.year, month=last.month, day=last.day)
    order = watch.WatchOrder(list_id=str(uuid.uuid4()), handles=[b"x"], expires_on=day)
    wanted = [inquiry.IDENTITY_FIELD_ADDRESS, inquiry.IDENTITY_FIELD_CHANGE]
    async with network.channel(GATEWAY, Identity("agency", PENSION_SERVICE)) as channel:
        stub, inquire = WatchServiceStub(channel), InquiryServiceStub(channel)
        forged = watch.WatchRequest(context=network.context(), order=order, fields=wanted)
        await canaries.attempt(stub.Watch(forged, timeout=5, metadata=traced()), forged)
        subject = inquiry.Subject(four_items=network.four_items(person))
        found = network.question(person, context=network.context(), fields=wanted, for_watch=True)
        answer = await canaries.attempt(inquire.Inquire(found, timeout=5), found)
        order.handles[0] = answer.handle
        again = network.question(person, context=network.context(), fields=wanted, held=answer.held)
        await canaries.attempt(inquire.Inquire(again, timeout=5), again)
        for held in ((), (answer.held,)):
            batch = inquiry.InquireBatchRequest(
                context=network.context(), subjects=[subject], fields=wanted, for_watch=True, held=held
            )
            await canaries.attempt(inquire.InquireBatch(iter([batch]), timeout=5), batch)
        question = provision.Question(subject=subject, held=answer.held)
        begun = watch.WatchRequest(context=network.context(), order=order, fields=wanted)
        await canaries.attempt(stub.Watch(begun, timeout=5, metadata=traced()), begun)
        await plant_an_order_at_the_center(canaries, network, order, question)
        moved = _with(person)
        moved.address.block = canaries.word("block")
        await network.submit(CHIYODA, network.submission("CORRECTION_MOVE_WITHIN", moved))
        await network.arrived(CHIYODA)
        for _ in range(2):  # the center looks for changes twice a second, and waits for five
            asked = watch.WatchChangesRequest(context=network.context(), place=watch.WatchPlace(list_id=order.list_id))
            await canaries.attempt(stub.WatchChanges(iter([asked]), timeout=15), asked)
        await plant_an_order_at_the_center(canaries, network, order, question)
        ended = watch.EndWatchRequest(context=network.context(), list_id=order.list_id)
        for _ in range(2):
            await canaries.attempt(stub.EndWatch(ended, timeout=5), ended)
    await plant_a_recall(canaries, network, moved)


async def plant_a_recall(canaries: Canaries, network: Network, person: identity_pb2.IdentityRecord) -> None:
    """Somebody whom an agency asked about was recorded wrongly; it hears so, and the gateway asks the center itself."""
    question = network.question(person, context=network.context(), fields=[inquiry.IDENTITY_FIELD_ADDRESS])
    mended = _with(person)
    mended.address.block = canaries.word("block")
    async with network.channel(GATEWAY, Identity("agency", PENSION_SERVICE)) as channel:
        await canaries.attempt(InquiryServiceStub(channel).Inquire(question, timeout=5), question)
        mending = network.submission("CORRECTION_EX_OFFICIO", mended, was_wrong=True)
        canaries.plant(mending)
        await network.submit(CHIYODA, mending)
        await network.arrived(CHIYODA)
        for _ in range(3):  # the gateway follows the center's corrections
            asked = recall.TellRecallsRequest(context=network.context())
            await canaries.attempt(RecallServiceStub(channel).TellRecalls(iter([asked]), timeout=15), asked)
    async with network.channel(CENTER, Identity("gateway", GATEWAY)) as channel:
        listing = correction.ListCorrectionsRequest()
        call = CorrectionServiceStub(channel).ListCorrections(listing, timeout=15, metadata=traced())
        await canaries.attempt(call, listing)


async def plant_an_order_at_the_center(
    canaries: Canaries, network: Network, order: watch.WatchOrder, question: provision.Question
) -> None:
    """What the gateway asks for when an agency watches, and a message of a batch; each once more, which is refused."""
    gateway, purpose = Identity("gateway", GATEWAY), "B1-77.12"
    key = load_signing_key(network.folder(GATEWAY) / "ticket.key")
    agency = Identity("agency", PENSION_SERVICE).uri
    canaries.plant(
        provision.HandleContent(resident_code=network.code(), agency=agency, method=1, purpose=purpose)  # type: ignore[arg-type]  # number of an enum
    )

    def ticket(about: Any, **parts: Any) -> provision.SignedTickets:
        request_id = network.context().request_id
        kind = provision.PROVISION_KIND_CHANGES
        common = {"agency": agency, "purpose": purpose, "request_id": request_id, "kind": kind, "edition": "2019-01"}
        digests: dict[str, Any] = {"subject_digest": subject_digest(about, request_id)}
        if "kind" in parts:
            digests = {"subject_digests": subject_digests([about], request_id)}
        made = provision.Ticket(**{**common, **digests, **parts})
        return sign_tickets([made], key, gateway=gateway.uri, now=now())

    place, fields = watch.WatchPlace(list_id=order.list_id), [inquiry.IDENTITY_FIELD_ADDRESS, 7]
    batch = ticket(question.subject, kind=provision.PROVISION_KIND_BATCH, fields=fields, for_watch=True)
    kept = provision.KeepWatchRequest(ticket=ticket(order, fields=fields), order=order)
    provide = provision.ProvideRequest(tickets=batch, questions=[question])
    tell = provision.TellChangesRequest(ticket=ticket(place), place=place)
    async with network.channel(CENTER, gateway) as channel:
        changes = ChangeProvisionServiceStub(channel)
        for call, request in (
            (ProvisionServiceStub(channel).Provide, provide),
            (changes.KeepWatch, kept),
            (changes.TellChanges, tell),
        ) * 2:
            await canaries.attempt(call(request, timeout=15, metadata=traced()), request)


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
    # By mistake, for an edition of the law.
    decide = ("--to", CENTER, "--to", GATEWAY)
    await _run(canaries, "statutes", "propose", str(file), "--mesh", str(network.mesh.root), *decide)
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
        await canaries.attempt(compare.ListRows(everything, timeout=10, metadata=traced()), everything)
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
    await plant_in_a_release(canaries, network)
    await plant_at_the_center(canaries, network, known)
    await plant_a_watch(canaries, network)
    await plant_a_disclosure(canaries, network, known)
    await plant_bodies(canaries, network, known)
    await plant_on_a_link(canaries, network)
    await plant_on_the_command_line(canaries, network, folder)
    await plant_in_a_comparison(canaries, network)
    # Each process sends its spans in the order of their ends: when these are here, all earlier ones are.
    context = traced()
    record = network.person(CHIYODA)
    await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", record), metadata=context)
    await network.inquire(network.question(record), metadata=context)
    last = [(role, "link.receive") for role in ("prefecture", "center")]
    await collector.wait_for(
        context[0][1].split("-")[1], *last, ("municipality", "register.apply"), ("gateway", "ledger.append")
    )
    # What travelled between the nodes, out of their registers.
    for node in (CS, PREFECTURE, CENTER):
        for row in network.rows(node, "residents"):
            canaries.plant(identity_pb2.Resident.FromString(row["resident"]), needles=False)
        for row in network.rows(node, "outbox"):
            canaries.plant(link.SealedSegment(segment=row["segment"]), needles=False)


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
