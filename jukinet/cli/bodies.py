"""`jukinet ledger open-body`, `jukinet admin destroy-key`: what two operators do with the bodies (本文) of a ledger."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukinet.cli.admin import JsonOption, MeshOption
from jukinet.cli.connect import CALL_SECONDS, channel_to, in_mesh
from jukinet.cli.layout import OPERATOR, Mesh
from jukinet.cli.output import Exit, Failure, fail_call, failures_told, show, show_json

if TYPE_CHECKING:
    from jukinet._pb.jukinet.body.v1 import body_pb2
    from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry
    from jukinet.mesh.identity import Identity

AsOption = Annotated[str, typer.Option("--as", metavar="NAME", help="Operator whose certificate to use.")]
_CENTER = "center"
_CODE_CHARACTERS = 64


def open_body(
    index: Annotated[int, typer.Argument(metavar="INDEX", min=0, help="Index of the entry, from 0.")],
    mesh: MeshOption,
    gateway: Annotated[str | None, typer.Option(metavar="NAME", help="The mesh's first gateway by default.")] = None,
    operator: AsOption = OPERATOR,
) -> None:
    """Open what a question asked in full: the first operator proposes, for the second one it is printed as JSON.

    Each time the gateway's ledger says that the body was taken, and the center's records who opened it.

    Exit codes: 0 proposed or printed, 1 no such body or its key is destroyed, 4 a second operator is needed.

    Example: jukinet ledger open-body 17 --mesh mesh --as operator-2
    """
    with failures_told():
        found = Mesh.open(mesh)
        name = found.find(gateway or found.gateways[0])
        show_json(asyncio.run(_open(found, name, index, _operator(operator))))


def destroy_key(
    mesh: MeshOption,
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="All bodies of this month (UTC).")] = None,
    resident: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="All bodies about one person: file with the resident code; - reads it."),
    ] = None,
    operator: AsOption = OPERATOR,
    as_json: JsonOption = False,
) -> None:
    """Destroy a key for good (鍵の廃棄): no body under it can be read any more, and the ledgers stay what they are.

    The first operator proposes, a second one carries out.

    Example: jukinet admin destroy-key --month 2019-04 --mesh mesh --as operator-2
    """
    with failures_told():
        if (month is None) == (resident is None):
            raise Failure("Say --month, or --resident with a file.", Exit.USAGE)
        code = _code_in(resident) if resident else ""
        answer = asyncio.run(_destroy(Mesh.open(mesh), month or "", code, _operator(operator)))
        if as_json:
            show_json(answer)
        else:
            show(", ".join(f"{key}: {value}" for key, value in answer.items()))


async def _open(mesh: Mesh, gateway: str, index: int, operator: "Identity") -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry
    from jukinet.ledger import body

    taken = await _take(mesh, gateway, index, operator)
    entry = Entry.FromString(taken.entry)
    if body.digest(taken.sealed) != entry.body_digest:
        raise Failure(f"The body that {gateway} gave is not the one that entry {index} binds. Keep both as evidence.")
    opened = await _opened(mesh, entry, taken.sealed, operator)
    if not opened.key:
        return {"step": "proposed", "proposed_by": opened.proposed_by, "index": index}
    found = body.unseal(taken.sealed, opened.key, entry.agency, entry.request_id)
    as_dict = MessageToDict(found, preserving_proto_field_name=True)
    return {"step": "carried out", "proposed_by": opened.proposed_by, "index": index, "body": as_dict}


async def _take(mesh: Mesh, gateway: str, index: int, operator: "Identity") -> "body_pb2.TakeBodyResponse":
    import grpc

    from jukinet._pb.jukinet.body.v1 import body_pb2, body_pb2_grpc

    target = in_mesh(mesh, gateway, operator)
    async with channel_to(target) as channel:
        try:
            request = body_pb2.TakeBodyRequest(index=index)
            return await body_pb2_grpc.BodyServiceStub(channel).TakeBody(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            fail_call(error, target.address)


async def _opened(mesh: Mesh, entry: "Entry", sealed: bytes, operator: "Identity") -> "body_pb2.OpenBodyResponse":
    import grpc

    from jukinet._pb.jukinet.body.v1 import body_pb2, body_pb2_grpc

    target = in_mesh(mesh, _CENTER, operator)
    place = body_pb2.SealedBody.FromString(sealed).place
    request = body_pb2.OpenBodyRequest(agency=entry.agency, request_id=entry.request_id, place=place)
    async with channel_to(target) as channel:
        try:
            return await body_pb2_grpc.BodyKeyServiceStub(channel).OpenBody(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            fail_call(error, target.address)


async def _destroy(mesh: Mesh, month: str, code: str, operator: "Identity") -> dict[str, Any]:
    import grpc

    from jukinet._pb.jukinet.body.v1 import body_pb2, body_pb2_grpc

    request = body_pb2.DestroyKeyRequest(month=month) if month else body_pb2.DestroyKeyRequest(resident_code=code)
    target = in_mesh(mesh, _CENTER, operator)
    async with channel_to(target) as channel:
        try:
            done = await body_pb2_grpc.BodyKeyServiceStub(channel).DestroyKey(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            fail_call(error, target.address)
    return {"step": "carried out" if done.destroyed else "proposed", "proposed_by": done.proposed_by}


def _operator(name: str) -> "Identity":
    from jukinet.mesh.identity import Identity, IdentityError

    try:
        return Identity("operator", name)
    except IdentityError as error:
        raise Failure(str(error), Exit.USAGE) from None


def _code_in(source: Path) -> str:
    """A resident code from a file: what stands on a command line is seen by every user of the machine."""
    try:
        text = sys.stdin.read(_CODE_CHARACTERS) if str(source) == "-" else source.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Failure(f"{source} cannot be read ({type(error).__name__}).", Exit.USAGE) from None
    return text[:_CODE_CHARACTERS].strip()
