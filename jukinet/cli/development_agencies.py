"""The agencies of a development mesh: two national bodies, a prefecture, a municipality and a private bank.

The bank is granted rows BY MISTAKE, so that one can see that the ban on private use holds whatever is granted.

Source: Act art. 30-9 (national bodies), 30-10 and following (local governments), 30-38 (private organisations).
"""

from dataclasses import replace
from datetime import date
from typing import Final

from jukinet.cli.layout import Mesh
from jukinet.domain.local_government import prefecture_code_of
from jukinet.mesh.identity import parse_identity
from jukinet.mesh.key_digest import key_digest_in
from jukinet.mesh.pki import create_signing_key, load_public_key
from jukinet.purpose.agencies import PREFIXES, Agency, AgencyKind
from jukinet.purpose.budgets import UNLIMITED, Budget
from jukinet.purpose.edition import load_statute

PENSION_SERVICE: Final = "pension-service"
TAX_AGENCY: Final = "national-tax-agency"
BANK: Final = "example-bank"
"""A private organisation with rows granted by mistake."""
LOADED: Final = Budget(
    operator_searches_minute=UNLIMITED,
    operator_searches_day=UNLIMITED,
    operator_numbers_minute=UNLIMITED,
    agency_searches_day=UNLIMITED,
    agency_subjects_day=UNLIMITED,
    agency_batch_day=UNLIMITED,
)
"""Limits under which benchmarks and demos may ask; nobody's in production."""
OPERATORS: Final = ("op-7", "op-8")
"""Operators (操作者) of each of them, by the agency's own id."""


def development_agencies(municipality: str) -> list[Agency]:
    """Lists the agencies, without their operators and certificates, whose keys each mesh makes for itself.

    Args:
        municipality: six-digit code of the one that is an agency too, with its prefecture.
    """
    prefecture = prefecture_code_of(municipality)
    return [
        _public(PENSION_SERVICE, "Japan Pension Service", "日本年金機構", "japan-pension-service"),
        _public(TAX_AGENCY, "National Tax Agency", "国税庁", "national-tax-agency"),
        _public(
            f"prefecture-{prefecture}",
            f"Prefecture {prefecture}",
            f"都道府県 {prefecture}",
            "prefectural-governor",
            prefecture,
        ),
        _public(
            f"municipality-{municipality}",
            f"Municipality {municipality}",
            f"市区町村 {municipality}",
            "municipal-mayor",
            prefecture,
        ),
        _agency(BANK, "Example Bank", "例示銀行", kind="private", rows={"B1-72", "B1-77"}),
    ]


def with_keys(agency: Agency, mesh: Mesh) -> Agency:
    """Makes a key for each operator of an agency of a mesh, beside its certificate, whose key is listed too."""
    keys = {}
    for operator in OPERATORS:
        private = mesh.operator_key(parse_identity(agency.spiffe_id), operator)
        _, public = create_signing_key(private.parent, private.stem)
        keys[operator] = load_public_key(public)
    certificate = mesh.client(parse_identity(agency.spiffe_id)).certificate
    return replace(agency, operators=keys, certificates=frozenset({key_digest_in(certificate)}))


def _public(name: str, name_en: str, name_ja: str, body: str, prefecture: str = "") -> Agency:
    rows = {row.key for row in load_statute().rows.values() if body in row.bodies and row.status == "in_force"}
    return _agency(name, name_en, name_ja, kind="public", bodies={body}, rows=rows, prefecture=prefecture)


def _agency(
    name: str,
    name_en: str,
    name_ja: str,
    *,
    kind: AgencyKind,
    rows: set[str],
    bodies: set[str] | None = None,
    prefecture: str = "",
) -> Agency:
    return Agency(
        id=name,
        spiffe_id=f"{PREFIXES[kind]}{name}",
        name_en=name_en,
        name_ja=name_ja,
        kind=kind,
        bodies=frozenset(bodies or ()),
        rows=frozenset(rows),
        valid_from=date(2019, 1, 7),
        prefecture=prefecture,
        budget=LOADED,
        on_misses="alarm",
    )
