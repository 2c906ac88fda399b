"""Refusals: what outsiders see, what they do not, and the page that lists them."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangesRequest
from jukinet._pb.jukinet.link.v1 import link_pb2
from jukinet.mesh.errors import (
    BrokenMessage,
    Refused,
    check_message,
    code_of,
    error_id_of,
    facts_of,
    limit_of,
    name_of,
    reason_of,
    render_markdown,
    size_of,
    to_status,
    violations_of,
)

REASONS = [errors_pb2.ErrorReason.ValueType(value) for value in errors_pb2.ErrorReason.values()]
PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


@pytest.mark.parametrize("reason", REASONS, ids=name_of)
def test_every_reason_has_a_status_and_says_what_to_do(reason: Any) -> None:
    facts = facts_of(reason)
    assert code_of(reason) not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)
    assert facts.message.endswith(".")
    assert len(facts.message) > 15


def test_the_page_is_the_catalogue() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_markdown(), "write it anew with render_markdown()"


class Failed(Exception):
    """A failed call as a client sees it."""

    def __init__(
        self, trailing: Any, code: grpc.StatusCode = grpc.StatusCode.PERMISSION_DENIED, text: str = ""
    ) -> None:
        super().__init__()
        self.trailing, self.status, self.text = trailing, code, text

    def trailing_metadata(self) -> Any:
        return self.trailing

    def code(self) -> grpc.StatusCode:
        return self.status

    def details(self) -> str:
        return self.text


def failed(status: Any) -> Failed:
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return Failed([("other", "x"), ("grpc-status-details-bin", status.SerializeToString())], code, status.message)


@given(st.sampled_from(REASONS), st.text(max_size=20), st.text(max_size=200))
def test_a_reason_is_read_back_and_the_detail_is_not_sent(reason: Any, error_id: str, detail: str) -> None:
    secret = f"[{detail}]"
    status = to_status(Refused(reason, detail=secret), error_id)
    assert secret not in str(status)
    assert reason_of(failed(status)) == reason
    assert error_id_of(failed(status)) == error_id
    assert violations_of(failed(status)) == ()


def test_a_refusal_shows_its_reason_and_not_its_detail_as_an_exception() -> None:
    refused = Refused(errors_pb2.ERROR_REASON_NOT_HOLDER, field="resident_code", detail="secret")
    assert str(refused) == "NOT_HOLDER"
    assert "secret" not in repr(refused)
    (violation,) = violations_of(failed(to_status(refused, "1")))
    assert (violation.field, violation.rule) == ("resident_code", "NOT_HOLDER")


def test_a_conflict_tells_the_size_of_the_tree_and_nothing_else_can_be_told_so() -> None:
    status = to_status(Refused(errors_pb2.ERROR_REASON_CHECKPOINT_CONFLICT, size=17), "1")
    assert size_of(failed(status)) == 17
    assert size_of(failed(to_status(Refused(errors_pb2.ERROR_REASON_NOT_HOLDER), "1"))) is None
    info = error_details_pb2.ErrorInfo(domain="jukinet", reason="CHECKPOINT_CONFLICT", metadata={"size": "17 people"})
    status.details[0].Pack(info)
    assert size_of(failed(status)) is None


def test_a_used_up_budget_names_its_limit_and_no_other_refusal_names_one() -> None:
    refused = Refused(errors_pb2.ERROR_REASON_BUDGET_EXCEEDED, limit="operator_searches_minute")
    assert limit_of(failed(to_status(refused, "1"))) == "operator_searches_minute"
    assert limit_of(failed(to_status(Refused(errors_pb2.ERROR_REASON_NOT_HOLDER), "1"))) == ""


def other_domain() -> Any:
    status = to_status(Refused(errors_pb2.ERROR_REASON_NOT_HOLDER), "1")
    info = error_details_pb2.ErrorInfo(domain="example.jp", reason="NOT_HOLDER")
    status.details[0].Pack(info)
    return failed(status)


def unknown_reason() -> Any:
    status = to_status(Refused(errors_pb2.ERROR_REASON_NOT_HOLDER), "1")
    status.details[0].Pack(error_details_pb2.ErrorInfo(domain="jukinet", reason="OF_A_LATER_VERSION"))
    return failed(status)


@pytest.mark.parametrize(
    "error",
    [
        Failed(None),
        Failed([]),
        Failed([("grpc-status-details-bin", b"\xff")]),
        Failed([("grpc-status-details-bin", to_status(Refused(REASONS[1]), "").SerializeToString())]),
        ValueError(),
        other_domain(),
        unknown_reason(),
    ],
    ids=["no trailers", "empty", "nonsense", "contradiction", "no call", "other domain", "unknown"],
)
def test_what_is_no_refusal_of_ours_has_no_reason(error: BaseException) -> None:
    assert reason_of(error) is None


def test_violations_name_fields_of_lists_and_rules_and_fit_in_the_trailers() -> None:
    segments = [link_pb2.SealedSegment()] * 500
    with pytest.raises(Refused) as refused:
        check_message(link_pb2.StreamRequest(batch=link_pb2.Batch(epoch=1, first_sequence=1, segments=segments)))
    first = refused.value.violations[0]
    assert (first.field, first.rule) == ("batch.segments[0].segment", "bytes.min_len")
    assert refused.value.field == first.field
    assert to_status(refused.value, "0" * 16).ByteSize() < 4096


def test_only_a_text_whose_own_rules_hold_is_told_of_a_broken_message_however_many_are_broken() -> None:
    submission = Submission(message_id="m-1", previous_individual_number="?", previous_resident_code="?")
    submission.resident_code = submission.next_municipality = submission.previous_municipality = "?"
    submission.record.SetInParent()
    with pytest.raises(BrokenMessage) as refused:
        check_message(SubmitChangesRequest(submission=submission, traceparent="?"))
    # The rule of the trace context is the last one, and no longer among those that are told.
    assert "traceparent" not in [each.field for each in refused.value.violations]
    told = [
        refused.value.sound_text(path) for path in ("submission.message_id", "traceparent", "submission.resident_code")
    ]
    assert told == ["m-1", "", ""]


def test_a_message_that_keeps_the_rules_passes() -> None:
    check_message(link_pb2.StreamRequest(heartbeat=link_pb2.Heartbeat()))


def test_a_rule_of_the_whole_message_names_the_rule() -> None:
    with pytest.raises(Refused) as refused:
        check_message(link_pb2.StreamRequest())
    assert [(each.field, each.rule) for each in refused.value.violations] == [("message", "required")]
