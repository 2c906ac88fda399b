"""Nobody asks but an operator whom his agency listed, by his own key, at one terminal, while he is at work."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agency_gateway.operators import Operators
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.ledger.entry import EntryKeys
from jukinet.mesh.clock import now
from jukinet.mesh.identity import Identity
from jukinet.mesh.interceptors import Terminal
from jukinet.purpose.agencies import Agency
from jukinet.purpose.operator_proof import LIFETIME, sign, statement_of
from tests.agency_gateway.agencies import OPERATOR_KEYS, PENSION, signed
from tests.agency_gateway.calls import CERTIFICATE, called_by

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
NOW = datetime(2026, 4, 1, tzinfo=UTC)
HERE = Terminal(CERTIFICATE, "ipv4:192.0.2.1")
THERE = Terminal(CERTIFICATE, "ipv4:192.0.2.2")
MINUTE = timedelta(minutes=1)
ALLOWED = errors.ERROR_REASON_UNSPECIFIED
ELSEWHERE, EXPIRED = errors.ERROR_REASON_OPERATOR_ELSEWHERE, errors.ERROR_REASON_OPERATOR_PROOF_EXPIRED
UNKNOWN, INVALID = errors.ERROR_REASON_OPERATOR_UNKNOWN, errors.ERROR_REASON_OPERATOR_PROOF_INVALID


class Office:
    """One agency's operators at their terminals; `at` is minutes after the beginning.

    `clock_ahead` is by how many minutes the gateway's and the terminals' time of day is wrong.
    """

    def __init__(self) -> None:
        keys = {name: key.public_key() for name, key in OPERATOR_KEYS.items()}
        agency = Agency(
            PENSION.name, PENSION.uri, "P", "年", "public", frozenset(), frozenset(), NOW.date(), operators=keys
        )
        self.passed = 0.0
        self.operators = Operators({PENSION.uri: agency}, clock=lambda: 60 * self.passed)

    def ask(
        self,
        at: float = 0,
        *,
        operator: str = "op-1",
        terminal: Terminal = HERE,
        logged_on: float | None = None,
        clock_ahead: float = 0,
    ) -> int:
        self.passed = at
        moment = NOW + (at + clock_ahead) * MINUTE
        asked = inquiry.VerifyIdentityRequest(context=inquiry.InquiryContext(operator=operator))
        parts: dict[str, Any] = {"agency": PENSION.uri, "certificate": terminal.certificate}
        logged_on_at = moment if logged_on is None else NOW + logged_on * MINUTE
        sign(asked, OPERATOR_KEYS[operator], now=moment, logged_on_at=logged_on_at, **parts)
        proof, statement = asked.context.operator_proof, statement_of(asked, **parts)
        return self.operators.admit(PENSION.uri, operator, proof, statement, terminal=terminal, now=moment)


@pytest.fixture
def office() -> Office:
    return Office()


def test_an_operator_asks_as_long_as_he_works(office: Office) -> None:
    assert [office.ask(at, logged_on=0.1) for at in (0.1, 4, 8, 12, 16.5)] == [ALLOWED] * 5


def test_one_operator_at_two_terminals_is_refused_at_the_second_and_stays_at_the_first(office: Office) -> None:
    assert office.ask(0) == ALLOWED
    assert office.ask(1, terminal=THERE) == ELSEWHERE
    assert office.ask(2, terminal=Terminal(bytes(32), HERE.host)) == ELSEWHERE
    assert office.ask(3) == ALLOWED


def test_a_renewed_certificate_is_a_second_terminal_until_five_minutes_have_passed(office: Office) -> None:
    renewed = Terminal(bytes(32), HERE.host)
    assert office.ask(0) == ALLOWED
    assert office.ask(4.9, terminal=renewed) == ELSEWHERE
    assert office.ask(5.1, terminal=renewed, logged_on=0.01) == EXPIRED  # so he logs on again
    assert office.ask(5.2, terminal=renewed) == ALLOWED


def test_two_operators_may_share_a_terminal_but_not_a_session(office: Office) -> None:
    assert (office.ask(0), office.ask(0, operator="op-2")) == (ALLOWED, ALLOWED)


def test_refusals_at_a_second_terminal_do_not_lengthen_the_session_at_the_first(office: Office) -> None:
    office.ask(0)
    assert office.ask(4, terminal=THERE) == ELSEWHERE
    assert office.ask(6, terminal=THERE) == ALLOWED


def test_a_terminal_that_was_left_logged_on_serves_nobody(office: Office) -> None:
    assert office.ask(0) == ALLOWED
    assert office.ask(5.1, logged_on=0.01) == EXPIRED
    assert office.ask(5.2) == ALLOWED  # he logged on again


def test_a_clock_that_was_an_hour_ahead_lengthens_no_session(office: Office) -> None:
    assert office.ask(0, clock_ahead=60) == ALLOWED
    assert office.ask(50, logged_on=-10) == EXPIRED
    assert office.ask(50, terminal=THERE) == ALLOWED  # he sat nowhere for fifty minutes


def test_a_clock_that_is_set_ahead_ends_no_session(office: Office) -> None:
    assert office.ask(0) == ALLOWED
    assert office.ask(1, terminal=THERE, clock_ahead=60) == ELSEWHERE
    assert office.ask(2, logged_on=0, clock_ahead=60) == ALLOWED


def test_a_log_on_long_before_the_first_question_is_none(office: Office) -> None:
    assert office.ask(10, logged_on=4.9) == EXPIRED
    assert office.ask(10, logged_on=5) == ALLOWED


def test_a_log_on_at_one_terminal_does_not_open_another(office: Office) -> None:
    office.ask(0)
    assert office.ask(5.1, terminal=THERE, logged_on=0.01) == EXPIRED


async def test_an_answer_keeps_the_proof_of_who_asked(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire()
    await network.verify(network.four_items(network.record_of(1)))
    (batch,) = await network.inquire_batch(network.batch_of(1, 2))
    entries = network.leaves()
    assert [len(entry.operator_proof) for entry in entries] == [32] * 4
    assert entries[2].operator_proof == entries[3].operator_proof  # one message, signed once
    assert len({entry.operator_proof for entry in entries}) == 3
    assert len(batch.answers) == 2


async def test_what_the_ledger_keeps_binds_the_operator_to_what_he_signed(network: Network) -> None:
    asked = inquiry.VerifyIdentityRequest(
        context=network.context(), four_items=network.four_items(network.record_of(1))
    )
    signed(asked)
    with called_by(PENSION):
        await network.inquiry.VerifyIdentity(asked, None)
    statement = statement_of(asked, agency=PENSION.uri, certificate=CERTIFICATE)
    (entry,) = network.leaves()
    keys = EntryKeys(bytes(32))
    assert entry.operator_proof == keys.proof_digest(statement, asked.context.operator_proof.signature)


async def refused(network: Network, **parts: Any) -> int:
    """The reason with which a question is refused whose proof is made with other parts; it is on record, unread."""
    caller: dict[str, Any] = {key: parts.pop(key) for key in ("certificate_of_call", "address") if key in parts}
    if "certificate_of_call" in caller:
        caller["certificate"] = caller.pop("certificate_of_call")
    context = network.context(operator=parts.pop("operator", "op-1"))
    asked = inquiry.VerifyIdentityRequest(context=context, four_items=network.four_items(network.record_of(1)))
    if not parts.pop("unsigned", False):
        signed(asked, **parts)
    with called_by(PENSION, **caller):
        reason: int = await network.refusal_of(network.inquiry.VerifyIdentity(asked, None))
    entry = network.leaves()[-1]
    assert (entry.request_id, entry.result, entry.refusal) == (context.request_id, ledger.RESULT_REFUSED, reason)
    assert (entry.operator_proof, network.reads, network.center.requests) == (b"", [], [])
    return reason


async def test_without_a_proof_nothing_is_answered_or_looked_up(network: Network) -> None:
    assert await refused(network, unsigned=True) == errors.ERROR_REASON_OPERATOR_PROOF_MISSING


async def test_only_listed_operators_ask(network: Network) -> None:
    assert await refused(network, operator="op-4") == UNKNOWN


async def test_an_agency_without_operators_gets_no_answer(network: Network) -> None:
    network.admission._operators._directory = {}
    assert await refused(network) == UNKNOWN


async def test_a_proof_holds_with_the_certificate_of_the_call_alone(network: Network) -> None:
    assert await refused(network, certificate=bytes(32)) == INVALID
    assert await refused(network, certificate_of_call=bytes(32)) == INVALID


async def test_one_operator_does_not_sign_for_another(network: Network) -> None:
    asked = network.context(operator="op-2")
    question = inquiry.VerifyIdentityRequest(context=asked, four_items=network.four_items(network.record_of(1)))
    sign(question, OPERATOR_KEYS["op-1"], agency=PENSION.uri, certificate=CERTIFICATE, now=now())
    with called_by(PENSION):
        assert await network.refusal_of(network.inquiry.VerifyIdentity(question, None)) == INVALID


async def test_an_old_proof_and_one_of_the_future_are_refused(network: Network) -> None:
    for moment in (now() - LIFETIME - timedelta(seconds=1), now() + timedelta(minutes=1)):
        assert await refused(network, now=moment) == EXPIRED


async def test_a_question_from_a_second_terminal_is_refused_and_alarmed_without_a_name(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    await network.inquire()
    reads = len(network.reads), len(network.center.requests)
    asked = inquiry.VerifyIdentityRequest(
        context=network.context(), four_items=network.four_items(network.record_of(1))
    )
    with called_by(PENSION, address="ipv4:192.0.2.9:40000"):
        assert await network.refusal_of(network.inquiry.VerifyIdentity(signed(asked), None)) == ELSEWHERE
    assert (len(network.reads), len(network.center.requests)) == reads
    assert "an operator asked from a second terminal" in caplog.text
    assert "op-1" not in caplog.text


async def test_a_new_connection_is_no_new_terminal(network: Network) -> None:
    for port in (40001, 40002):
        asked = inquiry.VerifyIdentityRequest(
            context=network.context(), four_items=network.four_items(network.record_of(1))
        )
        with called_by(PENSION, address=f"ipv4:192.0.2.1:{port}"):
            assert (await network.inquiry.VerifyIdentity(signed(asked), None)).request_id


async def test_a_message_of_a_batch_without_its_operators_proof_is_refused_as_a_whole(network: Network) -> None:
    message = network.batch_of(1, 2, operator="op-4")
    assert await network.refusal_of(network.inquire_batch(message)) == UNKNOWN
    assert [entry.refusal for entry in network.leaves()] == [UNKNOWN]
    assert network.center.requests == []


async def test_the_law_is_told_before_the_operator_is_looked_at(network: Network) -> None:
    asked = inquiry.VerifyIdentityRequest(
        context=network.context(), four_items=network.four_items(network.record_of(1))
    )
    with called_by(Identity("private", "example-bank")):
        reason = await network.refusal_of(network.inquiry.VerifyIdentity(asked, None))
    assert reason == errors.ERROR_REASON_PRIVATE_SECTOR_BANNED
