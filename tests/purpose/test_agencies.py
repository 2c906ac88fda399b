"""The agency directory is read strictly: what cannot be understood does not load."""

import base64
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet.mesh.identity import Identity
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

REACTIONS = ("on_misses", "on_crowd", "on_case", "on_outside")
BUDGETS = '{ agency_batch_day = 70, operator_batch_day = 0, row_questions_day = { "B1-77" = 3, "B1-72" = 4 } }'
KEYS = [base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode() for _ in range(2)]
DIGESTS = ["c1" * 32, "0e" * 32]


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
    (agency,) = parse_agencies(private("acme", bodies="[]", rows=rows), EDITIONS).values()
    assert agency.kind == "private"
    assert agency.rows == set(TABLE.rows)


def named(name: str, **changes: str) -> str:
    return entry(id=f'"{name}"', spiffe_id=f'"spiffe://agencies.jukinet/agency/{name}"', **changes)


def private(name: str, **changes: str) -> str:
    return entry(id=f'"{name}"', spiffe_id=f'"{Identity("private", name).uri}"', kind='"private"', **changes)


def test_an_entry_whose_kind_and_certificate_contradict_each_other_does_not_load() -> None:
    flipped = private("acme").replace('kind = "private"', 'kind = "public"')
    with pytest.raises(AgencyDirectoryError, match=r"agency acme: the kind public contradicts spiffe.*private/acme"):
        parse_agencies(flipped, EDITIONS)
    with pytest.raises(
        AgencyDirectoryError, match=r"the kind private contradicts spiffe.*agency/japan-pension-service"
    ):
        parse_agencies(entry(kind='"private"'), EDITIONS)


def test_nobody_is_a_public_body_and_a_private_organisation() -> None:
    for both in (private("acme") + named("acme"), named("acme") + private("acme")):
        with pytest.raises(AgencyDirectoryError, match="agency acme stands twice"):
            parse_agencies(both, EDITIONS)


def test_two_agencies_are_never_one_body_that_only_one_can_be() -> None:
    told = "japan-pension-service and example-bank both have the body japan-pension-service, which one organisation"
    with pytest.raises(AgencyDirectoryError, match=told):
        parse_agencies(
            entry() + named("example-bank", bodies='["national-tax-agency", "japan-pension-service"]'), EDITIONS
        )
    with pytest.raises(AgencyDirectoryError, match=told):
        parse_agencies(entry(valid_to="2026-03-31") + named("example-bank", valid_from="2026-03-31"), EDITIONS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"bodies": '["municipal-mayor"]'}, {"bodies": '["municipal-mayor"]'}, id="a body of many"),
        pytest.param({"valid_to": "2026-03-31"}, {"valid_from": "2026-04-01"}, id="a successor"),
    ],
)
def test_agencies_that_can_both_be_what_they_are_load(one: dict[str, str], other: dict[str, str]) -> None:
    assert len(parse_agencies(entry(**one) + named("acme", **other), EDITIONS)) == 2


def test_a_private_organisation_that_is_listed_as_the_one_body_loads_and_stays_shut() -> None:
    assert len(parse_agencies(entry() + private("acme"), EDITIONS)) == 2


def test_directory_that_was_written_reads_back_the_same() -> None:
    other = entry(
        id='"acme"',
        spiffe_id='"spiffe://agencies.jukinet/private/acme"',
        name_en="""'A "C" \\ M'""",
        kind='"private"',
        bodies="[]",
        valid_to="2030-03-31",
    )
    directory = parse_agencies(
        entry(operators=f'{{ op-7 = "{KEYS[0]}", "課 2\\"" = "{KEYS[1]}" }}', budgets=BUDGETS) + other, EDITIONS
    )
    assert list(directory["spiffe://agencies.jukinet/agency/japan-pension-service"].operators) == ["op-7", '課 2"']
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
        ({"budgets": "{ operator_searches = 3 }"}, "budgets: unknown limit operator_searches"),
        ({"budgets": '{ row_questions_day = { "B1-4" = 3 } }'}, "budgets: row_questions_day must be a table of rows"),
        ({"certificates": f'"{DIGESTS[0]}"'}, "certificates: must be a list of keys, each the SHA-256"),
        ({"certificates": "[7]"}, "certificates: must be a list of keys"),
        ({"certificates": '[""]'}, "certificates: must be a list of keys"),
        ({"certificates": f'["{DIGESTS[0][:-1]}"]'}, "certificates: must be a list of keys"),
        ({"certificates": f'["{DIGESTS[0]}\\n"]'}, "certificates: must be a list of keys"),
        ({"certificates": f'["{DIGESTS[0].upper()}"]'}, "certificates: must be a list of keys"),
        ({"certificates": f'["sha256:{DIGESTS[0]}"]'}, "certificates: must be a list of keys"),
        ({"certificates": f'["{":".join(["AB"] * 32)}"]'}, "certificates: must be a list of keys"),
        ({"certificates": f'["{DIGESTS[0]}", "{DIGESTS[0]}"]'}, "certificates: a key stands twice"),
        ({"operators": '["op-7"]'}, "operators: must be a table"),
        ({"operators": "{ op-7 = 1 }"}, "operators: an operator's key is an Ed25519 public key"),
        ({"operators": '{ op-7 = "" }'}, "operators: an operator's key is an Ed25519 public key"),
        ({"operators": '{ op-7 = "山田" }'}, "operators: an operator's key is an Ed25519 public key"),
        ({"operators": f'{{ op-7 = "{KEYS[0][:-4]}" }}'}, "operators: an operator's key is an Ed25519 public key"),
        ({"operators": f'{{ "" = "{KEYS[0]}" }}'}, "operators: an operator's id has 1 to 100 characters"),
        ({"operators": f'{{ "op\\n7" = "{KEYS[0]}" }}'}, "operators: an operator's id has 1 to 100 characters"),
        ({"operators": f'{{ op-7 = "{KEYS[0]}", op-8 = "{KEYS[0]}" }}'}, "a key stands twice"),
    ],
)
def test_entry_that_is_wrong_is_refused_with_what_to_correct(changes: dict[str, str | None], told: str) -> None:
    with pytest.raises(AgencyDirectoryError, match=told):
        parse_agencies(entry(**changes), EDITIONS)


