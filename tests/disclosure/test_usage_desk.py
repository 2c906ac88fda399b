"""What a counter is told at the desk: up to when it holds, which ledger was contradicted, and the same again."""

import asyncio
import base64
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from starlette.requests import Request

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.disclosure.desk import Desk
from jukinet.disclosure.rest import Face
from jukinet.disclosure.usage import UsageOffice
from jukinet.disclosure.usage_desk import UsageDesk
from jukinet.mesh import clock
from jukinet.mesh.errors import Refused, name_of
from jukinet.mesh.identity import Identity
from tests.disclosure.answers import APRIL, CODE, OFFICE, OTHER
from tests.disclosure.counter import COUNTER, check

Node = Any  # the fixture's own class lives in conftest.py
NO_TRUST: Any = None


async def told(usage: UsageDesk, signed: disclosure.SignedIdentityCheck) -> disclosure.FindUsageResponse:
    return await usage.find(COUNTER, signed, APRIL, 0)


def ledger_of(answer: disclosure.FindUsageResponse) -> disclosure.SearchedLedger:
    return disclosure.Usage.FromString(answer.usage).ledgers[0]


async def test_an_answer_holds_until_the_last_look_that_verified_and_says_what_contradicts_it(
    node: Node, usage: UsageDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1_780_000_000_000_000, 1_780_000_500_000_000, 1_780_000_900_000_000, 1_780_000_900_000_001])
    monkeypatch.setattr("jukinet.disclosure.mirror.now_us", lambda: next(times))
    await node.mirror.look()
    await node.mirror.look()
    node.gateway.leaves = node.gateway.leaves[:1]
    await node.mirror.look()
    signed = check()
    answer = await told(usage, signed)
    assert (ledger_of(answer).size, ledger_of(answer).contradicted) == (3, True)
    assert ledger_of(answer).verified_at.ToMicroseconds() == 1_780_000_500_000_000
    # Who calls was made sure of before.
    face = Face(node=Identity("disclosure"), usage=usage, mirrors=[], reader=node.reader, trust=lambda: NO_TRUST)
    token = base64.urlsafe_b64encode(signed.SerializeToString())
    query = b"periodStart=2026-04-01&periodEnd=2026-04-30"
    asked = Request({"type": "http", "query_string": query, "headers": [(b"authorization", b"Bearer " + token)]})
    shown = json.loads(bytes((await face._find_usage(asked, COUNTER)).body))
    assert (shown["verifiedUntil"], shown["contradicted"]) == ("2026-05-29T05:35:00+09:00", ["jukinet/gateway-1"])


@pytest.mark.parametrize("restarted", [False, True])
async def test_who_contradicted_itself_and_went_away_is_told_of_until_it_verifies_again(
    node: Node, desk: Desk, usage: UsageDesk, restarted: bool
) -> None:
    await node.mirror.look()
    whole = node.gateway.leaves
    node.gateway.leaves = whole[:1]
    await node.mirror.look()
    mirror = node.begin() if restarted else node.mirror
    at_the_desk = UsageDesk(desk, office=OFFICE, mirrors=[mirror], reader=node.reader)
    node.gateway.away = True
    await mirror.look()
    assert ledger_of(await told(at_the_desk, check())).contradicted
    node.gateway.away, node.gateway.leaves = False, whole
    await mirror.look()
    assert not ledger_of(await told(at_the_desk, check(2, OTHER))).contradicted


async def test_the_same_is_told_again_though_the_ledger_was_looked_at_since(node: Node, usage: UsageDesk) -> None:
    await node.mirror.look()
    signed = check()
    first = await told(usage, signed)
    await node.mirror.look()
    assert await told(usage, signed) == first
    with pytest.raises(Refused, match="USAGE_ASKED_TODAY"):
        await told(usage, check(2))


async def test_two_calls_of_one_moment_hear_the_same_if_they_are_for_one_check(node: Node, usage: UsageDesk) -> None:
    await node.mirror.look()
    signed = check()
    first, *others = await asyncio.gather(*(told(usage, signed) for _ in range(4)))
    assert others == [first] * 3
    results = {ledger_pb2.Result.Name(each.result) for each in node.own_entries()}
    assert (len(node.own_entries()), results) == (4, {"RESULT_DONE"})


async def test_of_two_checks_of_one_moment_one_uses_the_residents_day(node: Node, usage: UsageDesk) -> None:
    await node.mirror.look()
    heard = await asyncio.gather(*(told(usage, check(number)) for number in (1, 2)), return_exceptions=True)
    refused = [name_of(each.reason) for each in heard if isinstance(each, Refused)]
    assert refused == ["USAGE_ASKED_TODAY"]


async def test_the_parts_of_an_answer_are_had_over_midnight_and_the_new_day_is_not_used_by_them(
    node: Node, usage: UsageDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.mirror.look()
    signed, today = check(), clock.today_in_japan()
    first = await told(usage, signed)
    monkeypatch.setattr(clock, "today_in_japan", lambda: today + timedelta(days=1))
    assert await told(usage, signed) == first
    later = disclosure.Usage.FromString((await usage.find(COUNTER, signed, APRIL, 400)).usage)
    assert (later.first_row, later.made_at) == (400, disclosure.Usage.FromString(first.usage).made_at)
    with pytest.raises(Refused, match="IDENTITY_CHECK_INVALID"):
        await usage.find(COUNTER, signed, APRIL._replace(first=APRIL.last), 0)
    assert await told(usage, check(2)) != first


async def test_a_node_that_was_just_started_tells_nothing_new_before_it_has_looked(
    node: Node, desk: Desk, usage: UsageDesk
) -> None:
    await node.mirror.look()
    signed = check()
    first = await told(usage, signed)
    started = UsageDesk(desk, office=OFFICE, mirrors=[node.begin()], reader=node.reader)
    assert await told(started, signed) == first
    with pytest.raises(Refused, match="LEDGER_NOT_MIRRORED"):
        await told(started, check(2, OTHER))


async def test_what_fails_at_the_desk_is_on_record_too(
    node: Node, usage: UsageDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OverflowError(CODE)

    await node.mirror.look()
    monkeypatch.setattr(UsageOffice, "answer", fail)
    with pytest.raises(OverflowError):
        await told(usage, check())
    (kept,) = node.own_entries()
    assert (kept.request_id, kept.agency) == (str(UUID(int=1)), COUNTER)
    assert (kept.result, kept.refusal) == (ledger_pb2.RESULT_REFUSED, errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE)
