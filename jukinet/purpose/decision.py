"""The decision (提供の可否): may this agency be provided with these items, for this purpose, on this day?

Rule: everything is denied unless a policy of `policies.cedar` permits it, no policy forbids it, and every policy could
be evaluated. The ban on private organisations (Act art. 30-38) wins over every other reason, so that whoever is
banned learns nothing else. Gateway and center both decide by this module; neither trusts the other's verdict.

The law's structure is policies, its content is data: rows of the statute table and agencies are Cedar entities, parsed
once. The policies are checked against `schema.cedarschema` before the first question; a node whose policies do not
fit does not start. No clock is read here: the day comes with the question.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from datetime import date
from importlib import resources
from typing import NamedTuple

import cedarpy

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
from jukinet.purpose.agencies import Agency, AgencyDirectory
from jukinet.purpose.statute import StatuteRow, StatuteTable
from jukinet.purpose.territory import covers

_log = logging.getLogger(__name__)

_NO_ROW = "no such row"
_REMEMBERED = 4096

# What each forbid means to the asker: reason and article; an empty article stands for the row's own. The order is the
# order of precedence when several apply.
_REFUSALS: dict[str, tuple["errors_pb2.ErrorReason.ValueType", str]] = {
    "juki-30-38-private-ban": (errors_pb2.ERROR_REASON_PRIVATE_SECTOR_BANNED, "30-38"),
    "juki-30-25-agency-expired": (errors_pb2.ERROR_REASON_AGENCY_EXPIRED, "30-25"),
    "juki-30-25-row-unknown": (errors_pb2.ERROR_REASON_PURPOSE_UNKNOWN, "30-25"),
    "juki-30-25-row-expired": (errors_pb2.ERROR_REASON_PURPOSE_EXPIRED, "30-25"),
    "juki-30-25-not-granted": (errors_pb2.ERROR_REASON_PURPOSE_NOT_GRANTED, "30-25"),
    "juki-30-25-method": (errors_pb2.ERROR_REASON_METHOD_NOT_ALLOWED, "30-25"),
    "number-act-9-method": (errors_pb2.ERROR_REASON_METHOD_NOT_ALLOWED, "number-act-9"),
    "number-act-9-field": (errors_pb2.ERROR_REASON_FIELD_NOT_ALLOWED, "number-act-9"),
    "juki-30-9-resident-code": (errors_pb2.ERROR_REASON_FIELD_NOT_ALLOWED, ""),
    "juki-30-6-field-mask": (errors_pb2.ERROR_REASON_FIELD_NOT_ALLOWED, "30-6"),
}
_PRIVATE_BAN = "juki-30-38-private-ban"
_PERMITS = frozenset({"juki-30-9", "juki-30-10", "juki-30-11", "juki-30-12", "juki-30-15"})

_FIELDS = {number: name for name, number in inquiry_pb2.IdentityField.items()}
_METHODS = {number: name for name, number in inquiry_pb2.InquiryMethod.items()}
_FIELDS_OF_EVERY_ROW = (
    inquiry_pb2.IDENTITY_FIELD_NAME,
    inquiry_pb2.IDENTITY_FIELD_BIRTH_DATE,
    inquiry_pb2.IDENTITY_FIELD_SEX,
    inquiry_pb2.IDENTITY_FIELD_ADDRESS,
    inquiry_pb2.IDENTITY_FIELD_CHANGE,
)


class PolicyError(RuntimeError):
    """The policies cannot be used, so the node must not start. Restore the files that came with this version."""


class Question(NamedTuple):
    """What is to be decided. An empty `fields` asks for yes or no only (本人確認)."""

    agency: str
    """SPIFFE ID from the caller's certificate."""
    purpose: str
    """Row such as `B1-77`, or row and item such as `B1-77.12`."""
    day: date
    """Day of the question, in Japan."""
    method: "inquiry_pb2.InquiryMethod.ValueType"
    fields: Sequence["inquiry_pb2.IdentityField.ValueType"] = ()


