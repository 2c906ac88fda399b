"""What the commands about the law read: editions (版) from files, and the agency directory that names their rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jukinet.cli.output import Exit, Failure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jukinet.purpose.agencies import AgencyDirectory
    from jukinet.purpose.editions import Editions
    from jukinet.purpose.statute import StatuteTable

ApprovedOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--edition",
        metavar="FILE",
        help="Edition approved before, of whose rows the directory may grant any; repeat it for each.",
    ),
]


def read_file(file: Path) -> bytes:
    """The bytes of a file. Raises Failure."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}", Exit.USAGE) from None


def read_edition(file: Path | None) -> "StatuteTable":
    """The edition in a file, that of the program for None. Raises Failure."""
    from jukinet.purpose.edition import load_statute, parse_edition
    from jukinet.purpose.statute import StatuteTableError

    try:
        return load_statute() if file is None else parse_edition(read_file(file))
    except StatuteTableError as error:
        raise Failure(f"{file}: {error}", Exit.USAGE) from None


def known_editions(approved: "Iterable[Path]", table: "StatuteTable") -> "Editions":
    """The program's edition, those approved since and one in question: what a node knows, and what it is to learn.

    Raises Failure: a file cannot be read, or two editions have one name.
    """
    from jukinet.purpose.edition import load_statute
    from jukinet.purpose.editions import Editions
    from jukinet.purpose.statute import StatuteTableError

    try:
        return Editions([load_statute(), *map(read_edition, approved), table])
    except StatuteTableError as error:
        raise Failure(f"{error}: what differs needs a name of its own", Exit.USAGE) from None


def read_directory(path: Path, editions: "Editions") -> "AgencyDirectory":
    """A directory that may name rows of any of these editions. Raises Failure."""
    from jukinet.purpose.agencies import AgencyDirectoryError, load_agencies

    try:
        return load_agencies(path, editions)
    except AgencyDirectoryError as error:
        known = ", ".join(table.edition for table in editions)
        text = f"{path}: {error}\nKnown are the editions {known}: give what was approved besides with --edition."
        raise Failure(text, Exit.USAGE) from None
