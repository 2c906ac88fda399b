"""`jukinet watch`: an agency's lists of persons whose later changes (異動情報) it is told."""

import asyncio
import base64
import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jukinet.cli.admin import moment_in
from jukinet.cli.connect import CALL_SECONDS, Target, TlsOptions, channel_to, traced
from jukinet.cli.inquire import (
    AgencyId,
    Case,
    Fields,
    Gateway,
    Operator,
    OperatorKey,
    Purpose,
    context_of,
    numbers_of,
    signer_of,
    target_of,
)
from jukinet.cli.options import Certificate, Key, MeshDirectory, NodesCa, Server, To
from jukinet.cli.output import JSON_HELP, Exit, Failure, fail_call, failures_told, show, show_json, tell
from jukinet.cli.source_check import FreshnessKey, SourceCheck

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from jukinet._pb.jukinet.watch.v1.watch_pb2 import WatchChangesResponse

FORMAT: Final = "jukinet-watch-changes/1"
TOGETHER: Final = 64
"""Handles in one call; the contract allows no more."""

app = typer.Typer(no_args_is_help=True, help="Be told of later changes (異動情報) of persons whom a case is about.")

ListId = Annotated[str, typer.Option("--list", metavar="UUID", help="Id of the list, your own choice.")]
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


@app.command()
def begin(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Answers with handles, JSON lines: of `inquire --for-watch --json` or `inquire-batch --for-watch`.",
        ),
    ],
    expires: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day, in Japan; within 366 days.")],
    purpose: Purpose,
    case: Case,
    operator: Operator,
    field: Fields,
    list_id: Annotated[
        str | None, typer.Option("--list", metavar="UUID", help="A list that is there; a new one by default.")
    ] = None,
    mesh: MeshDirectory = None,
    agency: AgencyId = None,
    gateway: Gateway = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    operator_key: OperatorKey = None,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Go on though matches have no handle; those persons are not watched.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put persons on a list, by the handles of earlier answers for the same row.

    Prints the list and, in the order of the file, each person's number on it. The id of a new list is told on standard
    error before anybody is put on it. Running it again with that --list changes no number.

    Exit codes: 0 they are on the list, 2 a file or the request is malformed or a match has no handle, 3 no answer,
    4 not allowed by law.

    Example: jukinet watch begin answers.jsonl --expires 2027-03-31 --mesh mesh --agency pension-service
    --purpose B1-77 --case 2026-0042 --operator op-7 --field address --field change
    """
    with failures_told():
        target = target_of(mesh, agency, gateway, TlsOptions(to, server, certificate, key, nodes_ca))
        signing = signer_of(target, mesh, agency, operator, operator_key)
        from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
        from jukinet._pb.jukinet.watch.v1 import watch_pb2

        chosen, handles = list_id or str(uuid.uuid4()), _handles(file, leave_out)
        if list_id is None:
            # Before the first call: should a later one fail, the persons before it are on a list that can be named.
            tell(f"The new list is {chosen}; to go on after a failure, run this again with --list {chosen}")
        numbers: list[int] = []
        while together := [*islice(handles, TOGETHER)]:
            last = CalendarDate(year=expires.year, month=expires.month, day=expires.day)
            request = watch_pb2.WatchRequest(
                context=context_of(purpose, case, operator, 0, None),
                order=watch_pb2.WatchOrder(list_id=chosen, handles=together, expires_on=last),
                fields=numbers_of(field),
            )
            numbers += _call(target, "Watch", signing(request)).numbers
        if as_json:
            show_json({"list_id": chosen, "numbers": numbers})
        else:
            show(f"list {chosen}: {len(numbers)} persons, numbers {' '.join(map(str, numbers))}")


@app.command()
def changes(
    list_id: ListId,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Changes, a JSON line each; the same list goes on there.")
    ],
    purpose: Purpose,
    case: Case,
    operator: Operator,
    mesh: MeshDirectory = None,
    agency: AgencyId = None,
    gateway: Gateway = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    operator_key: OperatorKey = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more, until --seconds are over.")] = False,
    seconds: Annotated[float, typer.Option(metavar="N", help="How long this may take.")] = 3600.0,
    freshness_key: FreshnessKey = None,
    go_on: Annotated[
        bool, typer.Option("--go-on", help="In a new file, go on where the list stands: behind what was on disk.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take the changes of a list into a file, each once: what is on disk is said to be, and not told again.

    Interrupt it at any time: the same command goes on behind the last line. A new file begins with the list; where what
    was told before stands in another file, or is lost, --go-on takes what follows it.

    In a line, `line` is the change's position, `number` the person's number on the list and `freshness` what the center
    says of the municipality that reported it. At the end stands up to when the center holds all that any municipality
    reported, so that nothing is missing.

    Exit codes: 0 all that there was is in the file, 1 how fresh it is was not said by the center, 2 a file is not what
    it should be or the list is not there, 3 no answer, 4 not allowed by law.

    Example: jukinet watch changes --list 5f7d1c1e-0000-4000-8000-000000000001 --out changes.jsonl --mesh mesh
    --agency pension-service --purpose B1-77 --case 2026-0042 --operator op-7
    """
    with failures_told():
        target = target_of(mesh, agency, gateway, TlsOptions(to, server, certificate, key, nodes_ca))
        signing = signer_of(target, mesh, agency, operator, operator_key)
        check = SourceCheck(mesh, freshness_key)
        from jukinet._pb.jukinet.watch.v1.watch_pb2 import WatchChangesRequest, WatchPlace
        from jukinet._pb.jukinet.watch.v1.watch_pb2_grpc import WatchServiceStub
        from jukinet.cli.batch_answers import BatchAnswers
        from jukinet.cli.taking import Taking

        def request(on_disk: Mapping[str, Any]) -> WatchChangesRequest:
            place = WatchPlace(list_id=list_id, after=on_disk.get("line", None if go_on else 0))
            return signing(WatchChangesRequest(context=context_of(purpose, case, operator, 0, None), place=place))

        instead = "Name another file, with --go-on if an earlier version began this one; keep both."
        with BatchAnswers(out, {"list_id": list_id, "purpose": purpose}, kind=FORMAT, instead=instead) as kept:
            taking = Taking(
                kept,
                request,
                lambda channel: WatchServiceStub(channel).WatchChanges,
                "changes",
                follow,
                require=partial(_require_said, check),
            )
            new = asyncio.run(taking.take(target, seconds))
            until = None if taking.last is None else moment_in(taking.last.freshness, "complete_as_of")
            result = {"changes": new, "position": kept.last_line, "complete_as_of": until}
        if as_json:
            show_json(result)
        else:
            show(f"{result['changes']} changes are new in {out}, up to position {result['position']}")
            show(f"Complete up to {until}." if until else "Up to when this is complete is not known now. Ask again.")


