"""An agency sees by itself whether the center said how fresh an answer's source is, and of what and when."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import SOURCE_STATE_CONNECTED, Freshness, Subject
from jukinet.ledger.verify import freshness
from jukinet.ledger.verify.freshness import CLOCKS_US, asked_of, objection_to
from jukinet.purpose.freshness import sign_freshness

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
ASKED, ANSWERED = 1_800_000_000_000_000, 1_800_000_000_500_000


def said(municipality: str = "131016", at_us: int = ASKED) -> Freshness:
    statement = Freshness(municipality=municipality, state=SOURCE_STATE_CONNECTED)
    statement.said_at.FromMicroseconds(at_us)
    return sign_freshness(statement, KEY)


def objection(*statements: Freshness, municipality: str | None = None) -> str:
    return objection_to(statements, KEY.public_key(), municipality=municipality, asked_us=ASKED, now_us=ANSWERED)


def test_the_centers_word_of_this_moment_is_taken() -> None:
    assert objection(said()) == ""
    assert objection(said(), municipality="131016") == ""
    assert objection(said(""), municipality="") == ""


def test_the_same_statement_is_checked_once_however_many_answers_carry_it() -> None:
    before = freshness._is_signed.cache_info()
    statement = said(at_us=ASKED + 1)
    assert all(objection(statement) == "" for _ in range(5))
    after = freshness._is_signed.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 4)


def test_who_is_found_may_have_moved_and_who_is_not_is_not_found_where_was_asked() -> None:
    number, items = Subject(individual_number="000000000019"), Subject()
    items.four_items.address.local_government_code = "131016"
    assert [asked_of(each, found=True) for each in (number, items)] == [None, None]
    assert [asked_of(each, found=False) for each in (number, items)] == ["", "131016"]


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
    assert "another municipality" in objection(said(), municipality="")


@given(off_us=st.integers(-(10**14), 10**14))
def test_a_statement_from_better_days_or_from_days_to_come_is_not_taken(off_us: int) -> None:
    in_time = -CLOCKS_US <= off_us <= ANSWERED - ASKED + CLOCKS_US
    assert (objection(said(at_us=ASKED + off_us)) == "") == in_time
