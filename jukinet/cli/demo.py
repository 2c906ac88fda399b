"""`jukinet demo`: the main job on real processes, and every claim checked.

Center, two prefectures, five municipalities, a gateway and three witnesses run as processes of their own over mTLS.
20,000 synthetic residents are entered, a month of life events follows, one prefecture is killed in the middle, agencies
ask, and a witness of their ledger is killed. At the end every register is held against the generator's own books, row
by row, and the ledger is verified offline.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from rich.console import Console
from rich.progress import Progress

from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusRequest, GetStatusResponse
from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceStub
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet.cli.change_file import LineProblem, read_changes
from jukinet.cli.compare import differences
from jukinet.cli.connect import channel_to, in_mesh
from jukinet.cli.demo_claims import Claims
from jukinet.cli.demo_ledger import DEAD_WITNESS, check_ledger
from jukinet.cli.demo_nation import ASKED, KILLED, LATE, WEIGHTS, DemoNation, make_demo_nation
from jukinet.cli.demo_questions import LAWFUL, Questions, ask_all, basis_of, refusal_of
from jukinet.cli.demo_traces import Traces
from jukinet.cli.init import UNBRAKED, Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.output import Failure
from jukinet.cli.processes import MeshProcesses, NodeDied, NotHealthy
from jukinet.cli.retry import CallRefused, DeadlinePassed
from jukinet.cli.submit import AnswerOutOfOrder, Report, submit
from jukinet.cli.submit_one import SubmissionRefused, submit_one
from jukinet.mesh import tracing
from jukinet.mesh.client import open_channel
from jukinet.mesh.errors import facts_of, name_of, reason_of
from jukinet.mesh.identity import Identity

_ARRIVE_SECONDS = 120.0


class NotArrived(Exception):
    """What the municipalities accepted was not on disk at the center in time. The nodes' logs say why."""


# What the nodes, the calls to them and the machine may do to a run. Anything else is a mistake of this program, whose
# traceback is wanted.
_ENDS_THE_RUN: Final = (
    AnswerOutOfOrder,
    CallRefused,
    DeadlinePassed,
    Failure,
    NodeDied,
    NotArrived,
    NotHealthy,
    OSError,
    SubmissionRefused,
    grpc.aio.AioRpcError,
)


@dataclass(frozen=True)
class _Run:
    folder: Path
    mesh: Mesh
    nodes: MeshProcesses
    nation: DemoNation
    claims: Claims
    console: Console


async def run_demo(*, console: Console, folder: Path, keep: bool = False) -> Claims:
    """Runs the demo and returns its claims.

    Args:
        console: where progress and claims go.
        folder: where the mesh is made.
        keep: leave the mesh running, print its addresses, and wait for Ctrl-C; not when the run broke off.
    """
    claims = Claims(console)
    async with AsyncExitStack() as stack:
        traces = await stack.enter_async_context(Traces(folder / "traces"))
        mesh = None
        try:
            mesh = await _main_job(folder, stack, console, claims, traces)
        except _ENDS_THE_RUN as failure:
            claims.make("the demo ran to its end", False, _what_happened(failure))
        claims.show_table()
        if keep and mesh is not None:
            await _keep(mesh, traces, console)
    return claims


def _what_happened(failure: Exception) -> str:
    """Tells in a sentence what ended the run; of a failed call only what stands in the catalogue."""
    if not isinstance(failure, grpc.aio.AioRpcError):
        return " ".join(str(failure).split()) or f"{type(failure).__name__} ended it"
    reason = reason_of(failure)
    if reason is None:
        return f"a call to a node failed with {failure.code().name}"
    return f"a node refused a call: {name_of(reason)}, {facts_of(reason).message}"


