"""Whether an operator of an agency may ask now: he proves himself, is not frozen and is within his budget.

And what follows from his answers: they are watched (`detectors`), and who has to explain himself is frozen or alarms
the network, as the directory says of his agency.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

from agency_gateway.asked import Asked
from agency_gateway.budgets import Budgets, Charge, Kind, OverBudget
from agency_gateway.detectors import Detectors, Finding, Seen
from agency_gateway.freezes import Freezes
from agency_gateway.operators import Operators
from jukinet._pb.jukinet.admin.v1.freeze_pb2 import Detector
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.ledger.entry import EntryKeys
from jukinet.mesh import metrics
from jukinet.mesh.clock import now
from jukinet.purpose.agencies import AgencyDirectory
from jukinet.purpose.ticket import question_id

log = logging.getLogger(__name__)


class NotAdmitted(Exception):
    """The operator may not ask this now: why, and the question with his proof, if that held.

    `limit` is the one that is reached, for BUDGET_EXCEEDED.
    """

    def __init__(self, reason: "errors.ErrorReason.ValueType", asked: Asked, *, limit: str = "") -> None:
        super().__init__(errors.ErrorReason.Name(reason))
        self.reason = reason
        self.asked = asked
        self.limit = limit


class Admission:
    """The operators of all agencies at one gateway.

    Args:
        directory: the agencies with their operators, limits and reactions.
        keys: of the ledger's pseudonyms and digests.
        freezes: who is frozen.
    """

    def __init__(self, *, directory: AgencyDirectory, keys: EntryKeys, freezes: Freezes) -> None:
        self._directory = directory
        self._keys = keys
        self._freezes = freezes
        self._operators = Operators(directory)
        self._budgets = Budgets(directory)
        self._detectors = Detectors()

    def restore(self, seen: Iterable[Seen]) -> None:
        """Takes in what the ledger holds of today, in its order."""
        found: dict[bytes, Finding] = {}
        for each in seen:
            self._budgets.restore(each.entry)
            found |= {one.operator: one for one in self._detectors.see(each) if self._freezes_for(one)}
            found.pop(each.entry.about_operator, None)
        for finding in found.values():  # the node ended before it was on record
            self._freezes.freeze(finding)

    async def admit(self, asked: Asked, subjects: Sequence[inquiry.Subject], *, outside: int = 0) -> Asked:
        """The question about these persons with its operator's proof; it is charged.

        Args:
            asked: the question.
            subjects: whom it names.
            outside: how many of them are looked for where the agency may hear of nobody.

        Raises NotAdmitted: as `prove` does, and BUDGET_EXCEEDED. Raises Refused: LEDGER_UNAVAILABLE.
        """
        asked, moment = await self.prove(asked), now()
        if outside:
            await self._note_outside(asked, outside, moment)
        charge, subject = self._charge(asked, len(subjects)), b""
        single = charge.kind != "batch"
        if single:
            subject = subjects[0].SerializeToString(deterministic=True)
        try:
            new = self._budgets.charge(charge, subject, moment)
        except OverBudget as over:
            metrics.budget_exceeded()
            log.info("a question is over a limit of its agency: %s", over.limit, extra={"peer": asked.agency})
            raise NotAdmitted(errors.ERROR_REASON_BUDGET_EXCEEDED, asked, limit=over.limit) from None
        always_new = single and charge.sealed
        # Nothing waits behind the charge: from here on the caller may leave, and what he is charged for is on record.
        return asked._replace(new_subject=new or always_new, known_under_seal=always_new and not new)

    def refused_whole(self, asked: Asked, persons: int, charged_at: datetime) -> None:
        """Lets an admitted message of a batch that is refused as a whole count as its one entry does."""
        self._budgets.keep_one(self._charge(asked, persons), charged_at)

    async def prove(self, asked: Asked) -> Asked:
        """The question with its operator's proof; for what looks nobody up, and costs nothing.

        Raises NotAdmitted: OPERATOR_PROOF_MISSING, OPERATOR_UNKNOWN, OPERATOR_PROOF_INVALID, OPERATOR_PROOF_EXPIRED,
        OPERATOR_ELSEWHERE, OPERATOR_FROZEN. Raises Refused: LEDGER_UNAVAILABLE.
        """
        context, moment = asked.context, now()
        proof = context.operator_proof if context.HasField("operator_proof") else None
        who = asked.agency, context.operator
        refusal = self._operators.admit(*who, proof, asked.statement, terminal=asked.terminal, now=moment)
        if refusal:
            raise NotAdmitted(refusal, asked)
        asked = asked._replace(proof=self._keys.proof_digest(asked.statement, context.operator_proof.signature))
        await self.go_on(asked)
        return asked

    async def go_on(self, asked: Asked) -> None:
        """Returns where the operator of a question that he proved is not frozen.

        Raises NotAdmitted: OPERATOR_FROZEN. Raises Refused: LEDGER_UNAVAILABLE.
        """
        if self._freezes.holds((asked.agency, self._keys.operator_pseudonym(asked.agency, asked.context.operator))):
            await self._freezes.settle()
            raise NotAdmitted(errors.ERROR_REASON_OPERATOR_FROZEN, asked)

    async def watch(self, seen: Iterable[Seen]) -> None:
        """Looks at answers that are on record. Raises Refused: LEDGER_UNAVAILABLE, where a freeze is not on record."""
        await self._act_on([finding for each in seen for finding in self._detectors.see(each)])

    async def _note_outside(self, asked: Asked, persons: int, moment: datetime) -> None:
        metrics.questions_outside(persons)
        batch = asked.action == ledger.ACTION_INQUIRE_BATCH
        entry_id = question_id(asked.request_id, 0) if batch else asked.request_id
        operator = self._keys.operator_pseudonym(asked.agency, asked.context.operator)
        seen = asked.agency, operator, entry_id, persons, int(moment.timestamp())
        await self._act_on(self._detectors.see_outside(*seen))

    async def _act_on(self, found: Sequence[Finding]) -> None:
        for finding in found:
            metrics.detector_finding(Detector.Value(f"DETECTOR_{finding.detector.upper()}"))
            pseudonym, request_id = finding.operator.hex(), finding.request_id
            facts = {"peer": finding.agency, "reason": finding.detector, "request_id": request_id}
            log.warning(
                "an operator's questions have to be explained", extra={**facts, "operator_pseudonym": pseudonym}
            )
            if self._freezes_for(finding):
                self._freezes.freeze(finding)
        if found:
            await self._freezes.settle()

    def _freezes_for(self, finding: Finding) -> bool:
        listed = self._directory.get(finding.agency)
        return listed is None or getattr(listed, f"on_{finding.detector}") == "freeze"

    def _charge(self, asked: Asked, persons: int) -> Charge:
        kind: Kind = "number" if asked.method == inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER else "search"
        if asked.action == ledger.ACTION_INQUIRE_BATCH:
            kind = "batch"
        operator = self._keys.operator_pseudonym(asked.agency, asked.context.operator)
        return Charge(asked.agency, operator, kind, asked.context.purpose, persons, sealed=bool(asked.sealed_until))
