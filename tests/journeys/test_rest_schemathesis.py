"""The REST face of a running node, driven by schemathesis from its OpenAPI document: what is valid and what is not."""

import asyncio
import re
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from jukinet.mesh.identity import Identity
from tests.journeys.test_disclosure import mirrored
from tests.journeys.test_rest import DOCUMENT, PATHS, Network, client, token_of

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
ASKED = [*((path, GenerationMode.POSITIVE) for path in PATHS), ("/v2/findUsage", GenerationMode.NEGATIVE)]
"""Where nothing is asked for, there is nothing that could be wrong."""
DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
SNI = {"sni_hostname": Identity("disclosure").server_name}


def sent(portal: httpx.Client, case: schemathesis.Case[Any]) -> httpx.Response:
    parts = case.as_transport_kwargs(base_url=str(portal.base_url))
    # White space at an end is none of a value (RFC 9110 section 5.5), and the client sends none.
    headers = {name: value.strip() for name, value in parts["headers"].items()} | {"Host": portal.headers["Host"]}
    request = portal.build_request(
        parts["method"], parts["url"], params=parts["params"], headers=headers, extensions=SNI
    )
    return portal.send(request)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "mode"), ASKED, ids=str)
def test_whatever_schemathesis_asks_the_answer_is_one_that_the_document_states(
    network: Network, path: str, mode: GenerationMode
) -> None:
    asyncio.run(mirrored(network))
    wrong = mode is GenerationMode.NEGATIVE
    with client(network) as portal:

        @settings(max_examples=100 if wrong else 30, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=SCHEMA[path]["GET"].as_strategy(mode), told=st.just(True) if wrong else st.booleans())
        def ask(case: schemathesis.Case[Any], told: bool) -> None:
            if told:  # a check of identity that holds; otherwise whatever the case has in its place
                case.headers["Authorization"] = f"Bearer {token_of(network, network.code())}"
            if wrong:  # a period of another century is refused for itself, whatever else is wrong
                case.query = {name: value for name, value in case.query.items() if not DAY.fullmatch(str(value))}
            case.validate_response(sent(portal, case), checks=CHECKS)

        ask()
