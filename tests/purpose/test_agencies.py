"""The agency directory is read strictly: what cannot be understood does not load."""

from datetime import date
from pathlib import Path

import pytest

from jukinet.purpose.agencies import AgencyDirectoryError, format_agencies, load_agencies, parse_agencies
from jukinet.purpose.edition import load_statute
from jukinet.purpose.editions import Editions

TABLE = load_statute()
EDITIONS = Editions([TABLE])
PENSION = {
    "id": '"japan-pension-service"',
    "spiffe_id": '"spiffe://agencies.jukinet/agency/japan-pension-service"',
    "name_en": '"Japan Pension Service"',
    "name_ja": '"日本年金機構"',
    "kind": '"public"',
    "bodies": '["japan-pension-service"]',
    "rows": '["B1-72", "B1-77"]',
    "valid_from": "2019-01-07",
}


def entry(**changes: str | None) -> str:
    lines = [f"{key} = {value}" for key, value in {**PENSION, **changes}.items() if value is not None]
    return "\n".join(["[[agency]]", *lines, ""])


def test_directory_is_read_by_spiffe_id(tmp_path: Path) -> None:
    path = tmp_path / "agencies.toml"
    path.write_text(entry(valid_to="2030-03-31"), encoding="utf-8")
    agency = load_agencies(path, EDITIONS)["spiffe://agencies.jukinet/agency/japan-pension-service"]
    assert agency.name_ja == "日本年金機構"
    assert agency.kind == "public"
    assert agency.bodies == {"japan-pension-service"}
    assert agency.rows == {"B1-72", "B1-77"}
    assert (agency.valid_from, agency.valid_to) == (date(2019, 1, 7), date(2030, 3, 31))


def test_listing_without_an_end_stays_open() -> None:
    (agency,) = parse_agencies(entry(), EDITIONS).values()
    assert agency.valid_to == date.max


def test_empty_directory_lists_nobody() -> None:
    assert parse_agencies("", EDITIONS) == {}


def test_private_organisation_with_rows_granted_by_mistake_loads() -> None:
    rows = "[" + ", ".join(f'"{key}"' for key in TABLE.rows) + "]"
    (agency,) = parse_agencies(entry(kind='"private"', bodies="[]", rows=rows), EDITIONS).values()
    assert agency.kind == "private"
    assert agency.rows == set(TABLE.rows)


def test_directory_that_was_written_reads_back_the_same() -> None:
    other = entry(
        id='"acme"',
        spiffe_id='"spiffe://agencies.jukinet/agency/acme"',
        name_en="""'A "C" \\ M'""",
        kind='"private"',
        bodies="[]",
        valid_to="2030-03-31",
    )
    directory = parse_agencies(entry() + other, EDITIONS)
    assert parse_agencies(format_agencies(directory.values()), EDITIONS) == directory


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"colour": '"red"'}, "unknown key colour"),
        ({"kind": None}, "missing key kind"),
        ({"kind": '"Public"'}, "kind must be public or private"),
        ({"kind": "1"}, "kind must be a text"),
        ({"name_en": '""'}, "name_en must be a text"),
        ({"id": '"Japan Pension"'}, "small letters"),
        ({"spiffe_id": '"spiffe://nodes.jukinet/center"'}, "spiffe_id must be spiffe://agencies.jukinet/agency/japan"),
        ({"rows": '["B1-77", "B9-1"]'}, "rows: no edition of the statute table has B9-1"),
        ({"rows": '["B1-77.12"]'}, "rows: no edition of the statute table has B1-77.12"),
        ({"rows": '"B1-77"'}, "rows must be a list"),
        ({"rows": "[1]"}, "rows must be a list"),
        ({"bodies": '["pensions-r-us"]'}, "bodies: no edition of the statute table has pensions-r-us"),
        ({"valid_from": '"2019-01-07"'}, "valid_from must be a date"),
        ({"valid_from": "2019-01-07T00:00:00"}, "valid_from must be a date"),
        ({"valid_to": "2018-12-31"}, "valid_to lies before valid_from"),
    ],
)
def test_entry_that_is_wrong_is_refused_with_what_to_correct(changes: dict[str, str | None], told: str) -> None:
    with pytest.raises(AgencyDirectoryError, match=told):
        parse_agencies(entry(**changes), EDITIONS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[agency", "not TOML"),
        ("version = 1", "unknown key in the agency directory: version"),
        ('agency = "me"', "one .* table per organisation"),
        ("agency = [1]", "one .* table per organisation"),
        ("[[agency]]", "agency number 1: missing key"),
        (entry() + entry(), "stands twice"),
    ],
)
def test_file_that_is_wrong_is_refused(text: str, told: str) -> None:
    with pytest.raises(AgencyDirectoryError, match=told):
        parse_agencies(text, EDITIONS)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AgencyDirectoryError, match="cannot be read"):
        load_agencies(tmp_path / "none.toml", EDITIONS)
    (tmp_path / "sjis.toml").write_bytes("日本".encode("shift_jis"))
    with pytest.raises(AgencyDirectoryError, match="cannot be read"):
        load_agencies(tmp_path / "sjis.toml", EDITIONS)
