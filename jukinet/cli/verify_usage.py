"""`jukinet ledger verify-usage`: an answer to "who received my data?", checked offline."""

from pathlib import Path
from typing import Annotated

import typer

from jukinet.cli.ledger import QuorumOption, WitnessOption
from jukinet.cli.output import JSON_HELP, show


def verify_usage(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Answer, as `jukinet disclosure usage` wrote it: all its parts.")
    ],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Public key of the disclosure node.")],
    ledger_key: Annotated[
        list[Path],
        typer.Option("--ledger-key", metavar="FILE", help="Public key of a ledger; repeat for each."),
    ],
    ledger: Annotated[
        list[Path] | None,
        typer.Option("--ledger", metavar="FILE", help="Ledger file in which to count again; repeat for more."),
    ] = None,
    witness: WitnessOption = None,
    quorum: QuorumOption = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Check offline who received a resident's record (提供状況の開示): signatures, proofs, and that nothing is missing.

    Completeness is checked in the ledger files that are given: the entries with the answer's tokens are its rows, no
    more and no fewer. That the tokens are the resident's is the signed word of the disclosure node alone.

    The report says up to which moment the answer holds, by the word of the node, and names what the ledger files have
    about the resident after that.

    Exit codes: 0 sound, 1 not sound (the report says what), 2 a file cannot be read as what it should be, 3 what a
    ledger showed the node after that contradicts it, and nothing else is wrong.

    Example: jukinet ledger verify-usage usage.json --key mesh/disclosure.vkey --ledger-key mesh/ledger-gateway-1.vkey
    """
    from jukinet.ledger.verify.usage import verify_usage as verify

    report = verify(file, key, ledger_key, ledgers=ledger or [], witnesses=witness or [], quorum=quorum)
    show(report.to_json() if as_json else report.to_text().rstrip("\n"))
    raise typer.Exit(report.exit_code)
