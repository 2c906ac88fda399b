"""The decision (提供の可否): may this agency be provided with these items, for this purpose, on this day?

Rule: everything is denied unless a policy of `policies.cedar` permits it, no policy forbids it, and every policy could
be evaluated. The ban on private organisations (Act art. 30-38) wins over every other reason, so that whoever is
banned learns nothing else; and it falls by the SPIFFE ID of the certificate before the directory is looked at, so that
no entry of it, nor the lack of one, can open anything. Gateway and center both decide by this module; neither trusts
the other's verdict.

The law's structure is policies, its content is data: rows of the statute table and agencies are Cedar entities, parsed
once an edition. The edition in force on the day of the question decides (`editions`). The policies are checked against
`schema.cedarschema` before the first question; a node whose policies do not fit does not start. No clock is read here:
the day comes with the question.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import partial
from importlib import resources
from typing import NamedTuple, get_args

import cedarpy

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
from jukinet.domain.seal import is_within
from jukinet.purpose.agencies import PRIVATE_PREFIX, AgencyDirectory, format_agencies
from jukinet.purpose.articles import Provision
from jukinet.purpose.editions import Editions
from jukinet.purpose.entities import entities_of, request_of
from jukinet.purpose.statute import NO_EDITION, StatuteRow, StatuteTable
from jukinet.purpose.territory import covers

_log = logging.getLogger(__name__)

_REMEMBERED = 4096

# What each forbid means to the asker: reason and article; an empty article stands for the row's own. The order is the
# order of precedence when several apply.
_REFUSALS: dict[str, tuple["errors_pb2.ErrorReason.ValueType", str]] = {
    "juki-30-38-private-ban": (errors_pb2.ERROR_REASON_PRIVATE_SECTOR_BANNED, "30-38"),
    "juki-30-25-agency-expired": (errors_pb2.ERROR_REASON_AGENCY_EXPIRED, "30-25"),
    "juki-30-25-row-unknown": (errors_pb2.ERROR_REASON_PURPOSE_UNKNOWN, "30-25"),
    "juki-30-25-row-expired": (errors_pb2.ERROR_REASON_PURPOSE_EXPIRED, "30-25"),
    "juki-30-25-not-granted": (errors_pb2.ERROR_REASON_PURPOSE_NOT_GRANTED, "30-25"),
    "juki-30-25-provision": (errors_pb2.ERROR_REASON_PROVISION_NOT_ALLOWED, ""),
    "juki-30-25-method": (errors_pb2.ERROR_REASON_METHOD_NOT_ALLOWED, "30-25"),
    "number-act-9-method": (errors_pb2.ERROR_REASON_METHOD_NOT_ALLOWED, "number-act-9"),
    "number-act-9-field": (errors_pb2.ERROR_REASON_FIELD_NOT_ALLOWED, "number-act-9"),
    "juki-30-9-resident-code": (errors_pb2.ERROR_REASON_FIELD_NOT_ALLOWED, ""),
    "juki-30-6-field-mask": (errors_pb2.ERROR_REASON_FIELD_NOT_ALLOWED, "30-6"),
}
_PRIVATE_BAN = "juki-30-38-private-ban"
# What refuses for the row, or for a listing that ran out, keeps no agency from ending what it began.
_ENDS_ALL_THE_SAME = frozenset(
    {
        "juki-30-25-agency-expired",
        "juki-30-25-row-unknown",
        "juki-30-25-row-expired",
        "juki-30-25-not-granted",
        "juki-30-25-provision",
    }
)
_PERMITS = frozenset({"juki-30-9", "juki-30-10", "juki-30-11", "juki-30-12", "juki-30-15"})


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
    provision: Provision | None = "immediate"
    """Method of provision; None for what concerns answers of each: open if any is, or refused as the first one is."""


class Decision(NamedTuple):
    """Outcome of a question, and the rule that it rests on."""

    refusal: "errors_pb2.ErrorReason.ValueType"
    """Why it was refused; UNSPECIFIED when it is allowed."""
    article: str
    """Article that allows or forbids, such as `30-9`, `30-38`; `number-act-9` for the Number Use Act."""
    edition: str
    """Edition in force on the day of the question, such as `2019-01`; empty when none was."""
    digest: bytes
    """SHA-256 of all that decided: policies, directory and edition, 32 bytes."""
    policy: str
    """Name of the policy that decided; empty when none did."""
    basis: inquiry_pb2.LegalBasis | None
    """Legal basis of an allowed answer; None when refused."""

    @property
    def allowed(self) -> bool:
        """Whether the question may be answered."""
        return self.basis is not None


class PurposePolicy:
    """The policies together with editions of the statute table and one agency directory, ready to decide."""

    def __init__(self, editions: Editions, directory: AgencyDirectory) -> None:
        """Checks the policies and parses rows and agencies once.

        Args:
            editions: of the statute table.
            directory: the agencies by SPIFFE ID.

        Raises:
            PolicyError: policies, schema, rows and agencies do not fit together.
        """
        policies, self._schema = _own_file("policies.cedar"), _own_file("schema.cedarschema")
        self._policies = check_policies(policies, self._schema)
        self._directory = directory
        self.editions = editions
        self._common = _digest(policies.encode(), self._schema.encode(), format_agencies(directory.values()).encode())
        self._books = {table.edition: self._book(table) for table in (NO_EDITION, *editions)}
        # The same question has the same answer: policies, editions and agencies stay, and the day is part of it.
        self._decided: dict[Question, Decision] = {}

    def adopt(self, table: StatuteTable) -> None:
        """Lets one more edition decide from its first day on.

        Args:
            table: approved after all others.

        Raises:
            PolicyError: its rows do not fit the schema of the policies; nothing is changed.
            StatuteTableError: another edition has its name; nothing is changed.
        """
        editions, book = self.editions + table, self._book(table)
        self._books[table.edition] = book
        self.editions = editions
        self._decided.clear()

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

    def decide_ending(self, question: Question) -> Decision:
        """Decides whether an agency may end what it began under a row: whatever the row opens, which tells it nothing.

        Args:
            question: as for `decide`, of an action of `kinds.TAKES_AWAY`.

        Returns:
            The decision of `decide`; allowed where it was refused for the row, or for a listing that ran out.

        Source: docs/decisions/0100.
        """
        decision = self.decide(question)
        if decision.policy not in _ENDS_ALL_THE_SAME:
            return decision
        basis = inquiry_pb2.LegalBasis(purpose=question.purpose, article=decision.article, edition=decision.edition)
        return decision._replace(refusal=errors_pb2.ERROR_REASON_UNSPECIFIED, policy="", basis=basis)

    def ban_on(self, agency: str, day: date) -> Decision | None:
        """The refusal of all that a private organisation asks; None for everybody else.

        Args:
            agency: SPIFFE ID.
            day: of the call, in Japan.

        Source: Act art. 30-38.
        """
        decision = self.decide(Question(agency, "", day, inquiry_pb2.INQUIRY_METHOD_FOUR_ITEMS))
        return decision if decision.policy == _PRIVATE_BAN else None

    def _decide(self, question: Question) -> Decision:
        if question.provision is None:
            each = [self.decide(question._replace(provision=way)) for way in get_args(Provision)]
            return next((decision for decision in each if decision.allowed), each[0])
        table = self.editions.on(question.day)
        book = self._books[table.edition]
        if question.agency.startswith(PRIVATE_PREFIX):
            return _refuse(None, [_PRIVATE_BAN], book)
        if question.agency not in self._directory:
            return _refused(errors_pb2.ERROR_REASON_AGENCY_UNKNOWN, "30-25", book)
        row = table.find(question.purpose)
        result = cedarpy.is_authorized(request_of(question, row), self._policies, book.entities)
        fired = result.diagnostics.id_annotations_by_reason.values()
        if result.diagnostics.errors and _PRIVATE_BAN not in fired:
            # The texts speak of policies and of attributes of rows and agencies, never of a person.
            _log.error("policies could not be evaluated: %s", "; ".join(result.diagnostics.errors))
            return _refused(errors_pb2.ERROR_REASON_POLICY_ERROR, "30-25", book)
        if result.allowed and row is not None:
            return _allow(row, question.purpose, next(iter(fired)), book)
        return _refuse(row, fired, book)

    def territory(self, agency: str, purpose: str, day: date) -> Callable[[str], bool]:
        """Of whose residents an allowed question may hear.

        Args:
            agency: SPIFFE ID.
            purpose: row, or row and item.
            day: of the question, in Japan.

        Returns: whether of those of a municipality, by the six-digit code of the one that holds the record; of a later
        change, that sealed it.
        """
        row, listed = self.editions.on(day).find(purpose), self._directory.get(agency)
        if row is None or listed is None:
            return lambda _holder: False
        return partial(covers, row, listed)

    def may_seal(self, purpose: str, until: str, day: date) -> bool:
        """Whether an allowed question may be sealed (封印), by the edition of its day and for so long.

        Args:
            purpose: row, or row and item.
            until: day on which it is to be opened, such as `2027-04-01`.
            day: of the question, in Japan.
        """
        return is_within(until, day, months=self.editions.on(day).seal_months(purpose))

    def seals_on(self, day: date) -> bool:
        """Whether the edition of a day in Japan lets the questions of any row be sealed."""
        return bool(self.editions.on(day).seals)

    def digest_on(self, day: date) -> bytes:
        """SHA-256 of all that decides on a day in Japan, 32 bytes: for what was refused before it could be decided."""
        return self._books[self.editions.on(day).edition].digest

    def in_force(self, day: date) -> tuple[str, bytes]:
        """Name of the edition that decides on a day in Japan, empty for none, and `digest_on` that day."""
        return self.editions.on(day).edition, self.digest_on(day)

    def _book(self, table: StatuteTable) -> "_Book":
        try:
            text = json.dumps(entities_of(table, self._directory.values()))
            entities = cedarpy.Entities.from_json_str(text, self._schema)
        except ValueError as error:
            raise PolicyError(f"rows and agencies do not fit the policy schema: {error}") from error
        return _Book(table.edition, _digest(self._common, table.digest), entities)


class _Book(NamedTuple):
    """What one edition is decided with."""

    edition: str
    digest: bytes
    entities: cedarpy.Entities


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


def _allow(row: StatuteRow, purpose: str, policy: str, book: _Book) -> Decision:
    basis = inquiry_pb2.LegalBasis(
        purpose=purpose,
        article=row.article,
        label_en=row.label_en,
        label_ja=row.label_ja,
        law_ja=row.law_ja,
        edition=book.edition,
    )
    return Decision(errors_pb2.ERROR_REASON_UNSPECIFIED, row.article, book.edition, book.digest, policy, basis)


def _refuse(row: StatuteRow | None, fired: Iterable[str], book: _Book) -> Decision:
    fired = frozenset(fired)
    for policy, (reason, article) in _REFUSALS.items():
        if policy in fired:
            return _refused(reason, article or (row.article if row else "30-25"), book, policy)
    # No policy forbade it, but none permitted it either.
    return _refused(errors_pb2.ERROR_REASON_PURPOSE_NOT_GRANTED, "30-25", book)


def _refused(reason: "errors_pb2.ErrorReason.ValueType", article: str, book: _Book, policy: str = "") -> Decision:
    return Decision(reason, article, book.edition, book.digest, policy, None)


def _digest(*parts: bytes) -> bytes:
    """SHA-256 over parts, each behind its length, so that none can pass for another."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def _own_file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
