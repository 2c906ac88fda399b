"""The REST face without TLS: the test says who calls. By mutual TLS `tests/journeys/test_rest.py` drives it."""

import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.disclosure.rest import Face
from jukinet.disclosure.usage_desk import UsageDesk
from jukinet.mesh import clock
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from tests.disclosure.answers import APRIL
from tests.disclosure.counter import COUNTER, check

Node = Any  # the fixture's own class lives in conftest.py
NO_TRUST: Any = None
PERIOD = {"periodStart": f"{APRIL.first}", "periodEnd": f"{APRIL.last}"}


@pytest.fixture
async def face(node: Node, usage: UsageDesk, monkeypatch: pytest.MonkeyPatch) -> Face:
    """The face of a node that looked at its ledger, for a counter."""
    await node.mirror.look()
    made = Face(node=Identity("disclosure"), usage=usage, mirrors=[node.mirror], reader=node.reader, trust=NO_TRUST)
    monkeypatch.setattr(made, "_caller", lambda _request: COUNTER)
    return made


@pytest.fixture
async def portal(face: Face) -> AsyncIterator[httpx.AsyncClient]:
    """Asks the face."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(face.app()), base_url="https://disclosure") as client:
        yield client


def token(number: int = 1) -> str:
    """A check of identity that holds, as it stands in the header."""
    return base64.urlsafe_b64encode(check(number).SerializeToString()).decode()


async def ask(portal: httpx.AsyncClient, authorization: str = "", **parameters: str) -> httpx.Response:
    headers = {"Authorization": authorization or f"Bearer {token()}"}
    return await portal.get("/v2/findUsage", params={**PERIOD, **parameters}, headers=headers)


@pytest.mark.parametrize(
    "day", ["2026-W14-3", "2026-W-143", "20260401  ", "２026-04-01", "2026-04-01\n", "2026-02-30", ""]
)
async def test_only_a_day_in_the_form_of_the_document_is_taken_and_no_other_costs_the_resident_the_day(
    node: Node, portal: httpx.AsyncClient, day: str
) -> None:
    refused = await ask(portal, periodStart=day)
    assert (refused.status_code, refused.json()["field"]) == (400, "periodStart")
    assert node.own_entries() == []
    assert (await ask(portal, f"Bearer {token(2)}")).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
@pytest.mark.parametrize("padding", ["", "="])
async def test_a_scheme_has_no_case_and_a_token_needs_no_padding(
    portal: httpx.AsyncClient, scheme: str, padding: str
) -> None:
    whole = next(each for number in range(1, 99) if (each := token(number)).endswith("="))
    bare = whole.rstrip("=")
    asked = await ask(portal, scheme + bare + padding * (len(whole) - len(bare)))
    assert asked.status_code == 200


@pytest.mark.parametrize("wrong", ["Bearer !", "Bearer A", "Bearer AAAAA", "Bearer é", "Bearer ===="])
async def test_what_is_no_check_is_refused_as_one_that_does_not_hold(portal: httpx.AsyncClient, wrong: str) -> None:
    refused = await portal.get("/v2/findUsage", params=PERIOD, headers={b"Authorization": wrong.encode("latin-1")})
    assert (refused.status_code, refused.json()["reason"]) == (401, "IDENTITY_CHECK_INVALID")


async def test_without_a_check_that_holds_the_answer_says_what_kind_of_credential_is_wanted(
    portal: httpx.AsyncClient,
) -> None:
    forged = check()
    forged.signature = bytes(64)
    for headers in ({}, {"Authorization": f"Bearer {base64.b64encode(forged.SerializeToString()).decode()}"}):
        refused = await portal.get("/v2/findUsage", params=PERIOD, headers=headers)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    ("wrong", "name"), [({"periodStart": "2001-01-01"}, "periodStart"), ({"periodEnd": "2999-01-01"}, "periodEnd")]
)
async def test_a_period_that_is_refused_is_named_as_the_parameter_is(
    portal: httpx.AsyncClient, wrong: dict[str, str], name: str
) -> None:
    refused = await ask(portal, **wrong)
    assert (refused.status_code, refused.json()["reason"]) == (400, "USAGE_TOO_LONG")
    assert refused.json()["field"] == name


@pytest.mark.parametrize(
    ("end", "start"), [("2019-01-31", "2012-01-31"), ("2005-01-01", "2002-08-05"), ("2002-08-05", "2002-08-05")]
)
async def test_a_last_day_alone_asks_for_the_longest_period_that_ends_there(
    portal: httpx.AsyncClient, end: str, start: str
) -> None:
    headers = {"Authorization": f"Bearer {token()}"}
    answered = await portal.get("/v2/findUsage", params={"periodEnd": end}, headers=headers)
    first = disclosure.Usage.FromString(base64.b64decode(answered.json()["answer"]["usage"])).first_day
    assert f"{first.year}-{first.month:02}-{first.day:02}" == start


@pytest.mark.parametrize("end", ["0001-01-01", "2002-08-04"])
async def test_a_last_day_before_the_network_began_is_refused(portal: httpx.AsyncClient, end: str) -> None:
    headers = {"Authorization": f"Bearer {token()}"}
    refused = await portal.get("/v2/findUsage", params={"periodEnd": end}, headers=headers)
    assert (refused.status_code, refused.json()["reason"]) == (400, "USAGE_TOO_LONG")
    assert refused.json()["field"] == "periodEnd"


async def test_who_names_no_day_reads_on_over_midnight(
    portal: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Authorization": f"Bearer {token()}"}
    before = await portal.get("/v2/findUsage", headers=headers)
    tomorrow = clock.today_in_japan() + timedelta(days=1)
    monkeypatch.setattr(clock, "today_in_japan", lambda: tomorrow)
    after = await portal.get("/v2/findUsage", headers=headers)
    assert (before.status_code, after.content) == (200, before.content)


async def test_asking_for_the_headers_alone_does_not_cost_the_resident_the_day(
    node: Node, portal: httpx.AsyncClient
) -> None:
    asked = await portal.head("/v2/findUsage", params=PERIOD, headers={"Authorization": f"Bearer {token()}"})
    assert (asked.status_code, asked.headers["allow"]) == (405, "GET")
    assert node.own_entries() == []
    assert (await ask(portal, f"Bearer {token(2)}")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nothing", 404),
        ("GET", "/", 404),
        ("GET", "/v2/findUsage/?personalCode=12345678901", 404),
        ("POST", "/v2/nothing", 404),
        ("POST", "/v2/findUsage", 405),
        ("DELETE", "/openapi.json", 405),
    ],
)
async def test_an_unknown_path_or_method_is_refused_as_all_else_and_to_counters_alone(
    face: Face, portal: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, method: str, path: str, status: int
) -> None:
    refused = await portal.request(method, path)
    assert (refused.status_code, refused.json()["reason"]) == (status, "NOT_IMPLEMENTED")
    assert (refused.headers["content-type"], refused.headers["cache-control"]) == ("application/json", "no-store")
    assert "12345678901" not in f"{refused.headers}{refused.text}"
    assert refused.headers.get("allow") == ("GET" if status == 405 else None)

    def nobody(_request: Any) -> str:
        raise Refused(errors.ERROR_REASON_CALLER_NOT_ALLOWED)

    monkeypatch.setattr(face, "_caller", nobody)
    outside = await portal.request(method, path)
    assert (outside.status_code, outside.json()["reason"]) == (403, "CALLER_NOT_ALLOWED")
    assert "www-authenticate" not in outside.headers
