"""What two operators do about the law that a node decides by (別表の版の切替え): one proposes, another approves.

Rule 1: it takes two different operators. Who acts is whom the certificate names.
Rule 2: the second one approves exactly one digest, and with it exactly the bytes that were proposed.
Rule 3: what is approved is never changed nor taken back. A correction is an edition of its own, under its own name.
Rule 4: no edition comes into force before the one that is in force: what was lawful stays what it was.
Rule 5: only a sound edition is proposed: the checks of `jukinet statutes check` find nothing in it.

Each act works within the caller's transaction, and refuses before it has written anything.
"""

from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.mesh.errors import Refused
from jukinet.purpose.edition import load_statute, parse_edition
from jukinet.purpose.editions import Editions
from jukinet.purpose.statute import StatuteTable
from jukinet.purpose.statute_check import check_edition
from jukinet.store.editions import (
    APPROVE,
    PROPOSE,
    Proposed,
    keep_edition,
    note_edition_act,
    read_approved,
    read_content,
    read_proposed,
)
from jukinet.store.reading import read


def open_editions(engine: Engine) -> Editions:
    """The editions that decide at a node: that of the program, and those that its operators approved.

    Args:
        engine: of the node's database; only read from.

    Raises:
        StatuteTableError: an approved edition cannot be read by this program, or has the name of the program's own.
        StoreError: the database failed.
    """
    return Editions([load_statute(), *read(engine, approved_editions)])


def approved_editions(connection: Connection) -> list[StatuteTable]:
    """The editions that were approved here, in the order of the approvals. Raises StatuteTableError, see above."""
    return list(map(parse_edition, read_approved(connection)))


def sound_edition(content: bytes) -> StatuteTable:
    """Reads an edition that is to be proposed.

    Args:
        content: of its file.

    Raises:
        Refused: EDITION_INVALID, when the checks find anything.
    """
    # By its first day: one that was lost is proposed again after rows of it have ended.
    findings = check_edition(content)
    if findings:
        # What stands in the file is told by the command line alone: somebody may have sent another file by mistake.
        detail = f"{len(findings)} findings: {', '.join(sorted({finding.kind for finding in findings}))}"
        raise Refused(errors.ERROR_REASON_EDITION_INVALID, detail=detail)
    return parse_edition(content)


class Title(NamedTuple):
    """By what an edition is known and compared with others; it may travel to the process that writes."""

    edition: str
    in_force_from: date
    digest: bytes


def title_of(table: StatuteTable) -> Title:
    """The title of an edition."""
    return Title(table.edition, table.in_force_from, table.digest)


def propose_edition(
    connection: Connection, table: Title, content: bytes, *, operator: str, in_force: Title, now_us: int
) -> bool:
    """Proposes an edition; to propose the same one again changes nothing.

    Args:
        connection: of the node's writer.
        table: the title of what `sound_edition` gave.
        content: its file.
        operator: SPIFFE ID of the caller.
        in_force: the edition that decides today.
        now_us: microseconds since 1970.

    Returns:
        Whether anything was done.

    Raises:
        Refused: EDITION_EXISTS, EDITION_TOO_OLD.
    """
    proposed = read_proposed(connection)
    _require_free(table, proposed)
    _require_later(table, in_force)
    if any(each.digest == table.digest for each in proposed):
        return False
    keep_edition(
        connection,
        digest=table.digest,
        name=table.edition,
        in_force_from=table.in_force_from.isoformat(),
        content=content,
    )
    note_edition_act(connection, PROPOSE, table.digest, operator=operator, now_us=now_us)
    return True


def approve_edition(connection: Connection, table: Title, *, operator: str, in_force: Title, now_us: int) -> bool:
    """Approves a proposed edition, as a second operator.

    Args:
        connection: of the node's writer.
        table: the title of the edition, as it was proposed.
        operator: SPIFFE ID of the caller.
        in_force: the edition that decides today.
        now_us: microseconds since 1970.

    Returns:
        True: it is done.

    Raises:
        Refused: EDITION_UNKNOWN, EDITION_EXISTS, SECOND_OPERATOR_NEEDED, EDITION_TOO_OLD.
    """
    proposed = read_proposed(connection)
    standing = next((each for each in proposed if each.digest == table.digest), None)
    if standing is None:
        raise Refused(errors.ERROR_REASON_EDITION_UNKNOWN)
    _require_free(table, proposed)
    if standing.proposed.operator == operator:
        raise Refused(errors.ERROR_REASON_SECOND_OPERATOR_NEEDED)
    _require_later(table, in_force)
    note_edition_act(connection, APPROVE, table.digest, operator=operator, now_us=now_us)
    return True


def proposed_edition(connection: Connection, digest: bytes) -> StatuteTable:
    """The edition of this digest, as it was proposed. Raises Refused: EDITION_UNKNOWN."""
    content = read_content(connection, digest)
    if content is None:
        raise Refused(errors.ERROR_REASON_EDITION_UNKNOWN)
    return parse_edition(content)


def _require_free(table: Title, proposed: list[Proposed]) -> None:
    taken = {each.name for each in proposed if each.approved} | {load_statute().edition}
    if table.edition in taken:
        raise Refused(errors.ERROR_REASON_EDITION_EXISTS)


def _require_later(table: Title, in_force: Title) -> None:
    if table.in_force_from < in_force.in_force_from:
        raise Refused(errors.ERROR_REASON_EDITION_TOO_OLD)
