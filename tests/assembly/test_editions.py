"""Two operators bring a new edition of the law into force, each node keeps it, and nobody does it alone."""

from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError

from agency_gateway.node import MIGRATIONS
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.assembly.editions import (
    approve_edition,
    open_editions,
    propose_edition,
    proposed_edition,
    sound_edition,
    title_of,
)
from jukinet.mesh.errors import Refused
from jukinet.purpose.edition import load_statute, program_edition
from jukinet.purpose.statute import StatuteTable
from jukinet.purpose.statute_check import check_edition
from jukinet.store.editions import Act, read_proposed
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.schema import operator_acts
from tests.purpose.drafts import draft_text

ALICE, BOB = "spiffe://operators.jukinet/operator/a", "spiffe://operators.jukinet/operator/b"
NEXT = draft_text("2026-04", date(2026, 4, 1), rows={"B1-77": None})
TODAY = date(2026, 3, 1)


class Node:
    """What a node that decides has of its database."""

    def __init__(self, url: str, scripts: Any) -> None:
        self.url = url
        self.engine: Engine = open_writer(url)
        ensure_schema(self.engine, scripts)

    @property
    def in_force(self) -> StatuteTable:
        reader = open_reader(self.url)
        try:
            return open_editions(reader).on(TODAY)
        finally:
            reader.dispose()

    def editions(self) -> list[str]:
        reader = open_reader(self.url)
        try:
            return [table.edition for table in open_editions(reader)]
        finally:
            reader.dispose()

    def propose(self, content: bytes, operator: str = ALICE) -> bytes:
        table = sound_edition(content)
        with self.engine.begin() as connection:
            propose_edition(
                connection, title_of(table), content, operator=operator, in_force=title_of(self.in_force), now_us=5
            )
        return table.digest

    def approve(self, digest: bytes, operator: str = BOB) -> None:
        with self.engine.begin() as connection:
            table = proposed_edition(connection, digest)
            approve_edition(connection, title_of(table), operator=operator, in_force=title_of(self.in_force), now_us=7)

    def acts(self) -> list[tuple[str, str, str]]:
        with self.engine.connect() as connection:
            columns = (operator_acts.c.act, operator_acts.c.operator, operator_acts.c.edition)
            return [(act, who, what) for act, who, what in connection.execute(select(*columns)).all()]

    def refusal_of(self, act: Any, *arguments: Any) -> str:
        with pytest.raises(Refused) as refused:
            act(*arguments)
        return errors.ErrorReason.Name(refused.value.reason).removeprefix("ERROR_REASON_")


@pytest.fixture(params=[REGISTER, MIGRATIONS], ids=["center", "gateway"])
def node(database_url: str, request: pytest.FixtureRequest) -> Iterator[Node]:
    opened = Node(database_url, request.param)
    yield opened
    opened.engine.dispose()


def test_an_edition_decides_only_when_a_second_operator_has_approved_it(node: Node) -> None:
    digest = node.propose(NEXT)
    assert node.editions() == ["2019-01"]
    assert node.refusal_of(node.approve, digest, ALICE) == "SECOND_OPERATOR_NEEDED"
    assert node.editions() == ["2019-01"]
    node.approve(digest, BOB)
    assert node.editions() == ["2019-01", "2026-04"]
    assert node.acts() == [("propose edition", ALICE, digest.hex()), ("approve edition", BOB, digest.hex())]
    with node.engine.connect() as connection:
        (kept,) = read_proposed(connection)
    assert (kept.digest, kept.name, kept.in_force_from) == (digest, "2026-04", "2026-04-01")
    assert (kept.proposed, kept.approved) == (Act(ALICE, 5), Act(BOB, 7))


def test_only_what_was_proposed_can_be_approved(node: Node) -> None:
    node.propose(NEXT)
    other = sound_edition(draft_text("2026-04", date(2026, 4, 1))).digest
    assert node.refusal_of(node.approve, other) == "EDITION_UNKNOWN"
    assert node.refusal_of(node.approve, bytes(32)) == "EDITION_UNKNOWN"
    with node.engine.begin() as connection:
        never = sound_edition(draft_text("2027-04", date(2027, 4, 1)))
        approve = partial(
            approve_edition, connection, title_of(never), operator=BOB, in_force=title_of(node.in_force), now_us=7
        )
        assert node.refusal_of(approve) == "EDITION_UNKNOWN"
    assert node.editions() == ["2019-01"]


def test_an_edition_whose_rows_have_ended_since_can_be_proposed_where_it_was_lost(node: Node) -> None:
    ended = draft_text("2026-04", date(2026, 4, 1), rows={"B1-77": {"valid_to": "2026-06-30"}})
    assert check_edition(ended, on=date(2026, 7, 1))
    node.approve(node.propose(ended))
    assert node.editions() == ["2019-01", "2026-04"]


