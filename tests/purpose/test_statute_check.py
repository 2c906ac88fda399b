"""A draft that contradicts itself is found before it decides anything, and the program's own edition is clean."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from jukinet.cli.development_agencies import BANK, development_agencies
from jukinet.purpose.agencies import SPIFFE_PREFIX, Agency
from jukinet.purpose.edition import format_edition, load_statute, program_edition
from jukinet.purpose.statute_check import Finding, check_edition, check_grants
from tests.purpose.drafts import OWN, draft, draft_text

DAY = date(2026, 4, 1)


def kinds(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.kind, finding.where) for finding in findings}


def test_the_programs_own_edition_is_clean_today_and_on_its_first_day() -> None:
    assert check_edition(program_edition()) == []
    assert check_edition(program_edition(), on=date(2026, 11, 27)) == []
    directory = {agency.spiffe_id: agency for agency in development_agencies("131016")}
    # The bank of the development mesh has two rows by mistake.
    found = [(finding.where, finding.text.split()[1]) for finding in check_grants(load_statute(), directory, on=DAY)]
    assert found == [(BANK, "B1-72"), (BANK, "B1-77")]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"valid_to": "2026-03-31"}, "expired"),
        ({"valid_from": "2027-01-01", "valid_to": "2026-12-31"}, "contradiction"),
        ({"article": "30-10"}, "contradiction"),
        ({"resident_code": "yes"}, "contradiction"),
        ({"bodies": ""}, "contradiction"),
        ({"law_ja": ""}, "contradiction"),
        ({"law_ja": " "}, "contradiction"),
        ({"label_ja": "  "}, "contradiction"),
        ({"label_en": " "}, "contradiction"),
        ({"status": "deleted"}, "contradiction"),
        ({"status": "ordinance_only"}, "contradiction"),
        ({"bodies": "nobody"}, "malformed"),
        ({"status": "soon"}, "malformed"),
        ({"bodies": "municipal-mayor"}, "contradiction"),
        ({"bodies": "japan-pension-service prefectural-governor"}, "contradiction"),
        ({"bodies": "japan-pension-service japan-pension-service"}, "contradiction"),
        ({"items": "14"}, "contradiction"),
        ({"individual_number_certainty": "default"}, "contradiction"),
        ({"individual_number_certainty": "xyz"}, "malformed"),
        ({"row": "78"}, "malformed"),
        ({"valid_from": "2026-W49-2"}, "malformed"),
        ({"as_of": "soon"}, "malformed"),
    ],
)
def test_a_row_that_denies_itself_or_its_article_is_named(change: Mapping[str, str], kind: str) -> None:
    findings = check_edition(draft_text(rows={"B1-77": change}))
    assert kinds(findings) >= {(kind, "B1-77")}
    assert {finding.where for finding in findings} == {"B1-77"}


def test_an_article_that_takes_away_what_rows_give_is_a_contradiction() -> None:
    number = check_edition(draft_text(articles={"1": {"individual_number": "no"}}))
    assert ("contradiction", "B1-77") in kinds(number)
    assert ("contradiction", "B1-30") not in kinds(number)
    provisions = check_edition(
        draft_text(rows={"B6-1": {"provisions": "batch"}}, articles={"6": {"provisions": "immediate"}})
    )
    assert kinds(provisions) == {("contradiction", "B6-1")}


@pytest.mark.parametrize(
    ("table", "row", "article"),
    [
        ("1", "B1-77", "30-9"),
        ("2", "B2-1", "30-10"),
        ("3", "B3-1", "30-11"),
        ("4", "B4-1", "30-12"),
        ("5", "B5-1", "30-15(1)"),
        ("6", "B6-1", "30-15(2)"),
    ],
)
def test_an_article_that_gives_the_resident_code_for_a_table_contradicts_the_act(
    table: str, row: str, article: str
) -> None:
    code = {"resident_code": "yes"}
    for content in (
        draft_text(articles={table: code}),
        draft_text(rows={row: code}, articles={table: code}),
    ):
        (finding,) = check_edition(content)
        assert (finding.kind, finding.where) == ("contradiction", f"article {article}")
        assert f"no affair of table {table}" in finding.text


@pytest.mark.parametrize(
    ("table", "change", "found"),
    [
        ("1", {"article": "30-38"}, "30-38"),
        ("2", {"article": "30-11"}, "30-11"),
        ("3", {"provider": "prefecture"}, "30-11"),
        ("4", {"provider": "municipality"}, "30-12"),
        ("5", {"article": "30-15(2)"}, "30-15(2)"),
        ("6", {"provider": "center"}, "30-15(2)"),
    ],
)
def test_a_table_that_is_opened_otherwise_than_by_the_act_is_a_contradiction_though_its_rows_agree(
    table: str, change: Mapping[str, str], found: str
) -> None:
    cited = {"article": change["article"]} if "article" in change else {}
    rows = {record["purpose_key"]: cited for record in OWN.rows if record["table"] == table}
    (finding,) = check_edition(draft_text(rows=rows, articles={table: change}))
    assert (finding.kind, finding.where) == ("contradiction", f"article {found}")
    assert f"the Act opens table {table} by article" in finding.text


def test_an_edition_that_opens_a_table_by_another_article_and_was_approved_is_read_as_ever() -> None:
    assert draft(articles={"1": {"article": "30-38"}}).articles[1].article == "30-38"


def test_two_rows_of_one_affair_that_give_different_things_contradict_each_other() -> None:
    row = next(record for record in OWN.rows if record["purpose_key"] == "B1-77")
    twin = {**row, "purpose_key": "B1-400", "row": "400", "items": "0"}
    same = OWN._replace(rows=[*OWN.rows, twin])
    assert check_edition(format_edition(same)) == []
    other = OWN._replace(rows=[*OWN.rows, {**twin, "individual_number": "no"}])
    assert kinds(check_edition(format_edition(other))) == {("contradiction", "B1-400")}
    for near in (
        {"bodies": "japan-pension-service"},
        {"bodies": f"{row['bodies']} national-tax-agency"},
        {"law_ja": f" {row['law_ja']} "},
        {"label_ja": " ".join(row["label_ja"])},
    ):
        assert check_edition(format_edition(OWN._replace(rows=[*OWN.rows, {**twin, **near}]))) == []
        found = check_edition(
            format_edition(OWN._replace(rows=[*OWN.rows, {**twin, **near, "individual_number": "no"}]))
        )
        assert kinds(found) == {("contradiction", "B1-400")}
    others = {"bodies": "national-tax-agency", "individual_number": "no"}
    assert check_edition(format_edition(OWN._replace(rows=[*OWN.rows, {**twin, **others}]))) == []
    later = {**twin, "individual_number": "no", "valid_from": "2030-01-01"}
    ended = [{**record, "valid_to": "2029-12-31"} if record is row else record for record in OWN.rows]
    assert check_edition(format_edition(OWN._replace(rows=[*ended, later]))) == []


@pytest.mark.parametrize(("one", "other"), [(0, 12), (12, 0), (12, 60)])
def test_two_rows_of_one_affair_that_may_not_be_sealed_alike_overlap(one: int, other: int) -> None:
    row = next(record for record in OWN.rows if record["purpose_key"] == "B1-77")
    twin = {**row, "purpose_key": "B1-400", "row": "400", "items": "0"}

    def found(twin: Mapping[str, str], *, own: int, months: int) -> set[tuple[str, str]]:
        seals = [
            {"purpose_key": key, "months": str(most), "ground": "a test"}
            for key, most in (("B1-77", own), ("B1-400", months))
            if most
        ]
        return kinds(check_edition(format_edition(OWN._replace(rows=[*OWN.rows, twin], seals=seals))))

    assert found(twin, own=one, months=other) == {("overlap", "B1-400")}
    assert found(twin, own=12, months=12) == set()
    assert found({**twin, "bodies": "national-tax-agency"}, own=one, months=other) == set()
    number = found({**twin, "individual_number": "no"}, own=one, months=other)
    assert number == {("contradiction", "B1-400"), ("overlap", "B1-400")}


@pytest.mark.parametrize("status", ["deleted", "ordinance_only"])
def test_a_row_that_is_not_in_force_may_not_be_sealed(status: str) -> None:
    key = next(record["purpose_key"] for record in OWN.rows if record["status"] == status)
    assert kinds(check_edition(draft_text(seals={key: 12, "B1-77": 12}))) == {("contradiction", key)}


@pytest.mark.parametrize("column", ["name_en", "name_ja"])
@pytest.mark.parametrize("blank", ["", " ", "\u3000"])
def test_a_body_with_a_blank_name_is_malformed(column: str, blank: str) -> None:
    bodies = [{**OWN.bodies[0], column: blank}, *OWN.bodies[1:]]
    assert kinds(check_edition(format_edition(OWN._replace(bodies=bodies)))) == {("malformed", "edition")}


@pytest.mark.parametrize("column", ["law_ja", "label_ja", "label_en"])
def test_full_width_spaces_are_no_text_of_a_row(column: str) -> None:
    assert kinds(check_edition(draft_text(rows={"B1-77": {column: "\u3000"}}))) == {("malformed", "edition")}


def test_a_row_that_lost_its_items_says_more_than_are_listed() -> None:
    items = [item for item in OWN.items if item["purpose_key"] != "B1-77"]
    (finding,) = check_edition(format_edition(OWN._replace(items=items)))
    told = "its column items says 15, and 0 of its items are listed"
    assert finding == Finding("contradiction", "B1-77", told)


@pytest.mark.parametrize("change", [{"tier": "national"}, {"holders": "one"}])
def test_a_body_that_becomes_another_under_its_name_is_a_contradiction(change: Mapping[str, str]) -> None:
    bodies = [{**body, **change} if body["body"] == "municipal-mayor" else body for body in OWN.bodies]
    rows = [record for record in OWN.rows if "municipal-mayor" not in record["bodies"].split()]
    items = [item for item in OWN.items if item["purpose_key"] in {record["purpose_key"] for record in rows}]
    found = check_edition(format_edition(OWN._replace(bodies=bodies, rows=rows, items=items)))
    assert kinds(found) == {("contradiction", "municipal-mayor")}


def test_a_body_that_stands_twice_is_malformed() -> None:
    twice = OWN._replace(bodies=[*OWN.bodies, {**OWN.bodies[0], "name_ja": "別物"}])
    assert kinds(check_edition(format_edition(twice))) == {("malformed", "edition")}


def test_a_key_with_a_star_is_known_from_the_ordinance_alone() -> None:
    found = check_edition(draft_text(rows={"B1-40-2*": {"status": "in_force", "bodies": "national-tax-agency"}}))
    assert ("contradiction", "B1-40-2*") in kinds(found)
    assert any("ends in *" in finding.text for finding in found)


def test_a_row_that_stands_twice_overlaps_where_both_are_valid() -> None:
    row = next(record for record in OWN.rows if record["purpose_key"] == "B1-77")
    twice = format_edition(OWN._replace(rows=[*OWN.rows, {**row, "valid_from": "2030-01-01"}]))
    assert kinds(check_edition(twice)) == {("overlap", "B1-77")}
    ended = [{**record, "valid_to": "2029-12-31"} if record is row else record for record in OWN.rows]
    apart = format_edition(OWN._replace(rows=[*ended, {**row, "valid_from": "2030-01-01"}]))
    assert kinds(check_edition(apart)) == {("contradiction", "B1-77")}


def test_all_that_is_malformed_is_told_at_once() -> None:
    findings = check_edition(draft_text(rows={"B1-77": {"status": "soon"}, "B1-72": {"table": "2"}}))
    assert kinds(findings) == {("malformed", "B1-77"), ("malformed", "B1-72")}
    assert kinds(check_edition(b"no edition")) == {("malformed", "edition")}


def test_expiry_is_held_against_the_day_that_is_asked_for() -> None:
    content = draft_text(rows={"B1-77": {"valid_to": "2027-03-31"}})
    assert check_edition(content) == []
    assert check_edition(content, on=date(2027, 3, 31)) == []
    early = draft_text(rows={"B1-77": {"valid_to": "2026-03-31"}})
    assert kinds(check_edition(early, on=date(2026, 3, 1))) == {("expired", "B1-77")}
    assert kinds(check_edition(content, on=date(2027, 4, 1))) == {("expired", "B1-77")}


def test_a_grant_of_a_row_that_is_gone_is_named() -> None:
    rows = frozenset({"B1-72", "B1-74", "B1-75", "B1-77", "B1-40-2*"})
    bodies = frozenset(load_statute().rows["B1-77"].bodies)
    agency = Agency("p", SPIFFE_PREFIX + "p", "p", "p", "public", bodies, rows, date(2019, 1, 7))
    table = draft(
        rows={"B1-72": None, "B1-74": {"status": "deleted", "bodies": "", "individual_number": "no"},
              "B1-75": {"valid_to": "2026-04-01"}}
    )  # fmt: skip
    found = check_grants(table, {agency.spiffe_id: agency}, on=date(2026, 4, 2))
    assert [(finding.kind, finding.where) for finding in found] == [("grant", "p")] * 4
    assert [finding.text.split()[1] for finding in found] == ["B1-40-2*", "B1-72", "B1-74", "B1-75"]
    ended = replace(agency, valid_to=date(2026, 4, 1))
    assert check_grants(table, {agency.spiffe_id: ended}, on=date(2026, 4, 2)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({"kind": "private"}, "private organisation", id="private"),
        pytest.param({"bodies": frozenset({"tax-agency"})}, "other bodies", id="a row of others"),
        pytest.param({"prefecture": ""}, "without `prefecture`", id="a local body of no prefecture"),
    ],
)
def test_a_grant_that_opens_nothing_to_its_agency_is_named(change: dict[str, Any], told: str) -> None:
    agency = next(each for each in development_agencies("131016") if each.id == "municipality-131016")
    assert check_grants(load_statute(), {agency.spiffe_id: agency}, on=DAY) == []
    changed = replace(agency, **change)
    found = check_grants(load_statute(), {agency.spiffe_id: changed}, on=DAY)
    assert len(found) == len(agency.rows)
    assert all(told in finding.text for finding in found)
