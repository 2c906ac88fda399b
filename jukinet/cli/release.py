"""`jukinet admin release`: what two operators do about a held municipality or a parked change."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jukinet.cli.admin import JsonOption, MeshOption, NodeOption, moment_in
from jukinet.cli.connect import channel_to, in_mesh
from jukinet.cli.layout import OPERATOR, Mesh
from jukinet.cli.output import Exit, Failure, fail_call, failures_told, show, show_json

if TYPE_CHECKING:
    from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceAsyncStub

_ACT_SECONDS: Final = 60.0


def release(
    municipality: Annotated[str, typer.Argument(metavar="MUNICIPALITY", help="Six digits: whose.")],
    mesh: MeshOption,
    node: NodeOption,
    epoch: Annotated[int | None, typer.Argument(metavar="EPOCH", help="Of a parked change.")] = None,
    sequence: Annotated[int | None, typer.Argument(metavar="SEQUENCE", help="Likewise.")] = None,
    operator: Annotated[
        str, typer.Option("--as", metavar="NAME", help="Operator whose certificate to use.")
    ] = OPERATOR,
    again: Annotated[bool, typer.Option("--again", help="Judge it once more by the rules as they are.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Release what a node holds back: the first operator proposes, a second one carries out.

    MUNICIPALITY alone releases a municipality that its change brake holds, and lifts the brake for an hour. With EPOCH
    and SEQUENCE a parked change is set aside for good, and what waited behind it is tried again in order; with --again
    one operator has it judged once more instead.

    Example: jukinet admin release 131016 --mesh mesh --node center --as operator-2

    Example: jukinet admin release 131016 1 42 --mesh mesh --node center --as operator-2
    """
    with failures_told():
        if (epoch is None) != (sequence is None) or (again and epoch is None):
            raise Failure("Give MUNICIPALITY EPOCH SEQUENCE of a parked change, or a municipality alone.", Exit.USAGE)
        opened = Mesh.open(mesh)
        if epoch is None or sequence is None:
            answer = asyncio.run(_release_held(opened, node, operator, municipality))
        else:
            answer = asyncio.run(_release(opened, node, operator, (municipality, epoch, sequence), again=again))
        if as_json:
            show_json(answer)
        else:
            show(", ".join(f"{key}: {value}" for key, value in answer.items() if value is not None))


async def _release(mesh: Mesh, node: str, operator: str, place: tuple[str, int, int], *, again: bool) -> dict[str, Any]:
    from jukinet._pb.jukinet.admin.v1 import admin_pb2
    from jukinet.mesh.errors import name_of

    try:
        where = admin_pb2.ChangePlace(municipality=place[0], epoch=place[1], sequence=place[2])
    except ValueError as error:
        raise Failure(str(error), Exit.USAGE) from None
    async with _acting(mesh, node, operator) as stub:
        if again:
            tried = await stub.RetryParked(admin_pb2.RetryParkedRequest(place=where), timeout=_ACT_SECONDS)
            reason = name_of(tried.reason) if tried.reason else None
            return {"step": "still parked" if reason else "applied", "reason": reason, "applied": tried.applied}
        done = await stub.ReleaseParked(admin_pb2.ReleaseParkedRequest(place=where), timeout=_ACT_SECONDS)
    return {"step": _step(done.step), "proposed_by": done.proposed_by, "applied": done.applied}


async def _release_held(mesh: Mesh, node: str, operator: str, municipality: str) -> dict[str, Any]:
    from jukinet._pb.jukinet.admin.v1 import admin_pb2

    async with _acting(mesh, node, operator) as stub:
        request = admin_pb2.ReleaseHeldRequest(municipality=municipality)
        done = await stub.ReleaseHeld(request, timeout=_ACT_SECONDS)
    return {
        "step": _step(done.step),
        "proposed_by": done.proposed_by,
        "taken_up": done.taken_up,
        "left": done.left,
        "lifted_until": moment_in(done, "lifted_until"),
    }


@asynccontextmanager
async def _acting(mesh: Mesh, node: str, operator: str) -> "AsyncIterator[AdminServiceAsyncStub]":
    """A node, called by a named operator. Raises Failure when there is none such, or the call is refused."""
    import grpc

    from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceStub
    from jukinet.mesh.identity import Identity, IdentityError

    try:
        client = Identity("operator", operator)
    except IdentityError as error:
        raise Failure(str(error), Exit.USAGE) from None
    target = in_mesh(mesh, node, client)
    async with channel_to(target) as channel:
        try:
            yield AdminServiceStub(channel)
        except grpc.aio.AioRpcError as error:
            fail_call(error, target.address)


def _step(step: int) -> str:
    from jukinet._pb.jukinet.admin.v1 import admin_pb2

    return "carried out" if step == admin_pb2.RELEASE_STEP_CARRIED_OUT else "proposed"
