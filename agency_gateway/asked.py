"""A question in the gateway's own terms, and what it states about it to the center."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.mesh.interceptors import Terminal, current_caller, current_terminal
from jukinet.purpose.articles import Provision
from jukinet.purpose.decision import Decision
from jukinet.purpose.kinds import KINDS, way_of
from jukinet.purpose.operator_proof import Question, statement_of
from jukinet.purpose.seats import terminal_tag
from jukinet.purpose.ticket import subject_digest, subject_digests

NOWHERE: Final = Terminal(b"", "")
"""The terminal of what was refused unread."""


class Asked(NamedTuple):
    """One question, or one message of a batch, in the gateway's own terms."""

    agency: str
    request_id: str
    """Of the question; the context's is the message's in a batch."""
    context: inquiry.InquiryContext
    action: "ledger.Action.ValueType"
    method: "inquiry.InquiryMethod.ValueType"
    fields: "tuple[inquiry.IdentityField.ValueType, ...]"
    terminal: Terminal = NOWHERE
    statement: bytes = b""
    """What its operator has to have signed; empty for what was refused unread."""
    proof: bytes = b""
    """Digest of his proof for the ledger, once it was found to hold."""
    new_subject: bool = False
    """What the entry says: whether the agency asks about this person for the first time today, and of a sealed question
    always so; not for a batch."""
    known_under_seal: bool = False
    """Whether the agency asked about this person under seal before today; for the detectors alone."""
    sealed_until: str = ""
    """Day on which the person may be shown that it was asked (封印); empty = at once."""

    @property
    def way(self) -> Provision | None:
        """By which method of provision it is asked; None where any will do."""
        return way_of(self.action)

    def ticket(self, subject: Message, decision: Decision, *, for_watch: bool = False) -> provision.Ticket:
        """What the gateway states about it to the center, once it decided to ask; `subject` is the person or order."""
        digest = subject_digest(subject, self.request_id)
        return self._ticket(decision, method=self.method, subject_digest=digest, for_watch=for_watch)

    def batch_ticket(
        self, subjects: Sequence[inquiry.Subject], decision: Decision, *, for_watch: bool
    ) -> provision.Ticket:
        """The same of a message of a batch."""
        digests = subject_digests(subjects, self.request_id)
        return self._ticket(decision, subject_digests=digests, for_watch=for_watch)

    def _ticket(self, decision: Decision, **about: Any) -> provision.Ticket:
        return provision.Ticket(
            agency=self.agency,
            purpose=self.context.purpose,
            request_id=self.request_id,
            kind=KINDS[self.action],
            fields=self.fields,
            edition=decision.edition,
            maximum_age_seconds=self.context.maximum_age_seconds,
            sealed_until=self.sealed_until,
            operator=self.context.operator,
            terminal=terminal_tag(self.terminal, self.agency, self.context.operator),
            **about,
        )


def asked_by_call(
    question: Question,
    *,
    action: "ledger.Action.ValueType",
    method: "inquiry.InquiryMethod.ValueType",
    fields: "tuple[inquiry.IdentityField.ValueType, ...]",
    sealed_until: str = "",
) -> Asked:
    """The question of the call that is running."""
    agency, terminal, context = current_caller().uri, current_terminal(), question.context
    statement = statement_of(question, agency=agency, certificate=terminal.certificate)
    return Asked(
        agency, context.request_id, context, action, method, fields, terminal, statement, sealed_until=sealed_until
    )
