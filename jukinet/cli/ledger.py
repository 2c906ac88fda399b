"""`jukinet ledger`: a gateway's transparency ledger (提供の記録), fetched or out of its database; its check offline."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jukinet.cli.connect import CALL_SECONDS, Target, channel_to, in_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.node import ConfigOption, start_errors_told
from jukinet.cli.output import JSON_HELP, Exit, Failure, fail_call, failures_told, require_new_file, show

if TYPE_CHECKING:
    from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import GetConsistencyProofResponse
    from jukinet._pb.jukinet.ledger.v1.ledger_pb2_grpc import LedgerServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="The record of every answer and refusal: fetch it, check it offline.")

WitnessOption = Annotated[
    list[str] | None,
    typer.Option("--witness", metavar="KEY", help="Public key of a witness (立会人); repeat for each of them."),
]
QuorumOption = Annotated[
    int | None,
    typer.Option("--quorum", metavar="N", help="Cosignatures wanted; more than half of the witnesses by default."),
]


@app.command()
def fetch(
    mesh: Annotated[Path, typer.Option("--mesh", metavar="DIR", help="Folder of the mesh.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the ledger goes; must not exist.")],
    gateway: Annotated[str | None, typer.Option(metavar="NAME", help="The mesh's first gateway by default.")] = None,
    seconds: Annotated[float, typer.Option(metavar="N", help="How long the transfer may take.")] = 600.0,
) -> None:
    """Fetch a gateway's whole ledger as the operator, up to its published checkpoint, into a file for anyone to check.

    The published checkpoint is the latest one that a quorum of the ledger's witnesses (立会人) cosigned.

    Example: jukinet ledger fetch --mesh mesh --out ledger.jsonl
    """
    with failures_told():
        found = Mesh.open(mesh)
        name = found.find(gateway or found.gateways[0])
        size = asyncio.run(fetch_ledger(found, name, out, seconds=seconds))
        command = f"jukinet ledger verify {out} --key {found.ledger_key(name)}{_witness_options(found)}"
        show(f"{size} entries of {name}; check them with `{command}`")


@app.command()
def export(
    config: ConfigOption,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the ledger goes; must not exist.")],
) -> None:
    """Write a ledger from its database, hashes and checkpoints as they lie there, when its gateway does not start.

    The ledger that the disclosure node (開示) keeps of its own acts is written in the same way.

    So `jukinet ledger verify` can say where it was changed.

    Exit codes: 0 written, 2 no place for the file, 5 the configuration cannot be used, 6 the database cannot be used.

    Example: jukinet ledger export --config mesh/nodes/gateway-1/node.toml --out ledger.jsonl
    """
    from jukinet.ledger.export import export_database
    from jukinet.mesh.config_file import load_config
    from jukinet.store.engine import open_reader

    with failures_told(), start_errors_told():
        loaded = load_config(config)
        if loaded.role not in ("gateway", "disclosure"):
            raise Failure(f"{config} is not the configuration of a gateway or of the disclosure node.", Exit.USAGE)
        reader = open_reader(loaded.database)
        try:
            with (
                _new_file(out) as draft,
                draft.open("w", encoding="utf-8", newline="\n") as file,
                reader.begin() as rows,
            ):
                export_database(rows, file)
        finally:
            reader.dispose()
        show(f"Check it with `jukinet ledger verify {out} --key LEDGER.vkey`")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Ledger file, as `fetch` or `export` wrote it.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Public key of the ledger: name+keyid+base64.")],
    receipt: Annotated[
        list[Path] | None, typer.Option("--receipt", metavar="FILE", help="Check this receipt too; repeat for more.")
    ] = None,
    witness: WitnessOption = None,
    quorum: QuorumOption = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Check a ledger offline: signature, every hash, every entry's layout, receipts. Uses none of the writer's code.

    With the keys of its witnesses the last checkpoint must have the cosignatures of a quorum of them, who are named.

    Exit codes: 0 sound, 1 not sound (the report says where), 2 a file cannot be read as what it should be.

    Example: jukinet ledger verify ledger.jsonl --key mesh/ledger-gateway-1.vkey --receipt receipt.json
    """
    from jukinet.ledger.verify import verify_files

    report = verify_files(file, key, receipt or [], witnesses=witness or [], quorum=quorum)
    show(report.to_json() if as_json else report.to_text().rstrip("\n"))
    raise typer.Exit(report.findings.exit_code)


@app.command()
def prove(
    receipt: Annotated[Path, typer.Argument(metavar="RECEIPT", help="Receipt of an answer, binary or JSON.")],
    mesh: Annotated[Path, typer.Option("--mesh", metavar="DIR", help="Folder of the mesh.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the proof goes; must not exist.")],
    gateway: Annotated[str | None, typer.Option(metavar="NAME", help="The mesh's first gateway by default.")] = None,
) -> None:
    """Fetch, as the operator, what ties a receipt to the checkpoint that the witnesses cosigned, without the ledger.

    Example: jukinet ledger prove receipt.json --mesh mesh --out proof.json
    """
    from google.protobuf import json_format

    from jukinet.ledger.verify.findings import Unsound
    from jukinet.ledger.verify.receipts import receipt_size

    with failures_told():
        found = Mesh.open(mesh)
        name = found.find(gateway or found.gateways[0])
        try:
            size = receipt_size(receipt)
        except (Unsound, OSError) as error:
            raise Failure(f"{receipt}: {error}", Exit.USAGE) from None
        with _new_file(out) as draft:
            answer = asyncio.run(_prove(in_mesh(found, name), size))
            draft.write_text(json_format.MessageToJson(answer, ensure_ascii=False) + "\n", encoding="utf-8")
        options = f"--proof {out} --key {found.ledger_key(name)}{_witness_options(found)}"
        show(f"Check it with `jukinet ledger verify-receipt {receipt} {options}`")