def test_limits_of_rows_alone_are_written_as_well() -> None:
    directory = parse_agencies(entry(budgets='{ row_questions_day = { "B1-77" = 3 } }'), EDITIONS)
    assert parse_agencies(format_agencies(directory.values()), EDITIONS) == directory


def test_misses_freeze_and_all_else_is_an_alarm_unless_the_directory_says_otherwise() -> None:
    (agency,) = parse_agencies(entry(), EDITIONS).values()
    assert [getattr(agency, key) for key in REACTIONS] == ["freeze", "alarm", "alarm", "alarm"]


@pytest.mark.parametrize("key", REACTIONS)
def test_each_detector_has_a_reaction_of_its_own(key: str) -> None:
    other = "alarm" if key == "on_misses" else "freeze"
    directory = parse_agencies(entry(**{key: f'"{other}"'}), EDITIONS)
    (agency,) = directory.values()
    (default,) = parse_agencies(entry(), EDITIONS).values()
    assert {each for each in REACTIONS if getattr(agency, each) != getattr(default, each)} == {key}
    assert parse_agencies(format_agencies(directory.values()), EDITIONS) == directory


@pytest.mark.parametrize("key", REACTIONS)
@pytest.mark.parametrize("reaction", ['"ignore"', '""', "1", '["freeze"]'])
def test_a_reaction_that_is_none_does_not_load(key: str, reaction: str) -> None:
    with pytest.raises(AgencyDirectoryError, match=f"{key} must be freeze or alarm"):
        parse_agencies(entry(**{key: reaction}), EDITIONS)


def test_an_agency_lists_no_operators_unless_it_says_so() -> None:
    (agency,) = parse_agencies(entry(), EDITIONS).values()
    assert agency.operators == {}


def test_keys_of_certificates_are_read_and_written_back() -> None:
    directory = parse_agencies(entry(certificates=f'["{DIGESTS[0]}", "{DIGESTS[1]}"]'), EDITIONS)
    (agency,) = directory.values()
    assert agency.certificates == set(DIGESTS)
    assert parse_agencies(format_agencies(directory.values()), EDITIONS) == directory


def test_an_agency_lists_no_certificate_unless_it_says_so() -> None:
    (agency,) = parse_agencies(entry(), EDITIONS).values()
    assert agency.certificates == frozenset()


def test_a_key_of_two_agencies_certificates_is_a_mistake() -> None:
    listed = f'["{DIGESTS[0]}"]'
    other = entry(id='"acme"', spiffe_id='"spiffe://agencies.jukinet/agency/acme"', certificates=listed)
    with pytest.raises(AgencyDirectoryError, match="agency acme: a key stands twice"):
        parse_agencies(entry(certificates=listed) + other, EDITIONS)


def test_a_key_of_two_agencies_is_a_mistake() -> None:
    other = entry(id='"acme"', spiffe_id='"spiffe://agencies.jukinet/agency/acme"', operators=f'{{ a = "{KEYS[0]}" }}')
    with pytest.raises(AgencyDirectoryError, match="stands twice"):
        parse_agencies(entry(operators=f'{{ op-7 = "{KEYS[0]}" }}') + other, EDITIONS)


SMALL_ORDER = [
    "00" * 32,
    "00" * 31 + "80",
    "01" + "00" * 31,
    "01" + "00" * 30 + "80",
    "ec" + "ff" * 30 + "7f",
    "ec" + "ff" * 31,
    "ed" + "ff" * 30 + "7f",
    "ee" + "ff" * 30 + "7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
"""Points for which signatures can be made without any private key (RFC 8032; Chalkias and others, 2020)."""


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_key_by_which_anybody_could_sign_is_a_mistake(point: str) -> None:
    key = base64.b64encode(bytes.fromhex(point)).decode()
    with pytest.raises(AgencyDirectoryError, match="small order"):
        parse_agencies(entry(operators=f'{{ op-7 = "{key}" }}'), EDITIONS)


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


def test_the_contact_of_an_agency_is_read_and_written_back() -> None:
    told = '{ phone = "03-0000-0000", office = "照会窓口", email = "inquiries@example.jp" }'
    directory = parse_agencies(entry(contact=told), EDITIONS)
    (agency,) = directory.values()
    assert agency.contact == {"office": "照会窓口", "email": "inquiries@example.jp", "phone": "03-0000-0000"}
    assert parse_agencies(format_agencies(directory.values()), EDITIONS) == directory
    (silent,) = parse_agencies(entry(), EDITIONS).values()
    assert silent.contact == {}
    assert "contact" not in format_agencies([silent])


@pytest.mark.parametrize(
    "contact",
    [
        '"03-0000-0000"',
        '{ person = "a" }',
        '{ office = "" }',
        '{ office = "a\\nb" }',
        '{ email = "nobody" }',
        '{ email = "a@b.jp\\n" }',
        '{ phone = "call us" }',
        "{ phone = 3 }",
    ],
)
def test_a_contact_that_is_none_does_not_load(contact: str) -> None:
    with pytest.raises(AgencyDirectoryError, match="contact"):
        parse_agencies(entry(contact=contact), EDITIONS)
