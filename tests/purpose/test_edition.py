"""An edition is its file: it reads back as it was written, and what cannot be understood is refused with what to do."""

import hashlib
import re
from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.purpose.edition import MOST_BYTES, format_edition, load_statute, parse_edition, program_edition, read_parts
from jukinet.purpose.statute import StatuteTableError
from jukinet.purpose.statute_check import check_edition
from tests.purpose.drafts import OWN, draft_text


def test_the_programs_own_edition_is_named_dated_and_sourced() -> None:
    table = load_statute()
    assert (table.edition, table.in_force_from) == ("2019-01", date(2019, 1, 7))
    assert all("text of" in source for source in table.sources)
    assert table.digest == hashlib.sha256(program_edition()).digest()


def test_an_edition_that_was_written_reads_back_the_same() -> None:
    again = read_parts(format_edition(OWN))
    assert again._replace(digest=b"") == OWN._replace(digest=b"")


def test_every_byte_of_the_file_is_in_the_digest() -> None:
    assert parse_edition(program_edition() + b"# \n").digest != load_statute().digest


def replaced(old: str, new: str) -> Callable[[str], str]:
    def replace(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return replace


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (replaced('name = "2026-04"', 'name = "next"'), "year and month"),
        (replaced('name = "2026-04"', "name = 4"), "year and month"),
        (replaced("in_force_from = 2026-04-01", 'in_force_from = "2026-04-01"'), "must be a date"),
        (replaced("in_force_from = 2026-04-01", "in_force_from = 2026-04-01T00:00:00"), "must be a date"),
        (replaced("in_force_from = 2026-04-01\n", ""), "missing or unknown: in_force_from"),
        (replaced("sources = [", "source = ["), "missing or unknown: source, sources"),
        (replaced("sources = [", "sources = [] #"), "sources must be a list"),
        (replaced("purpose_key,table", "purpose,table"), "rows must have the columns"),
        (replaced("article,ground", "ground,article"), "articles must have the columns"),
        (replaced("rows = '''", "rows = 7\nmore = '''"), "missing or unknown: more"),
        (replaced("\nB1-2,1,", "\nB1-2,1,1,1,"), "fields too many"),
        (replaced("\nB1-2,1,", "\nB1-2\n,1,"), "fields too many, too few"),
        (replaced("Banking Act", "Banking\u202eAct"), "not printable"),
        (replaced("name =", "name"), "not TOML"),
        (replaced("immediate batch changes", "by post"), "article 30-9 .*no method of provision is called by, post"),
        (replaced(",1,no,number-act-9", ",9,no,number-act-9"), "there is no table 9"),
        (replaced(",1,no,number-act-9", ",2,no,number-act-9"), "table 2 is for municipalities of the prefecture that"),
        (
            replaced("national agencies and listed", "listed"),
            "table 1 is for national agencies and listed corporations",
        ),
        (
            replaced("other prefectures,3,", "municipalities of the prefecture that notified,2,"),
            "two articles open table 2",
        ),
        (replaced(",,yes,unstated,,", ",,yes,unstated,batch,"), "opens no table and yet a provision"),
        (replaced("verified,memory", "surely,memory"), "certainty must be one of"),
        (replaced("\nB1-1-2,1,B1-1-2", "\nB1-1-2,one,B1-1-2"), "no number"),
        (replaced("\nB1-1-2,1,1-2", "\nB1-1-2;,1,1-2"), "not of the form"),
        (replaced("\nB1-1-2,1,1-2", "\nB1-1-200,1,1-200"), "items of rows that do not exist: B1-1-2$"),
        (replaced("\nB1-77,1,77", "\nB1-77,1,78"), "row B1-77 .* '78' in the column row"),
        (replaced("\nB1-77,1,77", "\nB1-077,1,077"), "'B1-077', which is not of the form"),
        (replaced("\nB1-77,1,B1-77", "\nB1-77,01,B1-77"), "no number"),
        (replaced("\nB1-77,1,B1-77", "\nB1-77,2,B1-77"), "row B1-77 has item 2 twice"),
        (replaced("\nB1-1,,B1-1", "\nB1-77,1,B1-1"), "row B1-77 has item 1 twice"),
        (replaced("\nB1-76,1,B1-76", "\nB1-76,1,B1-77"), "row B1-77 has item 1 twice"),
        (replaced("\nB1-77,1,B1-77,2020-10", "\nB1-77,1,B1-77,soon"), "as_of is no year and month"),
        (replaced("municipal-mayor,Municipal mayor", "tax office,Municipal mayor"), "'tax office': small letters"),
        (
            replaced("municipality,many", "city,many"),
            "body municipal-mayor: tier must be one of national, governor, pref",
        ),
        (replaced("municipality,many", "municipality,few"), "body municipal-mayor: .*holders one of one, many"),
        (replaced("municipality,many", ",many"), "body municipal-mayor: tier must be one of"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_what_to_correct(change: Callable[[str], str], told: str) -> None:
    with pytest.raises(StatuteTableError, match=told):
        parse_edition(change(draft_text().decode()).encode())


def test_a_body_that_stands_twice_under_two_names_is_refused() -> None:
    twice = format_edition(OWN._replace(bodies=[*OWN.bodies, {**OWN.bodies[0], "name_en": "Another"}]))
    with pytest.raises(StatuteTableError, match="body financial-services-agency stands twice"):
        parse_edition(twice)


def without_tiers(text: str) -> bytes:
    """The file as it was before bodies had tier and holders."""
    head, bodies, rest = re.split(r"(bodies = '''.*?''')", text, maxsplit=1, flags=re.DOTALL)
    bodies, lines = re.subn(r",(tier,holders|\w+,(one|many))$", "", bodies, flags=re.MULTILINE)
    assert lines == len(OWN.bodies) + 1
    return f"{head}{bodies}{rest}".encode()


def test_an_edition_that_was_approved_before_bodies_had_tiers_is_read_as_ever() -> None:
    before = parse_edition(without_tiers(draft_text(rows={"B1-77": {"bodies": "municipal-mayor"}}).decode()))
    assert before.rows["B1-77"].bodies == ("municipal-mayor",)
    assert {(body.tier, body.is_single) for body in before.bodies.values()} == {(None, False)}
    assert [(each.kind, each.where) for each in check_edition(without_tiers(draft_text().decode()))] == [
        ("malformed", "edition")
    ]


def test_a_file_that_is_no_text_or_too_large_is_refused() -> None:
    with pytest.raises(StatuteTableError, match="not TOML in UTF-8"):
        parse_edition("別表".encode("shift_jis"))
    with pytest.raises(StatuteTableError, match="bytes; at most"):
        parse_edition(program_edition() + b"#" * MOST_BYTES)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@settings(max_examples=50)
def test_any_bytes_are_refused_by_a_typed_error(content: bytes) -> None:
    with pytest.raises(StatuteTableError):
        parse_edition(content)