@app.command()
def end(
    list_id: ListId,
    purpose: Purpose,
    case: Case,
    operator: Operator,
    mesh: MeshDirectory = None,
    agency: AgencyId = None,
    gateway: Gateway = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    operator_key: OperatorKey = None,
) -> None:
    """End a list, because its case ended: nothing of it is told any more.

    Exit codes: 0 ended, 2 the list is not there, 3 no answer, 4 not allowed by law.

    Example: jukinet watch end --list 5f7d1c1e-0000-4000-8000-000000000001 --mesh mesh --agency pension-service
    --purpose B1-77 --case 2026-0042 --operator op-7
    """
    with failures_told():
        target = target_of(mesh, agency, gateway, TlsOptions(to, server, certificate, key, nodes_ca))
        signing = signer_of(target, mesh, agency, operator, operator_key)
        from jukinet._pb.jukinet.watch.v1.watch_pb2 import EndWatchRequest

        request = EndWatchRequest(context=context_of(purpose, case, operator, 0, None), list_id=list_id)
        _call(target, "EndWatch", signing(request))
        show(f"list {list_id} ended")


def _require_said(check: SourceCheck, told: "WatchChangesResponse", asked_us: int) -> None:
    """Raises Failure unless the center said how fresh what is told is, and up to when nothing is missing."""
    from jukinet.ledger.verify.freshness import Demand

    for each in told.changes:
        check.require([each.freshness], Demand(None), asked_us=asked_us)
    if told.HasField("freshness"):  # of all municipalities together
        check.require([told.freshness], Demand(""), asked_us=asked_us)


def _handles(file: Path, leave_out: bool) -> Iterator[bytes]:
    """The handles in a file of answers. Raises Failure, for a match without one too unless such may be left out."""
    found, without = [], 0
    try:
        text = file.read_text(encoding="utf-8")
        for each in [json.loads(text)] if text.lstrip().startswith("{\n") else map(json.loads, text.splitlines()):
            if "handle" in each:
                found.append(base64.b64decode(each["handle"], validate=True))
            elif each.get("outcome") == "INQUIRY_OUTCOME_MATCH":
                without += 1
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}.", Exit.USAGE) from None
    except (ValueError, TypeError, AttributeError):
        raise Failure(f"{file} is not a file of answers.", Exit.USAGE) from None
    if not found:
        raise Failure(f"{file} has no handle. Ask with --for-watch.", Exit.USAGE)
    if without:
        text = f"{without} of {without + len(found)} matches in {file} have no handle"
        if not leave_out:
            ways = "Ask about those persons again with --for-watch, or say --leave-out to go on without them."
            raise Failure(f"{text}; nobody was put on a list. {ways}", Exit.USAGE)
        tell(f"{text} and are left out.")
    return iter(found)


def _call(target: Target, rpc: str, request: "Message") -> Any:
    return asyncio.run(_asked(target, rpc, request))


async def _asked(target: Target, rpc: str, request: "Message") -> Any:
    import grpc

    from jukinet._pb.jukinet.watch.v1.watch_pb2_grpc import WatchServiceStub

    with traced("agency") as interceptors:
        async with channel_to(target, interceptors) as channel:
            try:
                return await getattr(WatchServiceStub(channel), rpc)(request, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                fail_call(error, target.address, otherwise=Exit.USAGE)