@app.command("verify-receipt")
def verify_one(
    receipt: Annotated[Path, typer.Argument(metavar="RECEIPT", help="Receipt of an answer, binary or JSON.")],
    proof: Annotated[Path, typer.Option("--proof", metavar="FILE", help="As `prove` wrote it.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Public key of the ledger: name+keyid+base64.")],
    witness: WitnessOption = None,
    quorum: QuorumOption = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Check one receipt offline against the checkpoint that the witnesses cosigned. Uses none of the writer's code.

    Exit codes: 0 sound, 1 not sound, 2 a file cannot be read as what it should be.

    Example: jukinet ledger verify-receipt receipt.json --proof proof.json --key mesh/ledger-gateway-1.vkey
    """
    from jukinet.ledger.verify import verify_receipt

    report = verify_receipt(receipt, proof, key, witnesses=witness or [], quorum=quorum)
    show(report.to_json() if as_json else report.to_text().rstrip("\n"))
    raise typer.Exit(report.findings.exit_code)


def _witness_options(mesh: Mesh) -> str:
    return "".join(f' --witness "$(cat {mesh.witness_key(each)})"' for each in mesh.witnesses)


async def _prove(target: Target, old_size: int) -> "GetConsistencyProofResponse":
    import grpc

    from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import GetConsistencyProofRequest
    from jukinet._pb.jukinet.ledger.v1.ledger_pb2_grpc import LedgerServiceStub

    async with channel_to(target) as channel:
        try:
            request = GetConsistencyProofRequest(old_size=old_size)
            return await LedgerServiceStub(channel).GetConsistencyProof(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            fail_call(error, target.address)


async def fetch_ledger(mesh: Mesh, gateway: str, out: Path, *, seconds: float = 600.0) -> int:
    """Fetches a gateway's whole ledger, as the mesh's operator; the file appears complete or not at all.

    Args:
        mesh: of the gateway.
        gateway: its name.
        out: the new file, of `jukinet.ledger.export`'s format.
        seconds: how long the transfer may take.

    Returns:
        Number of entries.

    Raises:
        Failure: no place for the file, no answer, or fewer entries than the gateway signed.
    """
    with _new_file(out) as draft:
        return await _fetch(in_mesh(mesh, gateway), draft, seconds)


@contextmanager
def _new_file(out: Path) -> Iterator[Path]:
    """Where to write a new file, which appears complete or not at all. Raises Failure: no place for it."""
    require_new_file(out)
    draft = out.with_name(f".{out.name}.new")
    try:
        yield draft
        draft.rename(out)
    finally:
        draft.unlink(missing_ok=True)


async def _fetch(target: Target, draft: Path, seconds: float) -> int:
    import grpc

    from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import GetCheckpointRequest
    from jukinet._pb.jukinet.ledger.v1.ledger_pb2_grpc import LedgerServiceStub

    async with channel_to(target) as channel:
        stub = LedgerServiceStub(channel)
        try:
            answer = await stub.GetCheckpoint(GetCheckpointRequest(), timeout=CALL_SECONDS)
            size = _size_of(answer.checkpoint)
            written = await _write(stub, answer.checkpoint, size, draft, seconds)
        except grpc.aio.AioRpcError as error:
            fail_call(error, target.address)
    if written != size:
        raise Failure(f"{target.address} signed {size} entries and gave {written}. Keep this in mind, and try again.")
    return size


async def _write(stub: "LedgerServiceAsyncStub", checkpoint: str, size: int, draft: Path, seconds: float) -> int:
    from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import ListEntriesRequest
    from jukinet.ledger.export import export

    loop = asyncio.get_running_loop()
    # A limit of 0 would ask for all, and a ledger may have grown since its checkpoint was fetched.
    call = stub.ListEntries(ListEntriesRequest(first_index=0, limit=max(size, 1)), timeout=seconds)
    written = 0

    def entries() -> Iterator[bytes]:
        """Reads on while the file is written, so that a ledger of any length needs the same memory."""
        nonlocal written
        while size:
            message = asyncio.run_coroutine_threadsafe(_next(call), loop).result()
            if message is None:
                return
            for entry in message:
                yield entry
                written += 1

    def write() -> None:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            export(entries(), checkpoint, file)

    try:
        await asyncio.to_thread(write)
    finally:
        call.cancel()
    return written


async def _next(call: object) -> list[bytes] | None:
    import grpc

    message = await call.read()  # type: ignore[attr-defined]  # a gRPC call; its stubs lack the class
    return None if message is grpc.aio.EOF else list(message.entries)


def _size_of(checkpoint: str) -> int:
    lines = checkpoint.split("\n")
    if len(lines) < 3 or not lines[1].isdecimal():
        raise Failure("The gateway's checkpoint is malformed. Nothing was written.")
    return int(lines[1])