async def _main_job(root: Path, stack: AsyncExitStack, console: Console, claims: Claims, traces: Traces) -> Mesh:
    console.rule("[bold]1. A mesh of real processes")
    mesh = write_mesh(root / "mesh", Plan(municipalities=list(WEIGHTS), gateways=["gateway-1"], brake=UNBRAKED))
    nodes = await stack.enter_async_context(MeshProcesses(mesh, environ=traces.environ()))
    late = f"municipality-{LATE}"
    for name in mesh.names:
        if name != late:
            nodes.start(name)
    nation = await asyncio.to_thread(make_demo_nation, root / "files")
    await nodes.wait_healthy()
    claims.make(
        "center, 2 prefectures, 4 municipalities, a gateway and 3 witnesses serve over mTLS",
        True,
        f"{len(mesh.names) - 1} processes",
    )
    run = _Run(root, mesh, nodes, nation, claims, console)
    await _enter_residents(run, late)
    await _live_a_month(run, traces)
    nodes.kill(DEAD_WITNESS)
    console.print(f"  [yellow]SIGKILL[/] {DEAD_WITNESS}")
    questions = await _ask(run)
    await _compare(run)
    await traces.show(claims, console)
    await check_ledger(mesh, root / "ledger", questions, claims)
    nodes.start(DEAD_WITNESS)
    return mesh


async def _enter_residents(run: _Run, late: str) -> None:
    run.console.rule("[bold]2. Residents")
    early = {code: path for code, path in run.nation.residents.items() if code != LATE}
    reports = await _submit_files(run, early, "entering residents")
    run.nodes.start(late)
    await run.nodes.wait_healthy([late])
    reports += await _submit_files(run, {LATE: run.nation.residents[LATE]}, "a municipality joins late")
    await _arrive(run)
    entered, refused = _sum(reports)
    run.claims.make(
        "residents entered by five municipalities, one of which joined late, are on disk at the center",
        refused == 0 and entered > 0,
        f"{entered:,} residents, {refused} refused",
    )


async def _live_a_month(run: _Run, traces: Traces) -> None:
    run.console.rule("[bold]3. A month of life, and a power cut")
    reports = await _submit_files(run, run.nation.first_half, "first half of the month", traces)
    second = asyncio.create_task(_submit_files(run, run.nation.second_half, "second half of the month", traces))
    run.nodes.kill(KILLED)
    run.console.print(f"  [yellow]SIGKILL[/] {KILLED}")
    reports += await second
    down = await _status(run.mesh, f"municipality-{ASKED}")
    waiting = down.links[0].last_sequence - down.links[0].mark
    run.nodes.start(KILLED)
    await run.nodes.wait_healthy([KILLED])
    accepted, refused = _sum(reports)
    await _arrive(run)  # or the last change, a move-in, could overtake its move-out and be parked for a moment
    accepted += await _notify_once(run)
    await _arrive(run)
    run.claims.make(
        "a month of life events, moves between prefectures among them, is on disk at the center",
        refused == 0 and accepted == run.nation.changes,
        f"{accepted:,} changes, {run.nation.moves_between_prefectures} moves between prefectures, {refused} refused",
    )
    run.claims.make(
        "municipalities went on accepting while their prefecture was dead (SIGKILL), and caught up",
        waiting > 0,
        f"{waiting} changes waited in Shinjuku alone",
    )


async def _notify_once(run: _Run) -> int:
    """Submits the last change of the month by itself, traced from the municipal system's call on."""
    (_, submission), *_ = await asyncio.to_thread(lambda: list(read_changes(run.nation.last)))
    assert not isinstance(submission, LineProblem)  # noqa: S101  # the generator's own file
    client = in_mesh(run.mesh, f"municipality-{ASKED}", Identity("municipal-system", ASKED))
    channel = open_channel(client.address, client.tls, server=client.server, interceptors=tracing.client_interceptors())
    async with channel:
        await submit_one(submission, channel, 30.0)
    return 1


