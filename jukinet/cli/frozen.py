"""`jukinet admin frozen` and what follows: operators of agencies whom gateways froze (操作者の停止)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from jukinet.cli.admin import JsonOption, MeshOption, NodeOption, moment_in
from jukinet.cli.connect import CALL_SECONDS, channel_to, in_mesh
from jukinet.cli.layout import OPERATOR, Mesh
from jukinet.cli.output import Exit, Failure, fail_call, failures_told, show, show_json, show_table

if TYPE_CHECKING:
    from pathlib import Path

    from jukinet._pb.jukinet.admin.v1 import freeze_pb2
    from jukinet._pb.jukinet.admin.v1.freeze_pb2_grpc import FreezeServiceAsyncStub

_HEADERS: Final = ["agency", "operator (pseudonym)", "found", "since", "proposed by", "contact", "frozen at"]
_T = TypeVar("_T")


def frozen(mesh: MeshOption, node: NodeOption, as_json: JsonOption = False) -> None:
    """List the operators of agencies (操作者) whom a gateway froze because of what they asked.

    They stand there by pseudonym, as in the ledger; which of its operators is refused, the agency knows. Whom to call
    there stands beside it, where the directory says so. The center lists those of all gateways: who is refused at one
    gateway and not listed there was frozen at another.

    Example: jukinet admin frozen --mesh mesh --node gateway-1
    """
    with failures_told():
        from jukinet._pb.jukinet.admin.v1 import freeze_pb2
        from jukinet.purpose.contact import KEYS

        answer = _call(
            mesh, node, OPERATOR, lambda stub: stub.ListFrozen(freeze_pb2.ListFrozenRequest(), timeout=CALL_SECONDS)
        )
        rows = [
            {
                "agency": each.agency,
                "operator_pseudonym": each.operator_pseudonym.hex(),
                "detector": freeze_pb2.Detector.Name(each.detector).removeprefix("DETECTOR_").lower(),
                "since": moment_in(each, "since"),
                "proposed_by": each.proposed_by or None,
                "contact": " / ".join(filter(None, (getattr(each.contact, key) for key in KEYS))) or None,
                "gateway": each.gateway or None,
            }
            for each in answer.frozen
        ]
        if as_json:
            show_json({"frozen": rows})
        else:
            show_table(_HEADERS, [[str(value or "") for value in row.values()] for row in rows])


def release_operator(
    agency: Annotated[str, typer.Argument(metavar="AGENCY", help="Id of the agency, such as pension-service.")],
    operator: Annotated[str, typer.Argument(metavar="OPERATOR", help="The agency's own id of its operator.")],
    mesh: MeshOption,
    node: NodeOption,
    acting: Annotated[str, typer.Option("--as", metavar="NAME", help="Operator whose certificate to use.")] = OPERATOR,
    as_json: JsonOption = False,
) -> None:
    """Release a frozen operator of an agency: the first operator of the network proposes, a second one carries out.

    Example: jukinet admin release-operator pension-service op-7 --mesh mesh --node gateway-1 --as operator-2
    """
    with failures_told():
        from jukinet._pb.jukinet.admin.v1 import freeze_pb2
        from jukinet.mesh.identity import Identity, IdentityError

        try:
            asking = Identity("agency", agency)
        except IdentityError as error:
            raise Failure(str(error), Exit.USAGE) from None
        request = freeze_pb2.ReleaseOperatorRequest(agency=asking.uri, operator=operator)
        done = _call(mesh, node, acting, lambda stub: stub.ReleaseOperator(request, timeout=CALL_SECONDS))
        _show_step(done, as_json)


def forget_frozen(
    gateway: Annotated[str, typer.Argument(metavar="GATEWAY", help="Name of the gateway, such as gateway-3.")],
    mesh: MeshOption,
    acting: Annotated[str, typer.Option("--as", metavar="NAME", help="Operator whose certificate to use.")] = OPERATOR,
    as_json: JsonOption = False,
) -> None:
    """Let the center forget all whom a gateway froze that is gone for good: one operator proposes, another carries out.

    A gateway that is there declares them again within half a minute.

    Example: jukinet admin forget-frozen gateway-3 --mesh mesh --as operator-2
    """
    with failures_told():
        from jukinet._pb.jukinet.admin.v1 import freeze_pb2
        from jukinet.mesh.identity import Identity, IdentityError

        try:
            gone = Identity("gateway", gateway)
        except IdentityError as error:
            raise Failure(str(error), Exit.USAGE) from None
        request = freeze_pb2.ForgetFrozenRequest(gateway=gone.uri)
        done = _call(mesh, "center", acting, lambda stub: stub.ForgetFrozen(request, timeout=CALL_SECONDS))
        _show_step(done, as_json)


def _show_step(done: "freeze_pb2.ReleaseOperatorResponse | freeze_pb2.ForgetFrozenResponse", as_json: bool) -> None:
    from jukinet._pb.jukinet.admin.v1 import admin_pb2

    step = "carried out" if done.step == admin_pb2.RELEASE_STEP_CARRIED_OUT else "proposed"
    if as_json:
        show_json({"step": step, "proposed_by": done.proposed_by})
    else:
        show(f"step: {step}, proposed_by: {done.proposed_by}")


def _call(mesh: "Path", node: str, acting: str, call: "Callable[[FreezeServiceAsyncStub], Awaitable[_T]]") -> _T:
    """Calls a node as a named operator. Raises Failure when there is none such, or the call is refused."""
    from jukinet.mesh.identity import Identity, IdentityError

    try:
        client = Identity("operator", acting)
    except IdentityError as error:
        raise Failure(str(error), Exit.USAGE) from None
    target = in_mesh(Mesh.open(mesh), node, client)

    async def made() -> _T:
        import grpc

        from jukinet._pb.jukinet.admin.v1.freeze_pb2_grpc import FreezeServiceStub

        async with channel_to(target) as channel:
            stub: Any = FreezeServiceStub(channel)
            try:
                return await call(stub)
            except grpc.aio.AioRpcError as error:
                fail_call(error, target.address)

    return asyncio.run(made())
