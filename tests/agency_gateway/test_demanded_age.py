"""The age that an agency demands is kept by its own check, whatever a gateway tells the center."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency_gateway.asked import Asked
from center_node.freshness import BEHIND_US
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.provision.v1.provision_pb2 import Ticket
from jukinet.domain.brake import Tally
from jukinet.ledger.verify.freshness import demand_of, objection_to
from jukinet.mesh.clock import now_us
from jukinet.store.brakes import keep_tally
from tests.agency_gateway.agencies import signed
from tests.agency_gateway.test_batch_job import Case
from tests.agency_gateway.test_freshness import CHIYODA, YOKOSUKA, by_number, move_in

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
NOT_PROVIDED = inquiry.INQUIRY_OUTCOME_NOT_PROVIDED
SECOND = 1_000_000
ANY_AGE = 2**32 - 1


@pytest.fixture
def moment(network: Network) -> int:
    """The time of the center, which stands still; one resident is here, and one may have moved away."""
    network.enter(network.record_of(1), network.record_of(2))
    move_in(network, 2)
    at = now_us()
    network.sources._clock = lambda: at
    return at


@pytest.fixture
def hide_age(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes a gateway of it that tells the center of no age."""

    def hide() -> None:
        whole = Asked._ticket

        def ticket(self: Asked, *decision: Any, **about: Any) -> Ticket:
            made = whole(self, *decision, **about)
            made.ClearField("maximum_age_seconds")
            return made

        monkeypatch.setattr(Asked, "_ticket", ticket)

    return hide


def everybody(network: Network) -> list[inquiry.Subject]:
    """Who is there and who is not, by name and by number, where somebody may have moved in, and where nothing is."""
    subjects = [inquiry.Subject(four_items=network.four_items(network.record_of(number))) for number in (1, 9, 2, 1)]
    subjects[2].four_items.address.local_government_code = YOKOSUKA
    subjects[3].four_items.address.local_government_code = "141003"
    return [*subjects, by_number(network, 1), by_number(network, 9)]


async def ask(network: Network, allowed: int) -> list[inquiry.BatchAnswer]:
    network.begin_admission()  # whoever misses as often is frozen
    network.sources._said.clear()
    network.sources._completeness.read_at = 0
    message = network.batch_of(subjects=everybody(network), maximum_age_seconds=allowed)
    (response,) = await network.inquire_batch(message)
    return list(response.answers)


def objections(network: Network, answers: list[inquiry.BatchAnswer], allowed: int, moment: int) -> list[str]:
    """What the agency has against each answer."""
    key = network.freshness_key.public_key()
    return [
        objection_to(
            answer.freshness,
            key,
            demand_of(subject, answer.outcome, maximum_age_seconds=allowed),
            asked_us=moment,
            now_us=moment,
        )
        for subject, answer in zip(everybody(network), answers, strict=True)
    ]


AGES = [-SECOND, 0, 1, SECOND, SECOND + 1, BEHIND_US, BEHIND_US + 1, 100 * SECOND, 100 * SECOND + 1, 3600 * SECOND]
ALLOWED = [0, 1, 60, 100, ANY_AGE]


@pytest.mark.parametrize("age_us", AGES)
async def test_what_the_center_tells_is_taken_and_what_it_tells_because_the_age_was_hidden_is_not(
    network: Network, moment: int, hide_age: Callable[[], None], age_us: int
) -> None:
    network.complete = {CHIYODA: moment - age_us, YOKOSUKA: moment - age_us}
    told = {allowed: await ask(network, allowed) for allowed in ALLOWED}
    for allowed, answers in told.items():
        assert objections(network, answers, allowed, moment) == [""] * len(answers), allowed
    hide_age()
    for allowed, answers in told.items():
        hidden = await ask(network, allowed)
        same = [each.outcome == other.outcome for each, other in zip(hidden, answers, strict=True)]
        assert [not wrong for wrong in objections(network, hidden, allowed, moment)] == same, allowed


@pytest.mark.parametrize("is_held", [False, True])
async def test_what_the_center_tells_while_somebody_is_behind_or_held_is_taken(
    network: Network, moment: int, *, is_held: bool
) -> None:
    with network.register.begin() as connection:
        keep_tally(connection, CHIYODA, Tally(held_at=int(is_held)))
    for chiyoda, yokosuka in ((0, 0), (0, 2 * BEHIND_US), (2 * BEHIND_US, 0), (BEHIND_US // 2, 0)):
        network.complete = {CHIYODA: moment - chiyoda, YOKOSUKA: moment - yokosuka}
        for allowed in ALLOWED:
            answers = await ask(network, allowed)
            assert objections(network, answers, allowed, moment) == [""] * len(answers)


async def test_nobody_is_called_not_found_on_the_word_that_something_may_be_missing(
    network: Network, moment: int
) -> None:
    network.complete = {CHIYODA: moment - 2 * BEHIND_US, YOKOSUKA: moment}
    answers = await ask(network, 0)
    states = [inquiry.SourceState.Name(said.state)[13:] for answer in answers for said in answer.freshness]
    assert states == ["BEHIND", "BEHIND", "WAITING", "NOT_JOINED", "BEHIND", "BEHIND"]
    untrue = [answer for answer in answers if answer.outcome == NOT_PROVIDED]
    assert len(untrue) == 4
    for answer in untrue:
        answer.outcome = inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH
    assert [bool(wrong) for wrong in objections(network, answers, 0, moment)] == [each in untrue for each in answers]


@pytest.mark.parametrize(("max_age", "hides"), [(7200, False), (60, False), (0, False), (60, True)])
async def test_the_result_of_a_job_is_sound_only_within_the_age_that_the_order_demands(
    network: Network, tmp_path: Path, hide_age: Callable[[], None], max_age: int, *, hides: bool
) -> None:
    network.enter(*map(network.record_of, range(1, 4)))
    network.complete[CHIYODA] = now_us() - 3600 * SECOND
    case = Case(tmp_path, network)
    case.order([1, 2, 3, 9], max_age=max_age)
    if hides:
        hide_age()
    await case.run()
    report = case.verify(center=case.center(network.freshness_key))
    assert (report.findings.sound, "it is older than was asked for" in report.to_text()) == (not hides, hides)


async def test_an_age_that_was_changed_behind_the_operators_signature_is_found_by_the_agency(
    network: Network, moment: int
) -> None:
    network.complete = {CHIYODA: moment - 100 * SECOND}
    request = signed(network.batch_of(1, maximum_age_seconds=60))
    request.context.maximum_age_seconds = 0
    (response,) = await network.inquire_batch(request)
    subject, (answer,) = request.subjects[0], response.answers
    assert answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
    key, demand = network.freshness_key.public_key(), demand_of(subject, answer.outcome, maximum_age_seconds=60)
    assert "older" in objection_to(answer.freshness, key, demand, asked_us=moment, now_us=moment)
