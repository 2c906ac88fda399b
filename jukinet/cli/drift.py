"""`jukinet admin digest|drift|certificate`: do the tiers hold the same rows (整合性確認)? Reports; never repairs."""

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jukinet.cli.admin import JsonOption, MeshOption, NodeOption
from jukinet.cli.layout import OPERATOR, Mesh
from jukinet.cli.output import Exit, Failure, failures_told, require_new_file, show, show_json, show_table, tell
from jukinet.cli.tiers import Compared, Damage, Drift, compare, digest_of, list_damaged, new_key

if TYPE_CHECKING:
    from jukinet._pb.jukinet.consistency.v1.consistency_pb2 import GetDigestResponse, Place

_ROWS_NAMED: Final = 1000  # of one municipality; beyond that a register is to be rebuilt, not searched

certificate = typer.Typer(no_args_is_help=True, help="Certificates of equality, as `jukinet admin drift` writes them.")

MunicipalityOption = Annotated[
    str | None, typer.Option("--municipality", metavar="CODE", help="Only this one; all by default.")
]


def digest(
    mesh: MeshOption,
    node: NodeOption,
    municipality: MunicipalityOption = None,
    key: Annotated[
        str | None, typer.Option(metavar="HEX", help="Key of a run, 64 digits; a new one by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Digest what a node holds of each municipality, as of where the node is.

    Example: jukinet admin digest --mesh mesh --node center --json
    """
    with failures_told():
        run_key = _key(key)
        found = asyncio.run(digest_of(Mesh.open(mesh), node, municipality, run_key))
        rows = [_digest_as_json(place, answer) for place, answer in found]
        if as_json:
            show_json({"key": run_key.hex(), "digests": rows})
            return
        show(f"key {run_key.hex()}")
        show_table(list(rows[0]) if rows else [], [[str(cell) for cell in row.values()] for row in rows])


def drift(
    mesh: MeshOption,
    municipality: MunicipalityOption = None,
    certify: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="Sign what is equal into this file; must not exist."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare CS, prefecture and center row by row, and name each row that differs. Nothing is repaired.

    Named too are the rows that a node found damaged, by their checksums, when it read its register again.

    Exit codes: 0 all equal, 1 a row differs or is damaged, 3 something could not be compared.

    Example: jukinet admin drift --mesh mesh --certificate equal.txt
    """
    with failures_told():
        opened, key = Mesh.open(mesh), new_key()
        if certify:
            require_new_file(certify)
        compared = asyncio.run(compare(opened, municipality, key))
        damaged, silent = asyncio.run(list_damaged(opened, municipality))
        if as_json:
            show_json(
                {
                    "key": key.hex(),
                    "municipalities": [_as_json(found) for found in compared],
                    "damaged": [dataclasses.asdict(row) for row in damaged],
                    "damage_not_told": silent,
                }
            )
        else:
            _show(compared)
            _show_damage(damaged, silent)
        if certify:
            _certify(opened, compared, key, certify)
    raise typer.Exit(_exit_of(compared, damaged, silent))


@certificate.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `jukinet admin drift --certificate` wrote it.")],
    authority: Annotated[Path, typer.Option("--authority", metavar="FILE", help="CA certificate of the operators.")],
    as_json: JsonOption = False,
) -> None:
    """Check a certificate of equality offline.

    Exit codes: 0 it holds, 1 it does not, 2 a file cannot be read as what it should be.

    Example: jukinet admin certificate verify equal.txt --authority mesh/pki/operators-ca.pem
    """
    from jukinet.cli.certificate import verify as check

    with failures_told():
        statement = check(file, authority)
        if as_json:
            show_json({"by": statement.by, "made": statement.made.isoformat(), "equal": list(statement.lines)})
            return
        show(f"signed by {statement.by} at {statement.made.isoformat()}")
        for line in statement.lines:
            show(line)


def _certify(mesh: Mesh, compared: list[Compared], key: bytes, file: Path) -> None:
    from jukinet.cli.certificate import sign
    from jukinet.mesh.clock import now
    from jukinet.mesh.identity import Identity

    text = sign(compared, key, mesh.client(Identity("operator", OPERATOR)), now=now())
    file.write_text(text, encoding="utf-8")


def _key(given: str | None) -> bytes:
    if given is None:
        return new_key()
    try:
        key = bytes.fromhex(given)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise Failure("--key: 64 hexadecimal digits are needed, as another run printed them.", Exit.USAGE)
    return key


def _exit_of(compared: list[Compared], damaged: list[Damage], silent: dict[str, str]) -> Exit:
    states = {found.state for found in compared}
    if "drift" in states or damaged:
        return Exit.REFUSED
    return Exit.UNREACHABLE if "not comparable" in states or not states or silent else Exit.OK


def _show(compared: list[Compared]) -> None:
    show_table(
        ["municipality", "state", "epoch", "sequence", "rows", "differ", "wait", "seconds"],
        [
            [
                found.municipality,
                found.state,
                *map(str, (*found.position, found.rows, len(found.drift), len(found.waiting), found.seconds)),
            ]
            for found in compared
        ],
    )
    for found in compared:
        if found.why:
            tell(f"{found.municipality}: {found.why}")
    named = [row for found in compared for row in found.drift[:_ROWS_NAMED]]
    if named:
        show_table(
            ["municipality", "resident code", "node", "how", "version there", "version here", "compared with"],
            [_cells(row) for row in named],
        )


def _show_damage(damaged: list[Damage], silent: dict[str, str]) -> None:
    for name, why in silent.items():
        tell(f"{name} does not tell what is damaged: {why}")
    if damaged:
        cells = [["-" if cell is None else str(cell) for cell in dataclasses.astuple(row)] for row in damaged]
        show_table(["damaged at", "row", "position", "municipality", "resident code"], cells)


def _cells(row: Drift) -> list[str]:
    versions = ["-" if version is None else str(version) for version in (row.version, row.reference_version)]
    how = f"{row.kind}, damaged at {' and '.join(row.damaged_at)}" if row.damaged_at else row.kind
    return [row.municipality, row.resident_code, row.node, how, *versions, row.reference]


def _as_json(found: Compared) -> dict[str, Any]:
    return {
        "municipality": found.municipality,
        "state": found.state,
        "why": found.why or None,
        "nodes": list(found.nodes),
        "epoch": found.position[0],
        "sequence": found.position[1],
        "ahead": found.ahead,
        "rows": found.rows,
        "root": found.root or None,
        "parked": found.parked,
        "seconds": found.seconds,
        "differ": len(found.drift),
        "drift": [dataclasses.asdict(row) for row in found.drift[:_ROWS_NAMED]],
        "wait": len(found.waiting),
        "waiting": [dataclasses.asdict(row) for row in found.waiting[:_ROWS_NAMED]],
    }


def _digest_as_json(place: "Place", answer: "GetDigestResponse") -> dict[str, Any]:
    return {
        "municipality": place.municipality,
        "epoch": place.epoch,
        "sequence": place.sequence,
        "rows": answer.rows,
        "parked": answer.parked,
        "misfiled": answer.misfiled,
        "root": answer.root.hex(),
    }
