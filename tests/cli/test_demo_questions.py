"""The demo tells on which basis it was answered, and why it was refused."""

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import InquireResponse, LegalBasis, VerifyIdentityResponse
from jukinet.cli.demo_questions import basis_of, refusal_of

BASIS = LegalBasis(article="30-9", law_ja="厚生年金保険法", label_en="Pensions", label_ja="年金")
TOLD = "art. 30-9, 厚生年金保険法: Pensions / 年金"


def test_a_basis_is_told_in_both_languages() -> None:
    assert basis_of(InquireResponse(legal_basis=BASIS)) == TOLD


def test_a_basis_that_answers_share_is_told_once() -> None:
    yes, no = (VerifyIdentityResponse(legal_basis=BASIS, verified=verified) for verified in (True, False))
    assert basis_of(yes, no) == TOLD
    other = VerifyIdentityResponse(legal_basis=LegalBasis(article="30-10"))
    assert basis_of(yes, other).startswith(f"{TOLD}; art. 30-10")


def test_without_an_answer_there_is_no_basis() -> None:
    assert basis_of(None) == ""


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (errors.ERROR_REASON_PRIVATE_SECTOR_BANNED, "art. 30-38"),
        (errors.ERROR_REASON_PURPOSE_NOT_GRANTED, "PURPOSE_NOT_GRANTED: The named row"),
        (None, "no refusal by the gateway"),
    ],
)
def test_a_refusal_is_told_with_the_text_of_the_catalogue(
    reason: "errors.ErrorReason.ValueType | None", told: str
) -> None:
    assert told in refusal_of(reason)
