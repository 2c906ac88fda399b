"""`jukinet inquire` and `jukinet verify-identity`: an agency's client (照会, 本人確認)."""

import asyncio
import base64
import json
import uuid
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from jukinet.cli.connect import CALL_SECONDS, Target, TlsOptions, by_files, channel_to, in_mesh, traced
from jukinet.cli.layout import Mesh
from jukinet.cli.options import Certificate, Key, MeshDirectory, NodesCa, Server, To
from jukinet.cli.output import JSON_HELP, Exit, Failure, fail_call, failures_told, require_new_file, show_json, tell
from jukinet.cli.source_check import FreshnessKey, SourceCheck, now_us

if TYPE_CHECKING:
    from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import (
        IdentityField,
        InquireResponse,
        InquiryContext,
        Subject,
        VerifyIdentityResponse,
    )
    from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceAsyncStub
    from jukinet.cli.operator_key import Signing

    _Answer = TypeVar("_Answer", InquireResponse, VerifyIdentityResponse)
    _Call = Callable[[InquiryServiceAsyncStub], Awaitable[_Answer]]


class Field(StrEnum):
    """Items of the identity record (本人確認情報) that can be asked for."""

    NAME = "name"
    BIRTH_DATE = "birth-date"
    SEX = "sex"
    ADDRESS = "address"
    INDIVIDUAL_NUMBER = "individual-number"
    RESIDENT_CODE = "resident-code"
    CHANGE = "change"


