"""`jukinet mesh`: a whole network on one machine, for development, demonstration and tests."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukinet.cli.layout import Mesh
from jukinet.cli.output import JSON_HELP, Exit, Failure, failures_told, show, show_json, show_table, tell

if TYPE_CHECKING:
    from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusResponse
    from jukinet.cli.processes import MeshProcesses

app = typer.Typer(
    no_args_is_help=True,
    help="A whole network on this machine: write it, run it, look at it. Not for production keys.",
)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the mesh.")]


@app.command()
def init(
    directory: Directory,
    municipality: Annotated[
        list[str], typer.Option(help="Six-digit code (全国地方公共団体コード); repeat for more.", metavar="CODE")
    ],
    gateway: Annotated[list[str] | None, typer.Option(help="Name of an agency gateway; repeat for more.")] = None,
    database: Annotated[
        str, typer.Option(help="`sqlite`, or a URL with {node}, such as postgresql://localhost/{node}.")
    ] = "sqlite",
) -> None:
    """Write a development mesh: three CAs, certificates, keys, agency directory, one node.toml a node.

    Prefectures follow from the municipalities' codes; the center, three witnesses (立会人) and the node that answers
    residents (開示) are always there. Nothing that exists is overwritten.

    Example: jukinet mesh init mesh --municipality 131016 --municipality 011002
    """
    with failures_told():
        from jukinet.cli.init import Plan, write_mesh

        mesh = write_mesh(directory, Plan(municipality, gateway or ["gateway-1"], database, disclosure=True))
        show(f"{directory}: {', '.join(mesh.names)}")


@app.command()
def up(
    directory: Directory,
    trace_endpoint: Annotated[
        str | None, typer.Option(help="Send spans there, such as http://127.0.0.1:4317.", metavar="URL")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long the nodes may take to be healthy.", metavar="N")] = 60.0,
) -> None:
    """Run all nodes of a mesh until SIGTERM or Ctrl-C, which drains them.

    Prints one line a node as soon as all are healthy. Logs go to DIR/nodes/NAME/log.jsonl. When a node ends by itself
    the others are drained and the exit code is 1.

    Example: jukinet mesh up mesh --trace-endpoint http://127.0.0.1:4317
    """
    with failures_told():
        from jukinet.cli.processes import MeshProcesses

        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": trace_endpoint} if trace_endpoint else {}
        asyncio.run(_run(MeshProcesses(Mesh.open(directory), environ), seconds))


@app.command()
def status(directory: Directory, as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False) -> None:
    """Show one line a node, one a link and one a witness of each ledger, as the nodes tell it to the operator.

    Exit code 3 when a node does not answer; the others are shown all the same.

    Example: jukinet mesh status mesh --json
    """
    with failures_told():
        mesh = Mesh.open(directory)
        found = asyncio.run(_ask_all(mesh))
        if as_json:
            show_json({"nodes": [_as_json(name, answer) for name, answer in found.items()]})
        else:
            _show(found)
        if any(isinstance(answer, str) for answer in found.values()):
            raise typer.Exit(Exit.UNREACHABLE)


async def _run(processes: "MeshProcesses", seconds: float) -> None:
    import signal

    from jukinet.cli.processes import NodeDied, NotHealthy

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with processes:
        processes.start_all()
        waits: set[asyncio.Task[Any]] = {asyncio.create_task(stopped.wait())}
        try:
            healthy = asyncio.create_task(processes.wait_healthy(seconds=seconds))
            await asyncio.wait({healthy, *waits}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.is_set():
                healthy.cancel()
                return
            healthy.result()
            for name in processes.mesh.names:
                show(f"{name}\t{processes.mesh.address(name)}\tpid {processes.pid(name)}")
            died = asyncio.create_task(processes.watch())
            waits.add(died)
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if died.done():
                raise Failure(f"{died.result()}. The other nodes are drained.")
            tell("draining")
        except (NodeDied, NotHealthy) as error:
            raise Failure(f"{error}. Look at DIR/nodes/NAME/log.jsonl.") from None
        finally:
            for task in waits:
                task.cancel()


async def _ask_all(mesh: Mesh) -> "dict[str, GetStatusResponse | str]":
    """Asks every node at once; a text says why one did not answer."""

    async def ask(name: str) -> "GetStatusResponse | str":
        from jukinet.cli.admin import get_status

        try:
            return await get_status(mesh, name)
        except Failure as failure:
            return str(failure)

    return dict(zip(mesh.names, await asyncio.gather(*map(ask, mesh.names)), strict=True))


def _as_json(name: str, answer: "GetStatusResponse | str") -> dict[str, Any]:
    from jukinet.cli.admin import status_as_json

    if isinstance(answer, str):
        return {"node": name, "answers": False, "error": answer}
    return {"node": name, "answers": True, **status_as_json(answer)}


def _show(found: "dict[str, GetStatusResponse | str]") -> None:
    from jukinet.cli.admin import (
        HELD_HEADERS,
        LINK_HEADERS,
        MIRROR_HEADERS,
        WITNESS_HEADERS,
        alarms_in,
        held_rows,
        link_row,
        mirror_rows,
        witness_rows,
    )

    nodes, links, held, witnesses, mirrors = [], [], [], [], []
    for name, answer in found.items():
        if isinstance(answer, str):
            nodes.append([name, "no answer", "", "", "", ""])
            tell(f"{name}: {answer}")
            continue
        residents = " ".join(f"{status}={count}" for status, count in sorted(answer.residents.items()))
        if answer.HasField("register_scrub") and not answer.HasField("residents_counted_at"):
            residents = "not counted yet"
        ledger = f"{answer.ledger_entries} ({answer.published_entries})" if answer.role == "gateway" else ""
        parked = str(answer.parked)
        if answer.waiting_too_long:
            parked += f" ({answer.waiting_too_long} waiting too long)"
        nodes.append([name, "serving", answer.version, residents, parked, ledger])
        links += [[name, *link_row(link)] for link in answer.links]
        held += [[name, *row] for row in held_rows(answer)]
        witnesses += [[name, *row] for row in witness_rows(answer)]
        mirrors += [[name, *row] for row in mirror_rows(answer)]
        for line in alarms_in(answer):
            tell(f"{name}: {line}")
    show_table(["node", "state", "version", "residents", "parked", "ledger (published)"], nodes)
    if links:
        show("")
        show_table(["node", *LINK_HEADERS], links)
    if witnesses:
        show("")
        show_table(["node", *WITNESS_HEADERS], witnesses)
    if mirrors:
        show("")
        show_table(["node", *MIRROR_HEADERS], mirrors)
    if held:
        show("")
        show_table(["node", *HELD_HEADERS], held)
