"""Why nothing is told of a person takes no work of its own at the center.

On a quiet machine a clock inside the center tells a row that matched from none: 2 % of a question's time, which an
agency's clock does not see (`tests/journeys/test_silence.py`). One step that only some outcomes take is 8 %.
"""

import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.mesh.clock import now
from jukinet.purpose.agencies import SPIFFE_PREFIX
from jukinet.purpose.ticket import method_of, sign_tickets, subject_digest
from tests.agency_gateway import silent
from tests.agency_gateway.calls import GATEWAY, called_by
from tests.timing import in_turns, undisturbed

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls


def asked(network: Network, subject: inquiry.Subject) -> Callable[[], Awaitable[Any]]:
    """A call of the center's service, ready to be made: the ticket is signed."""
    request_id = str(uuid.uuid4())
    ticket = provision.Ticket(
        agency=SPIFFE_PREFIX + silent.AGENCY,
        purpose=silent.PURPOSE,
        request_id=request_id,
        kind=provision.PROVISION_KIND_RECORD,
        method=method_of(subject),
        fields=[inquiry.IDENTITY_FIELD_NAME],
        subject_digest=subject_digest(subject, request_id),
        edition="2019-01",
    )
    signed = sign_tickets([ticket], network.ticket_key, gateway=GATEWAY.uri, now=now())
    request = provision.ProvideRequest(tickets=signed, questions=[provision.Question(subject=subject)])
    return partial(network.center_service.Provide, request, None)


@pytest.mark.slow
@pytest.mark.parametrize("named", ["by_four_items", "by_number"])
async def test_no_outcome_takes_a_step_that_another_does_not(network: Network, named: str) -> None:
    silent.enter_all(network)
    subjects = {outcome: getattr(silent, named)(network, outcome) for outcome in silent.OUTCOMES}
    with called_by(GATEWAY):
        for subject in subjects.values():
            (told,) = (await asked(network, subject)()).provisions
            assert (told.refusal, told.outcome) == (0, inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH)
        taken = await in_turns(
            {outcome: partial(asked, network, subject) for outcome, subject in subjects.items()}, rounds=1_000, seed=1
        )
    times = undisturbed(taken)
    assert max(times.values()) < 1.045, times
