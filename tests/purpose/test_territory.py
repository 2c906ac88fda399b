"""Local bodies hear of the residents that their table speaks of, and of nobody else."""

from datetime import date

import pytest

from jukinet.purpose.agencies import Agency as Listed
from jukinet.purpose.agencies import AgencyDirectoryError, format_agencies, parse_agencies
from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.edition import load_statute
from jukinet.purpose.editions import Editions

TOKYO, SHINJUKU, YOKOSUKA = "130001", "131041", "142018"
STATUTE = load_statute()
EDITIONS = Editions([STATUTE])
TODAY = date(2026, 4, 1)


def a_row_of(table: int) -> str:
    return next(key for key, row in sorted(STATUTE.rows.items()) if row.table == table and row.status == "in_force")


def agency_with(prefecture: str) -> Listed:
    return Listed(
        id="somebody",
        spiffe_id="spiffe://agencies.jukinet/agency/somebody",
        name_en="Somebody",
        name_ja="ある機関",
        kind="public",
        bodies=frozenset(),
        rows=frozenset(a_row_of(table) for table in range(1, 7)),
        valid_from=date(2019, 1, 7),
        prefecture=prefecture,
    )


@pytest.mark.parametrize(
    ("table", "own", "other"),
    [(1, True, True), (2, True, False), (3, False, True), (4, False, True), (5, True, False), (6, True, False)],
)
def test_each_table_covers_its_own_residents_only(table: int, own: bool, other: bool) -> None:
    agency = agency_with(TOKYO)
    policy = PurposePolicy(EDITIONS, {agency.spiffe_id: agency})
    assert policy.territory(agency.spiffe_id, a_row_of(table), TODAY)(SHINJUKU) is own
    assert policy.territory(agency.spiffe_id, a_row_of(table), TODAY)(YOKOSUKA) is other


def test_a_local_body_without_a_prefecture_is_told_nothing() -> None:
    agency = agency_with("")
    policy = PurposePolicy(EDITIONS, {agency.spiffe_id: agency})
    covered = [policy.territory(agency.spiffe_id, a_row_of(table), TODAY)(SHINJUKU) for table in range(1, 7)]
    assert covered == [True, False, False, False, False, False]


def test_nobody_is_covered_for_an_unknown_agency_or_row() -> None:
    agency = agency_with(TOKYO)
    policy = PurposePolicy(EDITIONS, {agency.spiffe_id: agency})
    assert not policy.territory("spiffe://agencies.jukinet/agency/other", a_row_of(1), TODAY)(SHINJUKU)
    assert not policy.territory(agency.spiffe_id, "B1-999", TODAY)(SHINJUKU)


def test_the_prefecture_is_read_back_as_written_and_must_be_one() -> None:
    text = format_agencies([agency_with(TOKYO)])
    (agency,) = parse_agencies(text, EDITIONS).values()
    assert agency.prefecture == TOKYO
    for wrong in (SHINJUKU, "130002", "13"):
        with pytest.raises(AgencyDirectoryError, match="prefecture"):
            parse_agencies(text.replace(TOKYO, wrong), EDITIONS)
