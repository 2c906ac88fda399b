"""What the actions of a ledger are to the law: which kind of provision each one asks for, and by which method.

An action that is not here asks the statute table nothing: operators' acts, disclosures, and the recalls that a gateway
makes by itself.
"""

from collections.abc import Mapping
from typing import Final

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.purpose.articles import Provision

KINDS: "Final[Mapping[int, provision.ProvisionKind.ValueType]]" = {
    ledger.ACTION_INQUIRE: provision.PROVISION_KIND_RECORD,
    ledger.ACTION_VERIFY_IDENTITY: provision.PROVISION_KIND_VERIFICATION,
    ledger.ACTION_INQUIRE_BATCH: provision.PROVISION_KIND_BATCH,
    ledger.ACTION_WATCH: provision.PROVISION_KIND_CHANGES,
    ledger.ACTION_END_WATCH: provision.PROVISION_KIND_CHANGES,
    ledger.ACTION_TELL_CHANGE: provision.PROVISION_KIND_CHANGES,
    # The center is not asked: whoever may be answered for a purpose in any way may hear that an answer was wrong.
    ledger.ACTION_ACKNOWLEDGE_RECALL: provision.PROVISION_KIND_UNSPECIFIED,
}
TAKES_AWAY: Final = frozenset({ledger.ACTION_END_WATCH})
"""What reveals nothing and only ends what an agency began: open whatever the row opens (`decide_ending`)."""
_WAYS: "Final[Mapping[provision.ProvisionKind.ValueType, Provision | None]]" = {
    provision.PROVISION_KIND_UNSPECIFIED: None,
    provision.PROVISION_KIND_RECORD: "immediate",
    provision.PROVISION_KIND_VERIFICATION: "immediate",
    provision.PROVISION_KIND_BATCH: "batch",
    provision.PROVISION_KIND_CHANGES: "changes",
}

NOT_READ: Final = inquiry.INQUIRY_METHOD_FOUR_ITEMS
"""The law is asked with the four items where nobody is named, as where changes are told. Where persons are put on a
list, the center then asks with how their handles say that they were named."""


def way_of(action: int) -> Provision | None:
    """By which method of provision an action of `KINDS` is asked; None where any will do."""
    return _WAYS[KINDS[action]]
