"""`jukinet disclosure …`: residents' requests for their own record and its correction, step by step, as a counter."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jukinet.cli.connect import CALL_SECONDS, TlsOptions
from jukinet.cli.counter import id_of, open_counter
from jukinet.cli.disclosure import CheckKey, Clerk, CounterName, Proof, Resident
from jukinet.cli.options import Certificate, Key, MeshDirectory, NodesCa, Server, To
from jukinet.cli.output import JSON_HELP, Exit, Failure, failures_told, show, show_json
from jukinet.cli.request_rows import row_of, show_request, show_rows, value_of

if TYPE_CHECKING:
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import RequestStatus
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import DisclosureServiceAsyncStub

Number = Annotated[str, typer.Argument(metavar="NUMBER", help="Number of the request, as it was printed when taken.")]
Document = Annotated[str, typer.Option("--document", metavar="NUMBER", help="Number of the letter (文書番号).")]
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


def request(
    resident: Resident,
    clerk: Clerk,
    proof: Proof,
    counter: CounterName = None,
    mesh: MeshDirectory = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    check_key: CheckKey = None,
    as_json: AsJson = False,
) -> None:
    """Take a resident's request to see the own record (開示請求); it is to be answered within 30 days.

    Example: jukinet disclosure request code.txt --clerk 7 --proof photo-document --mesh mesh --counter 131016
    """
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import AFFAIR_REQUEST_RECORD, RequestRecordRequest

    with failures_told():
        found = open_counter(mesh, counter, TlsOptions(to, server, certificate, key, nodes_ca), check_key)
        check = found.check(resident, affair=AFFAIR_REQUEST_RECORD, clerk=clerk, proof=proof)
        asked = RequestRecordRequest(check=check)
        told = found.call(lambda stub: stub.RequestRecord(asked, timeout=CALL_SECONDS), under=id_of(check))
        show_request(told.request, as_json=as_json)


def extend(
    number: Number,
    due: Annotated[str, typer.Option("--due", metavar="DAY", help="New last day, such as 2026-12-27.")],
    reason: Annotated[str, typer.Option("--reason", help="investigation, many-requests or disaster.")],
    document: Document,
    counter: CounterName = None,
    mesh: MeshDirectory = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    check_key: CheckKey = None,
    as_json: AsJson = False,
) -> None:
    """Note that the term of a request was extended (延長), which a letter with the reason told the resident.

    Example: jukinet disclosure extend 00000000-0000-4000-8000-000000000001 --due 2027-01-20 --reason investigation
    --document 7-1 --mesh mesh --counter 131016
    """
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import ExtendRequestRequest, ExtensionReason

    with failures_told():
        found = open_counter(mesh, counter, TlsOptions(to, server, certificate, key, nodes_ca), check_key)
        why = value_of(ExtensionReason, reason, "--reason")
        asked = ExtendRequestRequest(request_id=number, due_on=due, reason=why, document=document)
        told = found.call(lambda stub: stub.ExtendRequest(asked, timeout=CALL_SECONDS))
        show_request(told.request, as_json=as_json)


def answer(
    number: Number,
    resident: Resident,
    clerk: Clerk,
    proof: Proof,
    counter: CounterName = None,
    mesh: MeshDirectory = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    check_key: CheckKey = None,
    as_json: AsJson = False,
) -> None:
    """Disclose the own record to a resident (開示), or that none is stored. Prints it, and keeps it nowhere.

    Example: jukinet disclosure answer 00000000-0000-4000-8000-000000000001 code.txt --clerk 7 --proof photo-document
    --mesh mesh --counter 131016
    """
    from google.protobuf import json_format

    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import AFFAIR_ANSWER_REQUEST, AnswerRequestRequest

    with failures_told():
        found = open_counter(mesh, counter, TlsOptions(to, server, certificate, key, nodes_ca), check_key)
        check = found.check(resident, affair=AFFAIR_ANSWER_REQUEST, clerk=clerk, proof=proof)
        asked = AnswerRequestRequest(check=check, request_id=number)
        told = found.call(lambda stub: stub.AnswerRequest(asked, timeout=CALL_SECONDS), under=number)
        stored = json_format.MessageToDict(
            told.stored, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        if as_json:
            show_json({"request": row_of(told.request), "stored": stored})
            return
        if told.stored.is_stored:
            show(json_format.MessageToJson(told.stored, ensure_ascii=False, preserving_proto_field_name=True))
        else:
            show("保有していません。 No record of this resident code is stored.")
        show_request(told.request, as_json=False)


def correct(
    number: Number,
    resident: Resident,
    clerk: Clerk,
    proof: Proof,
    document: Document,
    counter: CounterName = None,
    mesh: MeshDirectory = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    check_key: CheckKey = None,
    as_json: AsJson = False,
) -> None:
    """Take a resident's request to correct what request NUMBER disclosed (訂正等の申出), which a letter describes.

    Example: jukinet disclosure correct 00000000-0000-4000-8000-000000000001 code.txt --clerk 7 --proof photo-document
    --document 7-2 --mesh mesh --counter 131016
    """
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import AFFAIR_REQUEST_CORRECTION, RequestCorrectionRequest

    with failures_told():
        found = open_counter(mesh, counter, TlsOptions(to, server, certificate, key, nodes_ca), check_key)
        check = found.check(resident, affair=AFFAIR_REQUEST_CORRECTION, clerk=clerk, proof=proof)
        asked = RequestCorrectionRequest(check=check, disclosed_by=number, document=document)
        told = found.call(lambda stub: stub.RequestCorrection(asked, timeout=CALL_SECONDS), under=id_of(check))
        show_request(told.request, as_json=as_json)


def investigate(
    number: Number,
    counter: CounterName = None,
    mesh: MeshDirectory = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    check_key: CheckKey = None,
    as_json: AsJson = False,
) -> None:
    """Note that what a correction asks for is being investigated (調査).

    Example: jukinet disclosure investigate 00000000-0000-4000-8000-000000000002 --mesh mesh --counter 131016
    """
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import InvestigateCorrectionRequest

    with failures_told():
        found = open_counter(mesh, counter, TlsOptions(to, server, certificate, key, nodes_ca), check_key)
        asked = InvestigateCorrectionRequest(request_id=number)
        told = found.call(lambda stub: stub.InvestigateCorrection(asked, timeout=CALL_SECONDS))
        show_request(told.request, as_json=as_json)


def answer_correction(
    number: Number,
    outcome: Annotated[str, typer.Option("--outcome", help="corrected, not-corrected or corrected-in-part.")],
    document: Document,
    counter: CounterName = None,
    mesh: MeshDirectory = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    check_key: CheckKey = None,
    as_json: AsJson = False,
) -> None:
    """Note that a correction was answered in writing (回答).

    Example: jukinet disclosure answer-correction 00000000-0000-4000-8000-000000000002 --outcome corrected
    --document 7-3 --mesh mesh --counter 131016
    """
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import AnswerCorrectionRequest, CorrectionOutcome

    with failures_told():
        found = open_counter(mesh, counter, TlsOptions(to, server, certificate, key, nodes_ca), check_key)
        what = value_of(CorrectionOutcome, outcome, "--outcome")
        asked = AnswerCorrectionRequest(request_id=number, outcome=what, document=document)
        told = found.call(lambda stub: stub.AnswerCorrection(asked, timeout=CALL_SECONDS))
        show_request(told.request, as_json=as_json)


def close(
    number: Number,
    reason: Annotated[str, typer.Option("--reason", help="withdrawn, answered-by-letter, deceased or not-answerable.")],
    document: Annotated[
        str, typer.Option("--document", metavar="NUMBER", help="Number of the letter or file (文書番号) that shows it.")
    ] = "",
    resident: Annotated[
        Path | None, typer.Option("--resident", metavar="FILE", help="Who withdraws it here: as of `request`.")
    ] = None,
    clerk: Annotated[str, typer.Option("--clerk", metavar="ID", help="With --resident: as of `request`.")] = "",
    proof: Annotated[str, typer.Option("--proof", metavar="HOW", help="With --resident: as of `request`.")] = "",
    counter: CounterName = None,
    mesh: MeshDirectory = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    check_key: CheckKey = None,
    as_json: AsJson = False,
) -> None:
    """End a request or correction without an answer through the node (終了): withdrawn (取下げ), answered on paper, …

    A resident who withdraws it at the counter is checked (--resident, --clerk, --proof); for all else, a letter of his
    too, the number of what shows it is kept.

    Example: jukinet disclosure close 00000000-0000-4000-8000-000000000001 --reason answered-by-letter --document 7-4
    --mesh mesh --counter 131016
    """
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import (
        AFFAIR_WITHDRAW_REQUEST,
        CLOSE_REASON_WITHDRAWN,
        CloseReason,
        CloseRequestRequest,
    )

    with failures_told():
        found = open_counter(mesh, counter, TlsOptions(to, server, certificate, key, nodes_ca), check_key)
        why = value_of(CloseReason, reason, "--reason")
        asked = CloseRequestRequest(request_id=number, reason=why, document=document)
        if resident is None:
            if not document:
                raise Failure("Say --document NUMBER, or --resident FILE of who withdraws it here.", Exit.USAGE)
            told = found.call(lambda stub: stub.CloseRequest(asked, timeout=CALL_SECONDS))
        else:
            if why != CLOSE_REASON_WITHDRAWN or not clerk:
                raise Failure("--resident is for --reason withdrawn alone, with --clerk and --proof.", Exit.USAGE)
            check = found.check(resident, affair=AFFAIR_WITHDRAW_REQUEST, clerk=clerk, proof=proof)
            asked.check.CopyFrom(check)
            told = found.call(lambda stub: stub.CloseRequest(asked, timeout=CALL_SECONDS), under=number)
        show_request(told.request, as_json=as_json)


def requests(
    overdue: Annotated[bool, typer.Option("--overdue", help="Only those whose term has passed.")] = False,
    counter: CounterName = None,
    mesh: MeshDirectory = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    check_key: CheckKey = None,
    as_json: AsJson = False,
) -> None:
    """List the counter's requests, oldest first, without the residents.

    Example: jukinet disclosure requests --overdue --mesh mesh --counter 131016 --json
    """
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import ListRequestsRequest

    async def collect(stub: "DisclosureServiceAsyncStub") -> "list[RequestStatus]":
        asked = ListRequestsRequest(overdue_only=overdue)
        return [each.request async for each in stub.ListRequests(asked, timeout=CALL_SECONDS)]

    with failures_told():
        found = open_counter(mesh, counter, TlsOptions(to, server, certificate, key, nodes_ca), check_key)
        rows = [row_of(each) for each in found.call(collect)]
        if as_json:
            show_json({"requests": rows})
        else:
            show_rows(rows)
