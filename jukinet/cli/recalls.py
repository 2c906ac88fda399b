"""`jukinet recalls` and `jukinet admin recalls`: answers that held what was corrected since as wrong (旧値の回収)."""

import asyncio
import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from jukinet.cli.admin import JsonOption, MeshOption, NodeOption, moment_in
from jukinet.cli.connect import CALL_SECONDS, TlsOptions, channel_to, in_mesh
from jukinet.cli.inquire import (
    AgencyId,
    Case,
    Gateway,
    Operator,
    OperatorKey,
    Purpose,
    context_of,
    signer_of,
    target_of,
)
from jukinet.cli.layout import OPERATOR, Mesh
from jukinet.cli.options import Certificate, Key, MeshDirectory, NodesCa, Server, To
from jukinet.cli.output import JSON_HELP, Exit, Failure, fail_call, failures_told, show, show_json, show_table

FORMAT: Final = "jukinet-recalls/1"
_HEADERS: Final = ["agency", "purpose", "recalls", "since"]


def recalls(
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="Recalls, a JSON line each; the same purpose goes on there."),
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
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Learn which answers for a purpose held what was corrected since as wrong, and acknowledge it.

    A line says which question is concerned (`request_id`), when it was answered, which items were wrong and since when
    that is known; what holds now is asked for anew. What is in the file is acknowledged and not told again. Interrupt
    it at any time: the same command goes on behind the last line. Recalls are those of one gateway: a file for each,
    whose first line names the purpose, the agency and the gateway. With a file of another nothing is acknowledged.
    Of what was corrected later than it says (`as_of`), recalls may be missing: take them again.

    Exit codes: 0 all that there was is in the file, 2 the file is not what it should be or of another gateway,
    3 no answer, 4 not allowed by law.

    Example: jukinet recalls --out recalls.jsonl --mesh mesh --agency pension-service --purpose B1-77.12
    --case 2026-0042 --operator op-7
    """
    with failures_told():
        target = target_of(mesh, agency, gateway, TlsOptions(to, server, certificate, key, nodes_ca))
        signing = signer_of(target, mesh, agency, operator, operator_key)
        from jukinet._pb.jukinet.recall.v1.recall_pb2 import TellRecallsRequest
        from jukinet._pb.jukinet.recall.v1.recall_pb2_grpc import RecallServiceStub
        from jukinet.cli.batch_answers import BatchAnswers
        from jukinet.cli.taking import Taking

        def request(on_disk: Mapping[str, Any]) -> TellRecallsRequest:
            context = context_of(purpose, case, operator, 0, None)
            return signing(TellRecallsRequest(context=context, acknowledged=_place(out, on_disk)))

        whose = {"purpose": purpose, "agency": signing.agency, "gateway": target.server.uri}
        with BatchAnswers(out, whose, kind=FORMAT) as kept:
            _place(out, kept.last)  # before anything is asked
            taking = Taking(kept, request, lambda channel: RecallServiceStub(channel).TellRecalls, "recalls", follow)
            new = asyncio.run(taking.take(target, seconds))
            as_of = None if taking.last is None else moment_in(taking.last, "as_of")
            result = {"recalls": new, "position": kept.last_line, "as_of": as_of}
        if as_json:
            show_json(result)
        else:
            show(f"{new} recalls are new in {out}, up to position {result['position']}")
            show(_how_far(as_of))


def unacknowledged(mesh: MeshOption, node: NodeOption, as_json: JsonOption = False) -> None:
    """List what agencies were provided with, was wrong, and was not acknowledged by them yet (旧値の回収).

    By agency and purpose: how many recalls, and since when the oldest can be had; and up to when the gateway has held
    all corrections against its answers (`as_of`).

    Example: jukinet admin recalls --mesh mesh --node gateway-1
    """
    with failures_told():
        listed = asyncio.run(_unacknowledged(mesh, node))
        rows = [
            {
                "agency": each.agency,
                "purpose": each.purpose,
                "recalls": each.recalls,
                "since": moment_in(each, "since"),
            }
            for each in listed.unacknowledged
        ]
        if as_json:
            show_json({"unacknowledged": rows, "as_of": moment_in(listed, "as_of")})
        else:
            show_table(_HEADERS, [[str(value or "") for value in row.values()] for row in rows])
            show(_how_far(moment_in(listed, "as_of")))


def _place(out: Path, last: Mapping[str, Any]) -> bytes:
    """What the recalls in a file are acknowledged by, out of its last line; empty where there is none yet.

    Raises:
        Failure: the line does not say.
    """
    if "line" not in last:
        return b""
    try:
        if place := base64.b64decode(last["place"], validate=True):
            return place
    except (KeyError, ValueError, TypeError):
        pass
    raise Failure(f"{out} does not say what its last recall is acknowledged by; name another file.", Exit.USAGE)


def _how_far(as_of: str | None) -> str:
    if as_of is None:
        return "Not complete: the gateway has not held all corrections against its answers since it started. Ask again."
    return f"Complete up to {as_of}."


async def _unacknowledged(mesh: Path, node: str) -> Any:
    import grpc

    from jukinet._pb.jukinet.recall.v1.recall_pb2 import ListUnacknowledgedRequest
    from jukinet._pb.jukinet.recall.v1.recall_pb2_grpc import RecallServiceStub
    from jukinet.mesh.identity import Identity

    target = in_mesh(Mesh.open(mesh), node, Identity("operator", OPERATOR))
    async with channel_to(target) as channel:
        stub: Any = RecallServiceStub(channel)
        try:
            return await stub.ListUnacknowledged(ListUnacknowledgedRequest(), timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            fail_call(error, target.address)