class Decision(NamedTuple):
    """Outcome of a question, and the rule that it rests on."""

    refusal: "errors_pb2.ErrorReason.ValueType"
    """Why it was refused; UNSPECIFIED when it is allowed."""
    article: str
    """Article that allows or forbids, such as `30-9`, `30-38`; `number-act-9` for the Number Use Act."""
    edition: str
    """Edition of the row, such as `2019-01`; empty when the row was not looked at."""
    policy: str
    """Name of the policy that decided; empty when none did."""
    basis: inquiry_pb2.LegalBasis | None
    """Legal basis of an allowed answer; None when refused."""

    @property
    def allowed(self) -> bool:
        """Whether the question may be answered."""
        return self.basis is not None


class PurposePolicy:
    """The policies together with one edition of the statute table and one agency directory, ready to decide."""

    def __init__(self, table: StatuteTable, directory: AgencyDirectory) -> None:
        """Checks the policies and parses rows and agencies once.

        Args:
            table: the statute table.
            directory: the agencies by SPIFFE ID.

        Raises:
            PolicyError: policies, schema, rows and agencies do not fit together.
        """
        schema = _own_file("schema.cedarschema")
        self._policies = check_policies(_own_file("policies.cedar"), schema)
        self._table = table
        self._directory = directory
        # The same question has the same answer: policies, rows and agencies stay, and the day is part of the question.
        self._decided: dict[Question, Decision] = {}
        entities = [*_row_entities(table), *map(_agency_entity, directory.values())]
        try:
            self._entities = cedarpy.Entities.from_json_str(json.dumps(entities), schema)
        except ValueError as error:
            raise PolicyError(f"rows and agencies do not fit the policy schema: {error}") from error

    def decide(self, question: Question) -> Decision:
        """Decides one question.

        Args:
            question: who asks what, for which row, on which day.

        Returns:
            The decision, with its legal basis or the reason of the refusal.

        Source: Act art. 30-9 to 30-12, 30-15, 30-25, 30-38; Number Use Act art. 9(1).
        """
        question = question._replace(fields=tuple(question.fields))
        known = self._decided.get(question)
        if known is None:
            if len(self._decided) >= _REMEMBERED:
                self._decided.clear()
            known = self._decided[question] = self._decide(question)
        return known

    def _decide(self, question: Question) -> Decision:
        if question.agency not in self._directory:
            return Decision(errors_pb2.ERROR_REASON_AGENCY_UNKNOWN, "30-25", "", "", None)
        row = self._table.find(question.purpose)
        result = cedarpy.is_authorized(_request(question, row), self._policies, self._entities)
        fired = result.diagnostics.id_annotations_by_reason.values()
        if result.diagnostics.errors and _PRIVATE_BAN not in fired:
            # The texts speak of policies and of attributes of rows and agencies, never of a person.
            _log.error("policies could not be evaluated: %s", "; ".join(result.diagnostics.errors))
            return Decision(errors_pb2.ERROR_REASON_POLICY_ERROR, "30-25", _edition(row), "", None)
        if result.allowed and row is not None:
            return _allow(row, question.purpose, next(iter(fired)))
        return _refuse(row, fired)

    def covers(self, agency: str, purpose: str, holder: str) -> bool:
        """Whether an allowed question may hear of residents of this municipality.

        Args:
            agency: SPIFFE ID.
            purpose: row, or row and item.
            holder: six-digit code of the municipality that holds the record.
        """
        row = self._table.find(purpose)
        return row is not None and agency in self._directory and covers(row, self._directory[agency], holder)


def check_policies(policies: str, schema: str) -> cedarpy.PolicySet:
    """Parses policies after checking that they fit the schema and are exactly those that this module knows.

    Args:
        policies: Cedar policies, each with an `@id`.
        schema: Cedar schema.

    Returns:
        The parsed policies.

    Raises:
        PolicyError: a policy is malformed, does not fit the schema, is missing, doubled or unknown.
    """
    checked = cedarpy.validate_policies(policies, schema)
    if not checked:
        raise PolicyError(f"the policies do not fit the schema: {'; '.join(map(str, checked.errors))}")
    parsed = json.loads(cedarpy.policies_to_json_str(policies))["staticPolicies"].values()
    effects = sorted((policy.get("annotations", {}).get("id", ""), policy["effect"]) for policy in parsed)
    expected = sorted([(name, "forbid") for name in _REFUSALS] + [(name, "permit") for name in _PERMITS])
    if effects != expected:
        odd = sorted({name for name, _ in set(effects) ^ set(expected)}) or "one stands twice"
        raise PolicyError(f"policies.cedar does not hold exactly the policies that the program knows: {odd}")
    return cedarpy.PolicySet.from_str(policies)