async def _ask(run: _Run) -> Questions:
    run.console.rule("[bold]4. Agencies ask")
    asked = await ask_all(run.mesh, run.nation.someone())
    answer = asked.answered
    run.claims.make(
        f"the Japan Pension Service gets a lawful answer on row {LAWFUL}",
        answer is not None and answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH,
        basis_of(answer),
    )
    held = asked.by_number is not None and asked.by_number.outcome == inquiry.INQUIRY_OUTCOME_MATCH
    run.claims.make("and by individual number, where the Number Use Act lets it", held, basis_of(asked.by_number))
    confirmed = asked.confirmed is not None and asked.confirmed.verified
    denied = asked.denied is not None and not asked.denied.verified
    run.claims.make(
        "identity verification says yes to the right person and no to another birth date",
        confirmed and denied,
        basis_of(asked.confirmed, asked.denied),
    )
    run.claims.make(
        "the same agency, asking outside its purpose, is refused (art. 30-25)",
        asked.outside == errors.ERROR_REASON_PURPOSE_NOT_GRANTED,
        refusal_of(asked.outside),
    )
    run.claims.make(
        "a bank with a valid certificate, and rows granted by mistake, is refused (art. 30-38)",
        asked.bank == errors.ERROR_REASON_PRIVATE_SECTOR_BANNED,
        refusal_of(asked.bank),
    )
    return asked


async def _compare(run: _Run) -> None:
    run.console.rule("[bold]5. Every register against the truth")
    registers = run.nation.nation.registers
    rows = 0
    wrong: dict[str, int] = {}
    parked = 0
    for name in run.mesh.registers:
        truth = registers.of(name.partition("-")[2] or "center")
        found = await asyncio.to_thread(differences, run.mesh.config(name).database, truth)
        rows += len(truth)
        if found:
            wrong[name] = found.total()
        parked += (await _status(run.mesh, name)).parked
    run.claims.make(
        "every register of all three tiers equals the generator's truth, row by row",
        not wrong,
        f"{rows:,} rows on 8 nodes" if not wrong else str(wrong),
    )
    run.claims.make("nothing is left parked: every move found its other half", parked == 0, f"{parked} parked")


async def _submit_files(run: _Run, files: Mapping[str, Path], what: str, traces: Traces | None = None) -> list[Report]:
    lines = {code: sum(1 for _ in path.open(encoding="utf-8")) - 1 for code, path in files.items()}
    with Progress(console=run.console, transient=True) as progress:
        bars = {code: progress.add_task(f"{what} {code}", total=count) for code, count in lines.items()}

        async def one(code: str, path: Path) -> Report:
            client = Identity("municipal-system", code)
            async with channel_to(in_mesh(run.mesh, f"municipality-{code}", client)) as channel:
                return await submit(
                    path,
                    channel,
                    rejects_path=path.with_suffix(".rejects.csv"),
                    timeout_seconds=_ARRIVE_SECONDS,
                    traceparent_for=traces.context_for if traces else None,
                    progress=lambda settled: progress.update(bars[code], completed=settled),
                )

        return list(await asyncio.gather(*(one(code, path) for code, path in files.items())))


async def _arrive(run: _Run) -> None:
    """Waits until everything that the municipalities accepted is on disk at the center."""
    names = [name for name in run.mesh.names if name.startswith("municipality-")]
    try:
        async with asyncio.timeout(_ARRIVE_SECONDS):
            while True:
                statuses = await asyncio.gather(*(_status(run.mesh, name) for name in names))
                if all(status.links[0].center_mark == status.links[0].last_sequence for status in statuses):
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise NotArrived(f"after {_ARRIVE_SECONDS:g} s, accepted changes were still not at the center") from None


async def _status(mesh: Mesh, name: str) -> GetStatusResponse:
    async with channel_to(in_mesh(mesh, name)) as channel:
        return await AdminServiceStub(channel).GetStatus(GetStatusRequest(), timeout=10.0)


def _sum(reports: list[Report]) -> tuple[int, int]:
    return sum(report.accepted for report in reports), sum(sum(report.refused.values()) for report in reports)


async def _keep(mesh: Mesh, traces: Traces, console: Console) -> None:
    gateway = mesh.gateways[0]
    for line in (
        f"The mesh runs on in {mesh.root}",
        f"  gateway  {mesh.address(gateway)}",
        f"  traces   {traces.addresses.page}",
        f"  status   jukinet mesh status {mesh.root}",
        "Press Ctrl-C to end it.",
    ):
        console.print(line, highlight=False, soft_wrap=True)
    await asyncio.Event().wait()