Purpose = Annotated[str, typer.Option(metavar="ROW", help="Row, and item, of the statute table: B1-77 or B1-77.12.")]
Case = Annotated[str, typer.Option(metavar="TEXT", help="Your own reference of the case (事案); no name of a person.")]
Operator = Annotated[str, typer.Option(metavar="ID", help="Your own id of the operator (操作者) who asks.")]
SubjectFile = Annotated[
    Path | None,
    typer.Option(
        "--subject",
        metavar="FILE",
        help="JSON with the four items or the individual number; - = standard input. Not on the command line, because "
        "every user of this machine can read that in the list of processes.",
    ),
]
NumberFile = Annotated[
    Path | None,
    typer.Option("--individual-number", metavar="FILE", help="Text file with it (個人番号); - = standard input."),
]
Fields = Annotated[
    list[Field],
    typer.Option(
        "--field",
        metavar="ITEM",
        help=f"Wanted item; repeat for more, but no more than the affair needs: {', '.join(Field)}.",
    ),
]
OperatorKey = Annotated[
    Path | None,
    typer.Option(
        "--operator-key",
        metavar="FILE",
        help="The operator's own key (Ed25519, PEM), by which he signs; with --mesh the one made there.",
    ),
]
MaxAge = Annotated[
    int,
    typer.Option(
        "--max-age",
        metavar="SECONDS",
        min=0,
        max=2**32 - 1,
        help="How old what is answered may be; 0 = as old as it is. Nothing is provided where more may be missing.",
    ),
]
RequestId = Annotated[str | None, typer.Option(metavar="UUID", help="Id of the question; a new one by default.")]
ReceiptFile = Annotated[
    Path | None, typer.Option("--receipt", metavar="FILE", help="Keep the proof that the answer is in the ledger.")
]
AgencyId = Annotated[
    str | None, typer.Option("--agency", metavar="ID", help="With --mesh: as whom, as pension-service.")
]
Gateway = Annotated[str | None, typer.Option("--gateway", metavar="NAME", help="With --mesh: the first by default.")]
ForWatch = Annotated[
    bool, typer.Option("--for-watch", help="Ask for handles too, with which `watch begin` puts persons on a list.")
]
HeldFile = Annotated[
    Path | None,
    typer.Option(
        "--held",
        metavar="FILE",
        help="Earlier answer to the same question, kept with --json: where nothing changed, that is said (変更なし) "
        "and no item is provided again.",
    ),
]
HeldAnswers = Annotated[
    Path | None,
    typer.Option(
        "--held",
        metavar="FILE",
        help="Answers of an earlier batch or file job for this row and these items: of persons who did not change that "
        "is said (変更なし), and no item is provided again.",
    ),
]
SealUntil = Annotated[
    str,
    typer.Option(
        "--seal-until",
        metavar="DATE",
        help="Show the person that this was asked only from this day on, the first of a month, such as 2027-04-01. For "
        "purposes alone that the edition of the statute table lets seal (封印).",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


def inquire(
    purpose: Purpose,
    case: Case,
    operator: Operator,
    field: Fields,
    subject: SubjectFile = None,
    individual_number: NumberFile = None,
    mesh: MeshDirectory = None,
    agency: AgencyId = None,
    gateway: Gateway = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    operator_key: OperatorKey = None,
    max_age: MaxAge = 0,
    request_id: RequestId = None,
    receipt: ReceiptFile = None,
    for_watch: ForWatch = False,
    held: HeldFile = None,
    seal_until: SealUntil = "",
    freshness_key: FreshnessKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask for items of the identity record (本人確認情報) of the one person who matches (照会).

    Prints the answer, the rule that allows it, how fresh its source is and where it stands in the ledger. No match and
    more than one look the same; "not provided" says that it cannot be known, since what a municipality reported may not
    all be at the center. Every question is put on record, a refused one too.

    Exit codes: 0 answered (with a match or without), 1 an answer that contradicts itself or is not as fresh as it has
    to be by the center's word, 2 the question is malformed, 3 no answer, or to be logged on again, 4 not allowed by
    law.

    Example: jukinet inquire --mesh mesh --agency pension-service --purpose B1-77 --case 2026-0042 --operator op-7
    --field address --subject person.json --receipt receipt.json
    """
    with failures_told():
        target = target_of(mesh, agency, gateway, TlsOptions(to, server, certificate, key, nodes_ca))
        from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
        from jukinet.cli import answer
        from jukinet.cli.answer_check import require_agreement
        from jukinet.ledger.verify.freshness import demand_of

        request = inquiry_pb2.InquireRequest(
            context=context_of(purpose, case, operator, max_age, request_id),
            subject=_subject(subject, individual_number),
            fields=numbers_of(field),
            for_watch=for_watch,
            held=_held_in(held) if held else b"",
            sealed_until=seal_until,
        )
        signer_of(target, mesh, agency, operator, operator_key)(request)
        check, asked_us = SourceCheck(mesh, freshness_key), now_us()
        found = _ask(target, receipt, lambda stub: stub.Inquire(request, timeout=CALL_SECONDS))
        require_agreement(found)
        demand = demand_of(request.subject, found.outcome, maximum_age_seconds=max_age)
        check.require(found.freshness, demand, asked_us=asked_us)
        if as_json:
            show_json(answer.inquiry_as_json(found))
        else:
            answer.show_inquiry(found)


def _held_in(file: Path) -> bytes:
    """The mark in an earlier answer. Raises Failure."""
    try:
        return base64.b64decode(json.loads(file.read_text(encoding="utf-8"))["held"], validate=True)
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}.", Exit.USAGE) from None
    except (ValueError, TypeError, LookupError):
        raise Failure(f"{file} is not an answer with a match. Keep one with --json.", Exit.USAGE) from None


def verify_identity(
    purpose: Purpose,
    case: Case,
    operator: Operator,
    subject: SubjectFile = None,
    mesh: MeshDirectory = None,
    agency: AgencyId = None,
    gateway: Gateway = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    operator_key: OperatorKey = None,
    max_age: MaxAge = 0,
    request_id: RequestId = None,
    receipt: ReceiptFile = None,
    seal_until: SealUntil = "",
    freshness_key: FreshnessKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask whether exactly one person is as stated by the four items (４情報): yes or no, and no record (本人確認).

    Exit codes: 0 answered (yes or no), 1 not as fresh as it has to be by the center's word, 2 the question is
    malformed, 3 no answer, 4 not allowed by law.

    Example: jukinet verify-identity --mesh mesh --agency pension-service --purpose B1-77 --case 2026-0042
    --operator op-7 --subject person.json
    """
    with failures_told():
        target = target_of(mesh, agency, gateway, TlsOptions(to, server, certificate, key, nodes_ca))
        from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import VerifyIdentityRequest
        from jukinet.cli import answer
        from jukinet.cli.answer_check import require_agreement
        from jukinet.ledger.verify.freshness import demand_of

        person = _subject(subject, None)
        if not person.HasField("four_items"):
            raise Failure("An identity is verified by the four items; an individual number is not enough.", Exit.USAGE)
        context = context_of(purpose, case, operator, max_age, request_id)
        request = VerifyIdentityRequest(context=context, four_items=person.four_items, sealed_until=seal_until)
        signer_of(target, mesh, agency, operator, operator_key)(request)
        check, asked_us = SourceCheck(mesh, freshness_key), now_us()
        found = _ask(target, receipt, lambda stub: stub.VerifyIdentity(request, timeout=CALL_SECONDS))
        require_agreement(found)
        demand = demand_of(person, found.outcome, maximum_age_seconds=max_age)
        check.require(found.freshness, demand, asked_us=asked_us)
        if as_json:
            show_json(answer.verification_as_json(found))
        else:
            answer.show_verification(found)


def numbers_of(fields: list[Field]) -> "list[IdentityField.ValueType]":
    """The items of the contract that are wanted, each once."""
    from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import IdentityField

    names = (f"IDENTITY_FIELD_{field.value.upper().replace('-', '_')}" for field in dict.fromkeys(fields))
    return [IdentityField.Value(name) for name in names]


def target_of(mesh: Path | None, agency: str | None, gateway: str | None, options: TlsOptions) -> Target:
    """The gateway to ask, and as whom: of a mesh, or by address and files.

    Raises:
        Failure: the options do not say which, or who asks.
    """
    if mesh is None:
        return by_files(options)
    found = Mesh.open(mesh)
    return in_mesh(found, gateway or found.gateways[0], found.agency(agency or ""))


def signer_of(target: Target, mesh: Path | None, agency: str | None, operator: str, key: Path | None) -> "Signing":
    """What puts the operator's proof into a question; he logs on with this call, by giving his key.

    Raises:
        Failure: his key or the agency's certificate cannot be read.
    """
    from jukinet.cli.operator_key import Signing

    return Signing.of(target.tls.certificate, key or operator_key_in(mesh, agency, operator))


def operator_key_in(mesh: Path | None, agency: str | None, operator: str) -> Path:
    """The file of an operator's key in a mesh.

    Raises:
        Failure: there is no mesh to look in, or no such agency.
    """
    if mesh is None:
        raise Failure("Without --mesh say --operator-key FILE: each question is signed by its operator.", Exit.USAGE)
    found = Mesh.open(mesh)
    asking = found.agency(agency or "")
    key = found.operator_key(asking, operator)
    if not key.exists():
        known = ", ".join(sorted(path.stem for path in key.parent.glob("*.key")))
        raise Failure(f"This mesh has no key of that operator of {asking}. It has: {known}.", Exit.USAGE)
    return key


def context_of(purpose: str, case: str, operator: str, max_age: int, request_id: str | None) -> "InquiryContext":
    """The affair of a question, under this id or a new one."""
    from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import InquiryContext

    return InquiryContext(
        request_id=request_id or str(uuid.uuid4()),
        purpose=purpose,
        case_reference=case,
        operator=operator,
        maximum_age_seconds=max_age,
    )


def _subject(subject: Path | None, individual_number: Path | None) -> "Subject":
    from jukinet.cli.subject import read_individual_number, read_subject

    if subject is not None and individual_number is None:
        return read_subject(subject)
    if individual_number is not None and subject is None:
        return read_individual_number(individual_number)
    raise Failure("Say who is asked about, once: --subject FILE or --individual-number FILE.", Exit.USAGE)


def _ask(target: Target, receipt: Path | None, call: "_Call[_Answer]") -> "_Answer":
    """Puts a question, and keeps the receipt of its answer.

    Raises:
        Failure: no answer, a refusal, or no place for the receipt.
    """
    # Looked at first: a question that was answered is on record, whether its receipt could be kept or not.
    if receipt is not None:
        require_new_file(receipt)
    answer = asyncio.run(_call(target, call))
    if receipt is not None:
        from google.protobuf import json_format

        receipt.write_text(json_format.MessageToJson(answer.receipt) + "\n", encoding="utf-8")
        tell(f"The receipt is in {receipt}.")
    return answer


async def _call(target: Target, call: "_Call[_Answer]") -> "_Answer":
    import grpc

    from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub

    with traced("agency") as interceptors:
        async with channel_to(target, interceptors) as channel:
            try:
                return await call(InquiryServiceStub(channel))
            except grpc.aio.AioRpcError as error:
                fail_call(error, target.address)
