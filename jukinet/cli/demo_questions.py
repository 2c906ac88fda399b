"""The agencies' questions of the demo: lawful ones, one beyond the asker's purpose, one by a bank."""

import uuid
from dataclasses import dataclass, field
from typing import Any

import grpc

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Receipt
from jukinet._pb.jukinet.register.v1.identity_pb2 import Address, BirthDate, Sex
from jukinet.cli.connect import in_mesh
from jukinet.cli.development_agencies import BANK, OPERATORS, PENSION_SERVICE
from jukinet.cli.layout import Mesh
from jukinet.cli.operator_key import Signing
from jukinet.mesh import tracing
from jukinet.mesh.client import open_channel
from jukinet.mesh.errors import facts_of, name_of, reason_of
from nation import TrueResident

LAWFUL = "B1-77.12"
"""Row 77 of table 1, item 12: the Japan Pension Service's own affair."""
OUTSIDE = "B1-41"
"""A row of table 1 that is another agency's."""

_SECONDS = 10.0
_FIELDS = (
    inquiry.IDENTITY_FIELD_NAME,
    inquiry.IDENTITY_FIELD_BIRTH_DATE,
    inquiry.IDENTITY_FIELD_SEX,
    inquiry.IDENTITY_FIELD_ADDRESS,
)


@dataclass(slots=True)
class Questions:
    """What was asked and answered."""

    answered: inquiry.InquireResponse | None = None
    by_number: inquiry.InquireResponse | None = None
    confirmed: inquiry.VerifyIdentityResponse | None = None
    denied: inquiry.VerifyIdentityResponse | None = None
    outside: "errors.ErrorReason.ValueType | None" = None
    bank: "errors.ErrorReason.ValueType | None" = None
    receipts: list[Receipt] = field(default_factory=list)
    asked: int = 0


def four_items(person: TrueResident) -> inquiry.FourItems:
    """Name, birth date, sex and address of a person of the synthetic nation."""
    record = person.record
    year, month, day = (int(part) for part in record["birth_date"].split("-"))
    return inquiry.FourItems(
        name=record["name"],
        birth_date=BirthDate(year=year, month=month, day=day),
        sex=Sex.Value(f"SEX_{record['sex'].upper()}"),
        address=Address(
            local_government_code=record["local_government_code"],
            town=record["town"],
            block=record.get("block", ""),
            building=record.get("building", ""),
        ),
    )


async def ask_all(mesh: Mesh, person: TrueResident) -> Questions:
    """Puts the demo's six questions to the gateway."""
    asked = Questions()
    items = four_items(person)
    pension, bank = _channel(mesh, PENSION_SERVICE), _channel(mesh, BANK)
    signed, by_bank = _signing(mesh, PENSION_SERVICE), _signing(mesh, BANK)
    async with pension, bank:
        stub = InquiryServiceStub(pension)
        subject = inquiry.Subject(four_items=items)
        asked.answered = await _kept(asked, stub.Inquire(signed(_inquire(LAWFUL, subject)), timeout=_SECONDS))
        number = inquiry.Subject(individual_number=person.record["individual_number"])
        asked.by_number = await _kept(asked, stub.Inquire(signed(_inquire(LAWFUL, number)), timeout=_SECONDS))
        verify = inquiry.VerifyIdentityRequest(context=_context(LAWFUL), four_items=items)
        asked.confirmed = await _kept(asked, stub.VerifyIdentity(signed(verify), timeout=_SECONDS))
        other = inquiry.VerifyIdentityRequest(context=_context(LAWFUL), four_items=_someone_else(items))
        asked.denied = await _kept(asked, stub.VerifyIdentity(signed(other), timeout=_SECONDS))
        asked.outside = await _refused(asked, stub.Inquire(signed(_inquire(OUTSIDE, subject)), timeout=_SECONDS))
        at_the_bank = InquiryServiceStub(bank)
        asked.bank = await _refused(asked, at_the_bank.Inquire(by_bank(_inquire(LAWFUL, subject)), timeout=_SECONDS))
    return asked


def basis_of(*answers: inquiry.InquireResponse | inquiry.VerifyIdentityResponse | None) -> str:
    """Tells the legal basis (根拠規定) of answers: article, law, and what the row is called in both languages."""
    told = [_basis(answer.legal_basis) for answer in answers if answer is not None]
    return "; ".join(dict.fromkeys(told))


def refusal_of(reason: "errors.ErrorReason.ValueType | None") -> str:
    """Tells why a question was refused, as the catalogue has it; that it was not, if there is no reason."""
    return f"{name_of(reason)}: {facts_of(reason).message}" if reason else "no refusal by the gateway"


def _basis(basis: inquiry.LegalBasis) -> str:
    return f"art. {basis.article}, {basis.law_ja}: {basis.label_en} / {basis.label_ja}"


def _channel(mesh: Mesh, agency: str) -> grpc.aio.Channel:
    target = in_mesh(mesh, mesh.gateways[0], mesh.agency(agency))
    return open_channel(target.address, target.tls, server=target.server, interceptors=tracing.client_interceptors())


def _signing(mesh: Mesh, agency: str) -> Signing:
    asking = mesh.agency(agency)
    return Signing.of(in_mesh(mesh, mesh.gateways[0], asking).tls.certificate, mesh.operator_key(asking, OPERATORS[0]))


def _inquire(purpose: str, subject: inquiry.Subject) -> inquiry.InquireRequest:
    return inquiry.InquireRequest(context=_context(purpose), subject=subject, fields=_FIELDS)


def _context(purpose: str) -> inquiry.InquiryContext:
    return inquiry.InquiryContext(
        request_id=str(uuid.uuid4()), purpose=purpose, case_reference="demo-case-1", operator=OPERATORS[0]
    )


def _someone_else(items: inquiry.FourItems) -> inquiry.FourItems:
    other = inquiry.FourItems()
    other.CopyFrom(items)
    other.birth_date.day = other.birth_date.day % 28 + 1
    return other


async def _kept(asked: Questions, call: Any) -> Any:
    asked.asked += 1
    answer = await call
    asked.receipts.append(answer.receipt)
    return answer


async def _refused(asked: Questions, call: Any) -> "errors.ErrorReason.ValueType | None":
    asked.asked += 1
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    return None
