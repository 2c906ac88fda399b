"""Canaries in what agencies are told later: changes of who is on their lists (異動情報), and recalls (旧値の回収)."""

import uuid
from typing import Any

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet._pb.jukinet.provision.v1 import correction_pb2 as correction
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.provision.v1.correction_pb2_grpc import CorrectionServiceStub
from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ChangeProvisionServiceStub, ProvisionServiceStub
from jukinet._pb.jukinet.recall.v1 import recall_pb2 as recall
from jukinet._pb.jukinet.recall.v1.recall_pb2_grpc import RecallServiceStub
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet._pb.jukinet.watch.v1 import watch_pb2 as watch
from jukinet._pb.jukinet.watch.v1.watch_pb2_grpc import WatchServiceStub
from jukinet.cli.development_agencies import PENSION_SERVICE
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_signing_key
from jukinet.purpose.ticket import sign_tickets, subject_digest, subject_digests
from tests.journeys.canaries import CENTER, CHIYODA, GATEWAY, Canaries, altered, traced

Network = Any  # the fixtures' own class lives in conftest.py


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
        moved = altered(person)
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
    mended = altered(person)
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
        provision.HandleContent(resident_code=network.code(), agency=agency, method=1, purpose=purpose, version=1)  # type: ignore[arg-type]  # number of an enum
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
