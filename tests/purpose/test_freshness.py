"""An agency sees by itself whether the center said how fresh an answer's source is, and of what and when."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import SOURCE_STATE_CONNECTED, Freshness
from jukinet.purpose.freshness import CLOCKS_US, objection_to, sign_freshness

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
ASKED, ANSWERED = 1_800_000_000_000_000, 1_800_000_000_500_000


def said(municipality: str = "131016", at_us: int = ASKED) -> Freshness:
    statement = Freshness(municipality=municipality, state=SOURCE_STATE_CONNECTED)
    statement.said_at.FromMicroseconds(at_us)
    return sign_freshness(statement, KEY)


def objection(*statements: Freshness, municipality: str = "") -> str:
    return objection_to(statements, KEY.public_key(), municipality=municipality, asked_us=ASKED, now_us=ANSWERED)


def test_the_centers_word_of_this_moment_is_taken() -> None:
    assert objection(said()) == ""
    assert objection(said(), municipality="131016") == ""
    assert objection(said(""), municipality="") == ""


def test_an_answer_that_says_nothing_of_its_source_is_not_taken() -> None:
    assert "does not say" in objection()


def test_a_statement_that_another_one_made_or_altered_is_not_taken() -> None:
    forged = sign_freshness(Freshness(municipality="131016"), Ed25519PrivateKey.generate())
    altered = said()
    altered.complete_as_of.FromMicroseconds(ASKED)
    for each in (forged, altered, Freshness(municipality="131016", signature=bytes(64))):
        assert "did not say so" in objection(said(), each)


def test_a_statement_about_another_municipality_is_not_taken() -> None:
    assert "another municipality" in objection(said(), municipality="141003")
    assert "another municipality" in objection(said(""), municipality="131016")


@given(off_us=st.integers(-(10**14), 10**14))
def test_a_statement_from_better_days_or_from_days_to_come_is_not_taken(off_us: int) -> None:
    in_time = -CLOCKS_US <= off_us <= ANSWERED - ASKED + CLOCKS_US
    assert (objection(said(at_us=ASKED + off_us)) == "") == in_time
