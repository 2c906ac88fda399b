"""The agency directory (提供先の名簿): who may put questions to a gateway, and for which rows of the statute table.

Rule: the directory can only narrow what the law opens. A row granted to a body that the row does not open stays shut
at the decision, and a private organisation stays shut whatever the directory grants it (Act art. 30-38). Such a
grant is a mistake that must not stop the network, so it loads and is refused when it is used; a directory that
cannot be understood does not load at all. Nor does one in which two public agencies are, on one day, a body that one
organisation only can be (`receivers`): one of them is somebody else, and would be told in the body's name. Nor one that
calls public whose SPIFFE ID, as its certificate has it, is of a private organisation, or the other way round.

The directory is a TOML file with one table per organisation:

    [[agency]]
    id = "japan-pension-service"
    spiffe_id = "spiffe://agencies.jukinet/agency/japan-pension-service"
    name_en = "Japan Pension Service"
    name_ja = "日本年金機構"
    kind = "public"                      # or "private", whose spiffe_id has private/ in the place of agency/
    bodies = ["japan-pension-service"]   # which bodies of the statute table it is; empty for a private organisation
    rows = ["B1-72", "B1-77"]            # granted rows of the statute table
    certificates = ["d1a2…"]             # keys of its certificates (`certificate_keys`); nobody gets in by another
    prefecture = "130001"                # of a local body: the prefecture that it is, or lies in; left out = national
    valid_from = 2019-01-07              # first day of the listing
    valid_to = 2030-03-31                # last day; left out = open

    on_misses = "freeze"                 # what follows where too many questions name nobody: freeze (default) or alarm
    on_crowd = "alarm"                   # where many operators ask about one person: freeze or alarm (default)
    on_case = "alarm"                    # where one case stands for too many persons: freeze or alarm (default)
    on_outside = "alarm"                 # where too many addresses lie outside: freeze or alarm (default)

    [agency.operators]                   # who may ask for it (操作者), each by his own key; nobody else may
    op-7 = "GpqpSTQn5aN0vLKPmlA3Z2xvcJmIgfe0aD6Yl0QhSWs="

    [agency.contact]                     # whom operators of the network call there; each may be left out
    office = "情報企画課 照会窓口"
    email = "inquiries@example.jp"
    phone = "03-0000-0000"

    [agency.budgets]                     # limits that are not the defaults of `purpose/budgets.py`
    operator_searches_day = 600
    agency_batch_day = 50000             # without this line it gets no batch (一括提供)

Whoever asks has to prove that he is an operator of the agency (`operator_proof`): an agency that lists none gets no
answer, nor does one that lists no key of a certificate.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar

from jukinet.domain.local_government import is_prefecture_code
from jukinet.purpose.budgets import Budget, format_budget, read_budget
from jukinet.purpose.certificate_keys import read_certificates
from jukinet.purpose.contact import Contact, format_contact, read_contact
from jukinet.purpose.editions import Editions
from jukinet.purpose.operator_keys import OperatorKeys, format_operators, read_operators
from jukinet.purpose.reactions import DEFAULTS, Reaction, read_reactions

_T = TypeVar("_T")
AgencyKind = Literal["public", "private"]

SPIFFE_PREFIX = "spiffe://agencies.jukinet/agency/"
PRIVATE_PREFIX = "spiffe://agencies.jukinet/private/"
"""Of the SPIFFE IDs of private organisations (民間); certificates alone say who is one."""
PREFIXES: Mapping[AgencyKind, str] = {"public": SPIFFE_PREFIX, "private": PRIVATE_PREFIX}

_KINDS: dict[str, AgencyKind] = {"public": "public", "private": "private"}
_REQUIRED = frozenset({"id", "spiffe_id", "name_en", "name_ja", "kind", "bodies", "rows", "valid_from"})
_ALLOWED = _REQUIRED | {"valid_to", "prefecture", "certificates", "operators", "contact", "budgets"} | DEFAULTS.keys()
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class AgencyDirectoryError(ValueError):
    """The agency directory cannot be used. Correct the entry that the text names and start the node again."""


@dataclass(frozen=True, slots=True)
class Agency:
    """One organisation of the directory; the keys of its TOML table."""

    id: str
    spiffe_id: str
    name_en: str
    name_ja: str
    kind: AgencyKind
    bodies: frozenset[str]
    rows: frozenset[str]
    valid_from: date
    valid_to: date = date.max
    prefecture: str = ""
    certificates: frozenset[str] = frozenset()
    operators: OperatorKeys = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    on_misses: Reaction = DEFAULTS["on_misses"]
    on_crowd: Reaction = DEFAULTS["on_crowd"]
    on_case: Reaction = DEFAULTS["on_case"]
    on_outside: Reaction = DEFAULTS["on_outside"]
    contact: Contact = field(default_factory=dict)


AgencyDirectory = Mapping[str, Agency]
"""Agencies by SPIFFE ID."""


def load_agencies(path: Path, editions: Editions) -> AgencyDirectory:
    """Reads the agency directory of a node.

    Args:
        path: the TOML file that the node's config names.
        editions: of the statute table; the directory may name rows and bodies of any of them.

    Returns:
        The agencies by SPIFFE ID.

    Raises:
        AgencyDirectoryError: the file cannot be read, or an entry is not as described above.
    """
    return parse_agencies(_text_of(path), editions)


def load_names(path: Path) -> Mapping[str, tuple[str, str]]:
    """Reads how the agencies of a directory are called, whatever they are granted under whichever edition.

    Args:
        path: the TOML file that a node's config names.

    Returns:
        Japanese and English name by SPIFFE ID.

    Raises:
        AgencyDirectoryError: the file cannot be read, or an entry has no names.
    """
    names = {}
    for number, entry in enumerate(_entries(_text_of(path)), 1):
        where = f"agency {entry.get('id', f'number {number}')}"
        spiffe_id, ja, en = (_text(entry.get(key), f"{where}: {key}") for key in ("spiffe_id", "name_ja", "name_en"))
        names[spiffe_id] = (ja, en)
    return names


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AgencyDirectoryError(f"the agency directory {path} cannot be read: {error}") from error


def parse_agencies(text: str, editions: Editions) -> AgencyDirectory:
    """Understands the text of an agency directory.

    Args:
        text: TOML as described above.
        editions: of the statute table; the directory may name rows and bodies of any of them.

    Returns:
        The agencies by SPIFFE ID.

    Raises:
        AgencyDirectoryError: the text is no TOML, has an unknown key, lacks one, names a row, body or kind that does
            not exist, contradicts its SPIFFE ID by its kind, lists a key, of an operator or a certificate, that is not
            his or its alone, or has two agencies that are one body which one organisation only can be.
    """
    directory: dict[str, Agency] = {}
    keys: set[object] = set()
    for number, entry in enumerate(_entries(text), 1):
        agency = _agency(entry, editions, where=f"agency {entry.get('id', f'number {number}')}")
        if _ids_of(agency.id) & directory.keys():
            raise AgencyDirectoryError(f"agency {agency.id} stands twice in the directory")
        own: list[object] = [*agency.certificates, *(key.public_bytes_raw() for key in agency.operators.values())]
        if len({*own, *keys}) < len(own) + len(keys):
            raise AgencyDirectoryError(f"agency {agency.id}: a key stands twice in the directory")
        keys.update(own)
        _require_own_bodies(agency, directory.values(), editions.single_bodies)
        directory[agency.spiffe_id] = agency
    return MappingProxyType(directory)


def _require_own_bodies(agency: Agency, others: Iterable[Agency], single: frozenset[str]) -> None:
    for other in others:
        shared = agency.bodies & other.bodies & single
        # A private organisation stays shut whatever it is listed as; a successor may follow upon a listing that ended.
        on_one_day = max(agency.valid_from, other.valid_from) <= min(agency.valid_to, other.valid_to)
        if shared and on_one_day and agency.kind == other.kind == "public":
            raise AgencyDirectoryError(
                f"agencies {other.id} and {agency.id} both have the body {', '.join(sorted(shared))}, which one "
                "organisation only can be: take it from the one that is not, or end its listing"
            )


def _entries(text: str) -> list[dict[str, object]]:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AgencyDirectoryError(f"the agency directory is not TOML: {error}") from error
    if unknown := content.keys() - {"agency"}:
        raise AgencyDirectoryError(f"unknown key in the agency directory: {', '.join(sorted(unknown))}")
    entries = content.get("agency", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise AgencyDirectoryError("the agency directory needs one [[agency]] table per organisation")
    return entries


def format_agencies(agencies: Iterable[Agency]) -> str:
    """Writes an agency directory.

    Args:
        agencies: the organisations, in the order of the file.

    Returns:
        TOML that `parse_agencies` reads back as the same organisations.
    """
    return "\n".join(map(_format_agency, agencies))


def _format_agency(agency: Agency) -> str:
    texts = {
        "id": agency.id,
        "spiffe_id": agency.spiffe_id,
        "name_en": agency.name_en,
        "name_ja": agency.name_ja,
        "kind": agency.kind,
        "bodies": sorted(agency.bodies),
        "rows": sorted(agency.rows),
        "certificates": sorted(agency.certificates),
    }
    if agency.prefecture:
        texts["prefecture"] = agency.prefecture
    texts |= {key: getattr(agency, key) for key in DEFAULTS}
    # JSON's texts and lists of texts are TOML's as well.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in texts.items()]
    days = f"valid_from = {agency.valid_from}\nvalid_to = {agency.valid_to}\n"
    listed = format_operators(agency.operators)
    keys = [f"{json.dumps(name, ensure_ascii=False)} = {json.dumps(key)}" for name, key in listed]
    operators = ["[agency.operators]", *keys, ""] if keys else []
    contact = ["[agency.contact]", *told, ""] if (told := format_contact(agency.contact)) else []
    budgets = [*limits, ""] if (limits := format_budget(agency.budget)) else []
    return "\n".join(["[[agency]]", *lines, days, *operators, *contact, *budgets])


def _agency(entry: dict[str, object], editions: Editions, *, where: str) -> Agency:
    if unknown := entry.keys() - _ALLOWED:
        raise AgencyDirectoryError(f"{where}: unknown key {', '.join(sorted(unknown))}")
    if missing := _REQUIRED - entry.keys():
        raise AgencyDirectoryError(f"{where}: missing key {', '.join(sorted(missing))}")
    identifier = _text(entry["id"], f"{where}: id")
    if not _ID.fullmatch(identifier):
        raise AgencyDirectoryError(f"{where}: the id may hold small letters, digits and single hyphens only")
    kind = _KINDS.get(_text(entry["kind"], f"{where}: kind"))
    if kind is None:
        raise AgencyDirectoryError(f"{where}: kind must be public or private")
    spiffe_id = _spiffe_id(_text(entry["spiffe_id"], f"{where}: spiffe_id"), identifier, kind, where)
    valid_from = _day(entry["valid_from"], f"{where}: valid_from")
    valid_to = _day(entry.get("valid_to", date.max), f"{where}: valid_to")
    if valid_to < valid_from:
        raise AgencyDirectoryError(f"{where}: valid_to lies before valid_from")
    rows = _known(entry["rows"], editions.rows, f"{where}: rows")
    return Agency(
        id=identifier,
        spiffe_id=spiffe_id,
        name_en=_text(entry["name_en"], f"{where}: name_en"),
        name_ja=_text(entry["name_ja"], f"{where}: name_ja"),
        kind=kind,
        bodies=_known(entry["bodies"], editions.bodies, f"{where}: bodies"),
        rows=rows,
        valid_from=valid_from,
        valid_to=valid_to,
        prefecture=_prefecture(entry.get("prefecture", ""), f"{where}: prefecture"),
        certificates=_read(f"{where}: certificates", read_certificates, entry.get("certificates", [])),
        operators=_read(f"{where}: operators", read_operators, entry.get("operators", {})),
        budget=_read(f"{where}: budgets", read_budget, entry.get("budgets", {}), rows),
        contact=_read(f"{where}: contact", read_contact, entry.get("contact", {})),
        **_read(where, read_reactions, entry),
    )


def _spiffe_id(given: str, identifier: str, kind: AgencyKind, where: str) -> str:
    if given == PREFIXES[kind] + identifier:
        return given
    if given in _ids_of(identifier):
        raise AgencyDirectoryError(
            f"{where}: the kind {kind} contradicts {given}: private organisations have {PRIVATE_PREFIX}, public bodies "
            f"{SPIFFE_PREFIX}, as their certificates say. Correct the kind, or have a certificate issued for what it is"
        )
    raise AgencyDirectoryError(f"{where}: spiffe_id must be {PREFIXES[kind]}{identifier}")


def _ids_of(identifier: str) -> set[str]:
    return {prefix + identifier for prefix in PREFIXES.values()}


def _read(where: str, read: Callable[..., _T], *given: object) -> _T:
    try:
        return read(*given)
    except ValueError as error:
        raise AgencyDirectoryError(f"{where}: {error}") from None


def _prefecture(value: object, where: str) -> str:
    if value == "":
        return ""
    code = _text(value, where)
    if not is_prefecture_code(code):
        raise AgencyDirectoryError(
            f"{where} must be a prefecture's six-digit code (都道府県コード), check digit included"
        )
    return code


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise AgencyDirectoryError(f"{where} must be a text that is not empty")
    return value


def _day(value: object, where: str) -> date:
    # A TOML date with a time is a datetime, which is a date for Python but not for a directory that counts days.
    if not isinstance(value, date) or isinstance(value, datetime):
        raise AgencyDirectoryError(f"{where} must be a date such as 2019-01-07, without quotes")
    return value


def _known(value: object, known: frozenset[str], where: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(key, str) for key in value):
        raise AgencyDirectoryError(f"{where} must be a list of texts")
    if unknown := set(value) - known:
        raise AgencyDirectoryError(f"{where}: no edition of the statute table has {', '.join(sorted(unknown))}")
    return frozenset(value)