def test_an_edition_that_opens_a_table_to_other_bodies_is_not_proposed(node: Node) -> None:
    mayors = draft_text("2026-04", date(2026, 4, 1), rows={"B1-77": {"bodies": "municipal-mayor"}})
    assert node.refusal_of(node.propose, mayors) == "EDITION_INVALID"
    assert node.editions() == ["2019-01"]


def test_proposing_again_changes_nothing_whoever_does_it(node: Node) -> None:
    digest = node.propose(NEXT)
    node.propose(NEXT)
    node.propose(NEXT, BOB)
    assert node.acts() == [("propose edition", ALICE, digest.hex())]
    assert node.refusal_of(node.approve, digest, ALICE) == "SECOND_OPERATOR_NEEDED"


def test_what_was_approved_cannot_be_changed_and_a_correction_has_its_own_name(node: Node) -> None:
    digest = node.propose(NEXT)
    node.approve(digest)
    changed = draft_text("2026-04", date(2026, 4, 1))
    assert node.refusal_of(node.propose, changed) == "EDITION_EXISTS"
    assert node.refusal_of(node.approve, digest, BOB) == "EDITION_EXISTS"
    node.approve(node.propose(draft_text("2026-04.1", date(2026, 4, 1)), BOB), ALICE)
    reader = open_reader(node.url)
    assert open_editions(reader).on(date(2026, 4, 1)).edition == "2026-04.1"
    reader.dispose()


def test_an_edition_that_is_in_force_is_corrected_by_one_of_the_same_first_day(node: Node) -> None:
    node.approve(node.propose(draft_text("2025-01", date(2025, 1, 1))))
    assert node.in_force.edition == "2025-01"
    node.approve(node.propose(draft_text("2025-01.1", date(2025, 1, 1), rows={"B1-77": None})))
    assert node.in_force.edition == "2025-01.1"


def test_of_two_proposals_of_one_name_the_first_approved_one_has_it(node: Node) -> None:
    first, second = node.propose(NEXT), node.propose(draft_text("2026-04", date(2026, 4, 1)))
    node.approve(second)
    assert node.refusal_of(node.approve, first) == "EDITION_EXISTS"


def test_the_programs_own_edition_cannot_be_proposed_again(node: Node) -> None:
    assert node.refusal_of(node.propose, program_edition()) == "EDITION_EXISTS"
    assert node.refusal_of(node.propose, draft_text("2019-01", date(2026, 4, 1))) == "EDITION_EXISTS"


def test_an_edition_older_than_the_one_in_force_is_refused_even_if_it_became_so_after_the_proposal(node: Node) -> None:
    assert node.refusal_of(node.propose, draft_text("2018-12", date(2018, 12, 1))) == "EDITION_TOO_OLD"
    waiting = node.propose(draft_text("2024-01", date(2024, 1, 1)))
    node.approve(node.propose(draft_text("2025-01", date(2025, 1, 1))))
    assert node.refusal_of(node.approve, waiting) == "EDITION_TOO_OLD"
    assert node.editions() == ["2019-01", "2025-01"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no edition",
        draft_text(rows={"B1-77": {"bodies": ""}}),
        draft_text(rows={"B1-77": {"valid_to": "2020-01-01"}}),
    ],
    ids=["empty", "no TOML", "contradiction", "expired"],
)
def test_an_edition_with_findings_is_not_proposed(node: Node, content: bytes) -> None:
    assert node.refusal_of(node.propose, content) == "EDITION_INVALID"
    assert node.acts() == []


def test_editions_and_acts_cannot_be_rewritten(node: Node) -> None:
    node.approve(node.propose(NEXT))
    for statement in (
        "UPDATE editions SET content = ''",
        "DELETE FROM editions",
        "UPDATE operator_acts SET operator = 'x'",
        "DELETE FROM operator_acts",
    ):
        with pytest.raises(DBAPIError), node.engine.begin() as connection:
            connection.execute(text(statement))
    assert node.editions() == ["2019-01", "2026-04"]


def test_an_approved_edition_survives_a_restart_byte_for_byte(node: Node) -> None:
    node.approve(node.propose(NEXT))
    node.engine.dispose()
    node.engine = open_writer(node.url)
    reader = open_reader(node.url)
    kept = open_editions(reader).named("2026-04")
    reader.dispose()
    assert kept is not None
    assert kept == sound_edition(NEXT)
    assert kept.rows.keys() == load_statute().rows.keys() - {"B1-77"}
