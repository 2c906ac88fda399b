"""Submitting a single change: it is registered once, or it is told why not."""

from pathlib import Path

import grpc
import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet.cli.change_file import read_changes
from jukinet.cli.retry import CallRefused, DeadlinePassed
from jukinet.cli.submit_one import SubmissionRefused, submit_one
from jukinet.mesh.errors import Refused
from tests.cli.intake import Fault, Intake, deaths, write


@pytest.fixture
def death(tmp_path: Path) -> Submission:
    ((_, submission),) = read_changes(write(tmp_path / "one", deaths(1)))
    assert isinstance(submission, Submission)
    return submission


@pytest.mark.parametrize("fault", [None, "cut", "lose", Refused(errors_pb2.ERROR_REASON_OVERLOADED)])
async def test_one_change_is_registered_once(
    intake: Intake, channel: grpc.aio.Channel, death: Submission, fault: Fault | None
) -> None:
    intake.faults = {"K-0": fault} if fault else {}
    answer = await submit_one(death, channel, 10)
    assert (answer.version, answer.sequence, answer.repeated) == (1, 1, fault == "lose")


async def test_one_refused_change_says_why_and_where(
    intake: Intake, channel: grpc.aio.Channel, death: Submission
) -> None:
    intake.faults = {"K-0": Refused(errors_pb2.ERROR_REASON_EVENT_DATE, field="event_date")}
    with pytest.raises(SubmissionRefused, match="may not lie after today") as refused:
        await submit_one(death, channel, 10)
    assert (refused.value.reason, refused.value.field) == (errors_pb2.ERROR_REASON_EVENT_DATE, "event_date")


async def test_one_change_without_an_answer_ends_with_the_deadline(
    intake: Intake, channel: grpc.aio.Channel, death: Submission
) -> None:
    intake.faults = {"K-0": "hang"}
    with pytest.raises(DeadlinePassed) as passed:
        await submit_one(death, channel, 0.2)
    assert passed.value.report is None


async def test_a_server_without_intake_is_named_as_such(
    intake: Intake, channel: grpc.aio.Channel, death: Submission
) -> None:
    intake.faults = {"K-0": "foreign"}
    with pytest.raises(CallRefused, match="UNIMPLEMENTED"):
        await submit_one(death, channel, 10)
