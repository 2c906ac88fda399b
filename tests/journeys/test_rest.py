"""The REST face, driven by its own OpenAPI document: whatever is asked, the answer is one that the document states."""

import base64
import json
import re
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet.cli.development_agencies import BANK
from jukinet.disclosure.rest import OPENAPI
from jukinet.disclosure.usage import PART_ROWS
from jukinet.ledger.verify.usage import verify_usage
from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.identity import Identity
from tests.journeys.test_disclosure import ask_batch, find, mirrored
from tests.journeys.test_own_record import check

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, GATEWAY = "131016", "gateway-1"
COUNTER = Identity("counter", "portal")
DOCUMENT = json.loads(OPENAPI)
PATHS = list(DOCUMENT["paths"])


def client(network: Network, caller: Identity = COUNTER) -> httpx.Client:
    files = network.tls(caller)
    context = ssl.create_default_context(cafile=str(files.nodes_ca))
    context.load_cert_chain(files.certificate, files.key)
    address = network.mesh.config("disclosure").disclosure.rest_listen
    # The server's certificate has the DNS form of its identity.
    return httpx.Client(
        base_url=f"https://{address}", verify=context, timeout=10, trust_env=False, headers={"Host": address}
    )


def get(connection: httpx.Client, path: str, *, token: str = "", **parameters: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return connection.get(
        path,
        params=parameters,
        headers=headers,
        extensions={"sni_hostname": Identity("disclosure").server_name},
    )


def token_of(network: Network, code: str, counter: Identity = COUNTER) -> str:
    signed = check(network, code, disclosure.AFFAIR_FIND_USAGE, counter)
    return base64.urlsafe_b64encode(signed.SerializeToString()).decode()


def faults(value: Any, schema: dict[str, Any], where: str = "$") -> list[str]:
    """What in a value breaks a schema, by the keywords that the document uses."""
    if "$ref" in schema:
        return faults(value, DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]], where)
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}
    wanted = schema.get("type", [])
    types = tuple(kinds[each] for each in ([wanted] if isinstance(wanted, str) else wanted))
    found = []
    if types and (not isinstance(value, types) or isinstance(value, bool)):
        return [f"{where}: is no {wanted}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where}: is none of {schema['enum']}")
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        found.append(f"{where}: has not the pattern")
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{where}: out of range")
    if isinstance(value, dict) and "properties" in schema:
        found += [f"{where}: lacks {name}" for name in set(schema["required"]) - set(value)]
        found += [f"{where}: has {name}" for name in set(value) - set(schema["properties"])]
        known = {name: each for name, each in value.items() if name in schema["properties"]}
        found += [
            fault for name in known for fault in faults(known[name], schema["properties"][name], f"{where}.{name}")
        ]
    if isinstance(value, list):
        found += [fault for each in value for fault in faults(each, schema["items"], f"{where}[]")]
    return found


def require_documented(path: str, response: httpx.Response) -> Any:
    """The body of an answer that the document states."""
    documented = DOCUMENT["paths"][path]["get"]["responses"]
    assert str(response.status_code) in documented, (path, response.status_code, response.text[:200])
    for name, header in documented[str(response.status_code)].get("headers", {}).items():
        if header["required"]:
            assert response.headers[name] == header["schema"]["const"]
    content = documented[str(response.status_code)]["content"]
    assert response.headers["content-type"] in content
    body = response.json()
    assert faults(body, content[response.headers["content-type"]]["schema"]) == []
    return body


async def test_a_portal_reads_the_usage_in_parts_and_the_answer_verifies(network: Network, tmp_path: Path) -> None:
    record = await network.enter(CHIYODA)
    for _ in range(3):
        await network.inquire(network.question(record))
    await mirrored(network)
    token = token_of(network, record.resident_code)
    with client(network) as portal:
        whole = get(portal, "/v2/findUsage", token=token)
        body = require_documented("/v2/findUsage", whole)
        assert (body["total"], len(body["usages"])) == (3, 3)
        assert {each["receiverName"] for each in body["usages"]} == {"日本年金機構"}
        assert all("即時提供" in each["action"] for each in body["usages"])
        assert max(each["logtime"] for each in body["usages"]) <= body["verifiedUntil"]
        assert body["contradicted"] == []
        part = require_documented("/v2/findUsage", get(portal, "/v2/findUsage", token=token, offset=1, limit=1))
        assert part["usages"] == body["usages"][1:2]
        assert part["answer"] == body["answer"]
        again = get(portal, "/v2/findUsage", token=token_of(network, record.resident_code))
        assert (again.status_code, require_documented("/v2/findUsage", again)["reason"]) == (429, "USAGE_ASKED_TODAY")
        nobody = get(portal, "/v2/findUsage", token=token_of(network, network.code()))
        assert require_documented("/v2/findUsage", nobody)["total"] == 0
        assert len(nobody.content) % 40_960 == len(whole.content) % 40_960 == 0
        period = require_documented("/v2/usagePeriod", get(portal, "/v2/usagePeriod"))
        assert period["periodStart"] <= period["periodEnd"] == f"{today_in_japan()}"
        assert require_documented("/v2/heartbeat", get(portal, "/v2/heartbeat"))["status"] == "OK"
        assert get(portal, "/openapi.json").content == OPENAPI
    answer = tmp_path / "usage.json"
    answer.write_text(json.dumps(body["answer"]))
    report = verify_usage(answer, network.mesh.disclosure_key, [network.mesh.ledger_key(GATEWAY)])
    assert (report.findings.first_ones, report.rows) == ([], 3)
    assert json_format.Parse(answer.read_text(), disclosure.FindUsageResponse()).signature


