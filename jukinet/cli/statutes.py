"""`jukinet statutes`: the law as data (別表): check an edition, show rows, begin a draft."""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukinet.cli.output import (
    JSON_HELP,
    Exit,
    Failure,
    failures_told,
    require_new_file,
    show,
    show_json,
    show_table,
    tell,
)
from jukinet.cli.statute_files import ApprovedOption, known_editions, read_directory, read_edition, read_file

if TYPE_CHECKING:
    from jukinet.purpose.statute import StatuteRow, StatuteTable

app = typer.Typer(
    no_args_is_help=True,
    help="The law as data: editions (版) of the annexed tables, checked, replayed, approved by two.",
)

JsonOption = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
OnOption = Annotated[
    datetime | None, typer.Option("--on", metavar="DAY", formats=["%Y-%m-%d"], help="Day in Japan, such as 2026-04-01.")
]
DirectoryOption = Annotated[
    Path | None, typer.Option("--agencies", metavar="FILE", help="Agency directory whose grants to check too.")
]


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Edition to check; that of the program if left out.")
    ] = None,
    agencies: DirectoryOption = None,
    approved: ApprovedOption = None,
    on: OnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find rows that contradict each other, overlap or expired, and grants of rows that are gone.

    Validity is held against --on, or else today; against the first day of an edition that is not in force by then.
    Prints the digest by which an edition is approved.
    A directory may grant rows of all editions that its node knows: of the program's, and of those given by --edition.
    Those are not checked: what is to be checked is FILE.

    Exit codes: 0 nothing found, 1 something found, 2 wrong usage, a file that cannot be read, or a directory that no
    node would load.

    Example: jukinet statutes check draft.toml --agencies mesh/nodes/center/agencies.toml
    """
    with failures_told():
        from hashlib import sha256

        from jukinet.mesh.clock import today_in_japan
        from jukinet.purpose.edition import parse_edition, program_edition
        from jukinet.purpose.statute_check import check_edition, check_grants

        if approved and (file is None or agencies is None):
            text = (
                "--edition is what the directory of --agencies may grant besides: give what is to be checked as FILE."
            )
            raise Failure(text, Exit.USAGE)
        content = program_edition() if file is None else read_file(file)
        day = on.date() if on else today_in_japan()
        findings = check_edition(content, on=day)
        if agencies is not None and findings:
            tell("The agencies' grants were not checked: correct the edition first.")
        elif agencies is not None:
            table = parse_edition(content)
            directory = read_directory(agencies, known_editions(approved or [], table))
            findings = check_grants(table, directory, on=max(day, table.in_force_from))
        digest, name = sha256(content).hexdigest(), _name_of(content)
        if as_json:
            show_json({"edition": name, "digest": digest, "findings": [finding._asdict() for finding in findings]})
        else:
            show_table(["kind", "where", "what"], [list(finding) for finding in findings])
            show(f"{len(findings)} findings in edition {name or 'without a name'}, digest {digest}")
        raise typer.Exit(Exit.REFUSED if findings else Exit.OK)


@app.command("show")
def show_rows(
    row: Annotated[
        str | None, typer.Argument(metavar="ROW", help="Such as B1-77; all rows in force if left out.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--edition", metavar="FILE", help="Edition; that of the program if left out.")
    ] = None,
    on: OnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show rows of an edition: to whom they open what, by which article, and how they may be provided.

    Example: jukinet statutes show B1-77 --on 2026-04-01
    """
    with failures_told():
        from jukinet.mesh.clock import today_in_japan

        table = read_edition(file)
        day = on.date() if on else today_in_japan()
        if row is None:
            rows = [each for each in table.rows.values() if _is_live(each, day)]
        elif row in table.rows:
            rows = [table.rows[row]]
        else:
            raise Failure(f"Edition {table.edition} has no row {row}.", Exit.USAGE)
        found = [_row_as_json(table, each, day) for each in rows]
        if as_json:
            show_json({"edition": table.edition, "in_force_from": table.in_force_from.isoformat(), "rows": found})
            return
        headers = ["row", "live", "article", "bodies", "number", "code", "provided", "label"]
        shown = ["row", "live", "article", "bodies", "individual_number", "resident_code", "provisions", "label_ja"]
        show_table(headers, [[_cell(each[key]) for key in shown] for each in found])


@app.command()
def draft(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the draft goes; must not exist.")],
) -> None:
    """Write the program's own edition as a file, to begin the next one from. Give it another name and first day.

    Example: jukinet statutes draft draft.toml
    """
    with failures_told():
        from jukinet.purpose.edition import program_edition

        require_new_file(file)
        file.write_bytes(program_edition())
        show(f"Change {file}, then check it with `jukinet statutes check {file}`.")


def _name_of(content: bytes) -> str | None:
    """The name of an edition however wrong its lines are; None if not even that can be read."""
    from jukinet.purpose.edition import read_parts
    from jukinet.purpose.statute import StatuteTableError

    try:
        return read_parts(content).name
    except StatuteTableError:
        return None


def _is_live(row: "StatuteRow", day: date) -> bool:
    return row.status == "in_force" and row.valid_from <= day <= row.valid_to


def _row_as_json(table: "StatuteTable", row: "StatuteRow", day: date) -> dict[str, Any]:
    allowance = table.allowance(row)
    return {
        "row": row.key,
        "live": _is_live(row, day),
        "status": row.status,
        "article": row.article,
        "bodies": list(row.bodies),
        "law_ja": row.law_ja,
        "label_ja": row.label_ja,
        "label_en": row.label_en,
        "individual_number": allowance.individual_number,
        "individual_number_certainty": row.individual_number_certainty,
        "resident_code": allowance.resident_code,
        "provisions": sorted(allowance.provisions),
        "valid_from": None if row.valid_from == date.min else row.valid_from.isoformat(),
        "valid_to": None if row.valid_to == date.max else row.valid_to.isoformat(),
        "items": sorted(row.items, key=int),
    }


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value or "")