def _allow(row: StatuteRow, purpose: str, policy: str) -> Decision:
    basis = inquiry_pb2.LegalBasis(
        purpose=purpose,
        article=row.article,
        label_en=row.label_en,
        label_ja=row.label_ja,
        law_ja=row.law_ja,
        edition=row.edition,
    )
    return Decision(errors_pb2.ERROR_REASON_UNSPECIFIED, row.article, row.edition, policy, basis)


def _refuse(row: StatuteRow | None, fired: Iterable[str]) -> Decision:
    fired = frozenset(fired)
    for policy, (reason, article) in _REFUSALS.items():
        if policy in fired:
            return Decision(reason, article or _article(row), _edition(row), policy, None)
    # No policy forbade it, but none permitted it either.
    return Decision(errors_pb2.ERROR_REASON_PURPOSE_NOT_GRANTED, "30-25", _edition(row), "", None)


def _article(row: StatuteRow | None) -> str:
    return row.article if row else "30-25"


def _edition(row: StatuteRow | None) -> str:
    return row.edition if row else ""


def _request(question: Question, row: StatuteRow | None) -> dict[str, object]:
    return {
        "principal": {"type": "Agency", "id": question.agency},
        "action": {"type": "Action", "id": "provide"},
        "resource": {"type": "Row", "id": row.key if row else _NO_ROW},
        "context": {
            "day": _day_number(question.day),
            "fields": [_FIELDS.get(field, "") for field in question.fields],
            "method": _METHODS.get(question.method, ""),
        },
    }


def _row_entities(table: StatuteTable) -> list[dict[str, object]]:
    return [_no_row_entity(), *map(_row_entity, table.rows.values())]


def _row_entity(row: StatuteRow) -> dict[str, object]:
    fields = list(_FIELDS_OF_EVERY_ROW)
    if row.individual_number:
        fields.append(inquiry_pb2.IDENTITY_FIELD_INDIVIDUAL_NUMBER)
    if row.resident_code:
        fields.append(inquiry_pb2.IDENTITY_FIELD_RESIDENT_CODE)
    return {
        "uid": {"type": "Row", "id": row.key},
        "attrs": {
            "table": row.table,
            "inForce": row.status == "in_force",
            "bodies": list(row.bodies),
            "fields": [_FIELDS[field] for field in fields],
            "individualNumber": row.individual_number,
            "residentCode": row.resident_code,
            "validFrom": _day_number(row.valid_from),
            "validTo": _day_number(row.valid_to),
        },
        "parents": [],
    }


def _no_row_entity() -> dict[str, object]:
    # Stands for every row that does not exist, so that the policies can still say who may not ask at all.
    return {
        "uid": {"type": "Row", "id": _NO_ROW},
        "attrs": {
            "table": 0,
            "inForce": False,
            "bodies": [],
            "fields": [],
            "individualNumber": False,
            "residentCode": False,
            "validFrom": 0,
            "validTo": 0,
        },
        "parents": [],
    }


def _agency_entity(agency: Agency) -> dict[str, object]:
    return {
        "uid": {"type": "Agency", "id": agency.spiffe_id},
        "attrs": {
            "kind": agency.kind,
            "bodies": sorted(agency.bodies),
            "rows": [{"__entity": {"type": "Row", "id": key}} for key in sorted(agency.rows)],
            "validFrom": _day_number(agency.valid_from),
            "validTo": _day_number(agency.valid_to),
        },
        "parents": [],
    }


def _day_number(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day


def _own_file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