async def test_a_portal_reads_more_than_a_part_of_the_answer_holds(network: Network, tmp_path: Path) -> None:
    record = await network.enter(CHIYODA)
    for _ in range(2):
        await ask_batch(network, record, times=PART_ROWS // 2 + 1)
    await mirrored(network)
    token, total = token_of(network, record.resident_code), 1
    read: list[Any] = []
    parts: list[Any] = []
    with client(network) as portal:
        while len(read) < total:
            response = get(portal, "/v2/findUsage", token=token, offset=len(read), limit=300)
            body = require_documented("/v2/findUsage", response)
            total, read = body["total"], read + body["usages"]
            parts += [body["answer"]] if body["answer"] not in parts else []
    assert len(read) == len({each["index"] for each in read}) == PART_ROWS + 2
    answer = tmp_path / "usage.json"
    answer.write_text("\n".join(map(json.dumps, parts)))
    report = verify_usage(answer, network.mesh.disclosure_key, [network.mesh.ledger_key(GATEWAY)])
    assert (report.findings.first_ones, report.parts, report.rows) == ([], 2, PART_ROWS + 2)


async def test_the_day_of_a_resident_is_one_over_both_faces(network: Network) -> None:
    code = network.code()
    with client(network) as portal:
        assert get(portal, "/v2/findUsage", token=token_of(network, code)).status_code == 200
    today = today_in_japan()
    day = disclosure.FindUsageRequest().first_day
    day.year, day.month, day.day = today.year, today.month, today.day
    request = disclosure.FindUsageRequest(
        check=check(network, code, disclosure.AFFAIR_FIND_USAGE, COUNTER), first_day=day, last_day=day
    )
    with pytest.raises(Exception, match="told today"):
        await find(network, request, COUNTER)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("agency", [BANK, "pension-service"])
def test_an_agency_does_not_even_get_a_connection(network: Network, path: str, agency: str) -> None:
    with client(network, network.asking(agency)) as connection, pytest.raises(httpx.TransportError):
        get(connection, path)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "caller",
    [Identity("municipal-system", CHIYODA), Identity("gateway", GATEWAY), Identity("witness", "witness-1")],
    ids=str,
)
def test_no_other_member_of_the_network_is_answered(network: Network, path: str, caller: Identity) -> None:
    with client(network, caller) as connection:
        response = get(connection, path)
    assert (response.status_code, require_documented(path, response)["reason"]) == (403, "CALLER_NOT_ALLOWED")


def test_without_a_certificate_there_is_no_connection(network: Network) -> None:
    context = ssl.create_default_context(cafile=str(network.mesh.authority("nodes")))
    address = network.mesh.config("disclosure").disclosure.rest_listen
    anonymous = httpx.Client(base_url=f"https://{address}", verify=context, trust_env=False)
    with anonymous, pytest.raises(httpx.TransportError):
        get(anonymous, "/v2/heartbeat")


def test_a_personal_code_in_the_address_is_refused_and_in_no_log(network: Network) -> None:
    code = network.code()
    with client(network) as portal:
        response = get(portal, "/v2/findUsage", token=token_of(network, network.code()), userCode=code)
    assert (response.status_code, require_documented("/v2/findUsage", response)["reason"]) == (400, "INVALID_MESSAGE")
    assert code not in network.log("disclosure")


PARAMETERS = {each["name"]: each["schema"] for each in DOCUMENT["paths"]["/v2/findUsage"]["get"]["parameters"]}
texts = st.one_of(
    st.text(max_size=20),
    st.integers(-5, 2000).map(str),
    st.dates().map(str),
    st.sampled_from(["0", "1", "1000", "1001", "٣", "2026-02-30", "2026-1-1", "", "%00", "1e3"]),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    path=st.sampled_from(PATHS),
    parameters=st.dictionaries(st.sampled_from([*PARAMETERS, "userCode", "x"]), texts, max_size=4),
    token=st.one_of(
        st.sampled_from(["", "good", "forged"]), st.text("abcXYZ012-_=", max_size=40), st.binary(max_size=60).map(str)
    ),
)
def test_whatever_is_asked_the_answer_is_one_that_the_document_states(
    network: Network, path: str, parameters: dict[str, str], token: str
) -> None:
    if token in ("good", "forged"):
        signed = check(network, network.code(), disclosure.AFFAIR_FIND_USAGE, COUNTER)
        if token == "forged":
            signed.signature = bytes(64)
        token = base64.urlsafe_b64encode(signed.SerializeToString()).decode()
    with client(network) as portal:
        response = get(portal, path, token=token, **parameters)
    body = require_documented(path, response)
    if set(parameters) - {each["name"] for each in DOCUMENT["paths"][path]["get"]["parameters"]}:
        assert (response.status_code, body["reason"]) in ((400, "INVALID_MESSAGE"), (401, "IDENTITY_CHECK_INVALID"))
    assert response.headers["cache-control"] == "no-store"


def test_only_reading_is_possible(network: Network) -> None:
    with client(network) as portal:
        for path in PATHS:
            for method in ("HEAD", "POST", "PUT", "DELETE", "PATCH"):
                extensions = {"sni_hostname": Identity("disclosure").server_name}
                assert portal.request(method, path, extensions=extensions).status_code == 405
        assert get(portal, "/v2/other").status_code == 404


def test_the_period_of_an_answer_is_at_most_seven_years(network: Network) -> None:
    begin = today_in_japan() - timedelta(days=9 * 366)
    with client(network) as portal:
        response = get(portal, "/v2/findUsage", token=token_of(network, network.code()), periodStart=f"{begin}")
    assert (response.status_code, require_documented("/v2/findUsage", response)["reason"]) == (400, "USAGE_TOO_LONG")
