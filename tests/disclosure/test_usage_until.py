"""An answer holds until a moment: what came later is named, and a contradicted ledger is a verdict of its own."""

import json
from datetime import timedelta
from typing import Any

import pytest

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet.disclosure import usage_rows, usage_store
from tests.disclosure.answers import CODE, LOOK, MADE_AT, OTHER, Files, told, us

Node = Any  # the fixture's own class lives in conftest.py


def grown(files: Files, node: Node, *more: bytes) -> None:
    node.gateway.leaves.extend(more)
    files.write_ledger(node.gateway.leaves, node.gateway._note())


async def test_an_answer_holds_until_the_ledger_was_looked_at_last_and_not_only_until_it_grew(filled: Node) -> None:
    def holds(look: usage_store.Look) -> str:
        return usage_rows.until(disclosure.Usage.FromString(told(filled, look=look).usage))

    assert holds(LOOK) == "2026-04-24T12:00:00+09:00"
    assert holds(LOOK._replace(verified_at=us(MADE_AT + timedelta(hours=1)))) == "2026-04-24T13:00:00+09:00"


async def test_what_a_ledger_has_after_the_search_is_counted_and_what_is_about_the_resident_is_named(
    filled: Node, files: Files, leaf: Any
) -> None:
    later = MADE_AT + timedelta(days=1)
    grown(files, filled, leaf(90, CODE, time=later), leaf(91, OTHER, time=later), leaf(92, time=later))
    report = files.verify(told(filled))
    assert (report.complete, report.exit_code) == (True, 0)
    assert (report.later_entries, report.later) == (3, ["entry 24 of jukinet/gateway-1, 2026-04-25T12:00:00+09:00"])
    assert "entry 24 of jukinet/gateway-1, 2026-04-25T12:00:00+09:00, is not in the answer" in report.to_text()
    assert report.to_text().endswith("SOUND AND COMPLETE UNTIL 2026-04-24T12:00:00+09:00\n")
    assert json.loads(report.to_json())["later"] == report.later


async def test_an_answer_holds_no_longer_than_until_the_first_entry_that_waits_for_its_witnesses(
    filled: Node, files: Files, leaf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Witnesses were away for an hour, and the gateway was closed after ten minutes of it."""
    began = MADE_AT + timedelta(days=1)
    filled.gateway.waiting = [leaf(24, OTHER, time=began), leaf(25, CODE, time=began + timedelta(minutes=9))]
    monkeypatch.setattr("jukinet.disclosure.mirror.now_us", lambda: us(began + timedelta(hours=1)))
    await filled.mirror.look()
    look = LOOK._replace(verified_at=filled.mirror.verified_at)
    answer = told(filled, look=look, made_at=began + timedelta(hours=1))
    grown(files, filled, *filled.gateway.waiting)
    report = files.verify(answer)
    assert (report.findings.first_ones, report.until) == ([], began)
    assert report.later == ["entry 25 of jukinet/gateway-1, 2026-04-25T12:09:00+09:00"]


async def test_an_entry_that_says_to_have_waited_for_years_takes_back_nothing_that_was_known(
    filled: Node, leaf: Any
) -> None:
    filled.gateway.waiting = [leaf(24, time=MADE_AT - timedelta(days=999))]
    await filled.mirror.look()
    assert filled.mirror.verified_at == us(MADE_AT)


async def test_what_waited_and_was_cosigned_is_in_the_answer_up_to_the_look(
    filled: Node, leaf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = MADE_AT + timedelta(days=1)
    for hours, waiting in enumerate([0, 1, 2, 0], start=1):
        filled.gateway.leaves += filled.gateway.waiting
        filled.gateway.waiting = [
            leaf(30 * hours + n, time=began + timedelta(hours=hours, minutes=-5)) for n in range(waiting)
        ]
        monkeypatch.setattr("jukinet.disclosure.mirror.now_us", lambda at=began + timedelta(hours=hours): us(at))
        await filled.mirror.look()
        late = timedelta(minutes=5 if waiting else 0)
        assert filled.mirror.verified_at == us(began + timedelta(hours=hours) - late)


@pytest.mark.parametrize(("earlier", "found"), [(timedelta(minutes=11), ["outdated"]), (timedelta(minutes=9), [])])
async def test_an_answer_that_ends_before_the_moment_up_to_which_it_claims_to_hold_is_found_out(
    filled: Node, files: Files, leaf: Any, earlier: timedelta, found: list[str]
) -> None:
    grown(files, filled, leaf(90, CODE, time=MADE_AT - earlier), leaf(91, time=MADE_AT - timedelta(days=9)))
    report = files.verify(told(filled))
    assert [finding.check for finding in report.findings.first_ones] == found


async def test_what_a_ledger_file_has_after_the_search_is_that_of_its_own_checkpoint(
    filled: Node, files: Files, leaf: Any
) -> None:
    grown(files, filled, leaf(90))
    later = leaf(91, CODE, time=MADE_AT + timedelta(days=1))
    files.write_ledger([*filled.gateway.leaves[:-1], later], filled.gateway._note())
    report = files.verify(told(filled))
    assert "its own checkpoint" in report.findings.first_ones[0].message


async def test_a_ledger_that_contradicted_itself_is_a_verdict_of_its_own(filled: Node, files: Files) -> None:
    answer = told(filled, look=LOOK._replace(contradicted=True))
    report = files.verify(answer)
    assert [finding.check for finding in report.findings.first_ones] == ["contradicted"]
    assert (report.contradicted, report.complete, report.exit_code) == (True, False, 3)
    assert report.to_text().endswith("CONTRADICTED\n")
    assert usage_rows.contradicted(disclosure.Usage.FromString(answer.usage)) == ["jukinet/gateway-1"]
    worse = files.verify(answer, witnesses=files.witnesses, quorum=3)
    assert (worse.contradicted, worse.exit_code, worse.verdict) == (False, 1, "NOT SOUND")
