"""`jukinet disclosure …`: residents' requests for their own record and its correction, step by step, as a counter."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from jukinet.cli.connect import CALL_SECONDS, TlsOptions, channel_to
from jukinet.cli.counter import Counter, open_counter
from jukinet.cli.disclosure import CheckKey, Clerk, CounterName, Proof, Resident
from jukinet.cli.options import Certificate, Key, MeshDirectory, NodesCa, Server, To
from jukinet.cli.output import JSON_HELP, Exit, Failure, fail_call, failures_told, show, show_json, show_table

if TYPE_CHECKING:
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import RequestStatus
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import DisclosureServiceAsyncStub

R = TypeVar("R")
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
        _show(_call(found, lambda stub: stub.RequestRecord(asked, timeout=CALL_SECONDS)).request, as_json)


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
        why = _value(ExtensionReason, reason, "--reason")
        asked = ExtendRequestRequest(request_id=number, due_on=due, reason=why, document=document)
        _show(_call(found, lambda stub: stub.ExtendRequest(asked, timeout=CALL_SECONDS)).request, as_json)


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
        told = _call(found, lambda stub: stub.AnswerRequest(asked, timeout=CALL_SECONDS))
        stored = json_format.MessageToDict(
            told.stored, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        if as_json:
            show_json({"request": _as_json(told.request), "stored": stored})
            return
        if told.stored.is_stored:
            show(json_format.MessageToJson(told.stored, ensure_ascii=False, preserving_proto_field_name=True))
        else:
            show("保有していません。 No record of this resident code is stored.")
        _show(told.request, as_json=False)


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
        _show(_call(found, lambda stub: stub.RequestCorrection(asked, timeout=CALL_SECONDS)).request, as_json)


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
        _show(_call(found, lambda stub: stub.InvestigateCorrection(asked, timeout=CALL_SECONDS)).request, as_json)


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
        what = _value(CorrectionOutcome, outcome, "--outcome")
        asked = AnswerCorrectionRequest(request_id=number, outcome=what, document=document)
        _show(_call(found, lambda stub: stub.AnswerCorrection(asked, timeout=CALL_SECONDS)).request, as_json)


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
        rows = [_as_json(each) for each in _call(found, collect)]
        if as_json:
            show_json({"requests": rows})
        else:
            show_table(_HEADERS, [_cells(row) for row in rows])


_HEADERS = ["request", "kind", "state", "received", "due", "overdue", "answered"]


def _call(counter: Counter, ask: "Callable[[DisclosureServiceAsyncStub], Any]") -> Any:
    async def call() -> Any:
        import grpc

        from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import DisclosureServiceStub

        async with channel_to(counter.target) as channel:
            try:
                return await ask(DisclosureServiceStub(channel))
            except grpc.aio.AioRpcError as error:
                fail_call(error, counter.target.address)

    return asyncio.run(call())


def _value(enum: Any, word: str, option: str) -> Any:
    """The number of an enumerator, by its last words in small letters. Raises Failure."""
    names = {name: name.lower().replace("_", "-") for name in enum.keys()[1:]}
    prefix = enum.DESCRIPTOR.values[0].name.removesuffix("UNSPECIFIED").lower().replace("_", "-")
    for name, shown in names.items():
        if shown.removeprefix(prefix) == word:
            return enum.Value(name)
    raise Failure(f"{option} is one of {', '.join(each.removeprefix(prefix) for each in names.values())}.", Exit.USAGE)


def _as_json(status: "RequestStatus") -> dict[str, Any]:
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import RequestKind, RequestState

    return {
        "request_id": status.request_id,
        "kind": RequestKind.Name(status.kind).removeprefix("REQUEST_KIND_"),
        "state": RequestState.Name(status.state).removeprefix("REQUEST_STATE_"),
        "received_on": status.received_on,
        "due_on": status.due_on,
        "overdue": status.overdue,
        "answered_on": status.answered_on or None,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        "" if cell is None else "yes" if cell is True else "" if cell is False else str(cell) for cell in row.values()
    ]


def _show(status: "RequestStatus", as_json: bool) -> None:
    row = _as_json(status)
    if as_json:
        show_json(row)
    else:
        show_table(_HEADERS, [_cells(row)])
