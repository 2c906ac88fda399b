"""Canaries in questions: what agencies ask a gateway, and a gateway the center."""

import uuid
from typing import Any

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ProvisionServiceStub
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.cli.development_agencies import BANK, PENSION_SERVICE
from jukinet.mesh.clock import now
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_signing_key
from jukinet.purpose.ticket import sign_tickets, subject_digest, subject_digests
from tests.journeys.canaries import CENTER, GATEWAY, Canaries, traced

Network = Any  # the fixtures' own class lives in conftest.py


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
        async with network.channel(GATEWAY, network.asking(agency)) as channel:
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
            await canaries.attempt(raw(serialised * (256 * 1024 // len(serialised) + 1), timeout=5))


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
        operator=canaries.word("operator"),
        terminal=uuid.uuid4().bytes,
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
        operator=ticket.operator,
        terminal=ticket.terminal,
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
