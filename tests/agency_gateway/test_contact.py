"""Whom to call at an agency stands beside each of its operators who is frozen, and in no log."""

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert

from agency_gateway.freeze_service import FreezeService
from agency_gateway.freezes import FREEZE, Freezes, acts
from jukinet._pb.jukinet.admin.v1 import freeze_pb2 as freeze
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.ledger.entry import EntryKeys
from jukinet.mesh.logging import JsonFormatter
from tests.agency_gateway.agencies import PENSION
from tests.agency_gateway.calls import GATEWAY
from tests.agency_gateway.test_detectors import WHO, guess

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
CONTACT = {"office": "照会窓口", "phone": "03-0000-0000"}


async def test_a_frozen_operator_is_listed_with_whom_to_call_if_the_directory_says_so(network: Network) -> None:
    directory = {PENSION.uri: replace(network.directory[PENSION.uri], contact=CONTACT)}
    gone = "spiffe://agencies.jukinet/agency/gone"
    found = {"act": FREEZE, "operator": bytes(32), "detector": "misses", "acted_by": GATEWAY.uri, "acted_at": 0}
    with network.ledger_engine.begin() as connection:
        connection.execute(insert(acts), [{"agency": agency, **found} for agency in (PENSION.uri, gone)])
    freezes = Freezes(
        record=network.record,
        reader=network.ledger_reader,
        keys=EntryKeys(bytes(32)),
        gateway=GATEWAY.uri,
        policy_digest=lambda: bytes(32),
    )
    service = FreezeService(freezes, directory)
    listed = await service.ListFrozen(freeze.ListFrozenRequest(), None)  # type: ignore[arg-type]  # it is not used
    assert {each.agency: each.contact for each in listed.frozen} == {
        PENSION.uri: freeze.AgencyContact(**CONTACT),
        gone: freeze.AgencyContact(),
    }


@pytest.mark.parametrize("reaction", ["freeze", "alarm"])
async def test_an_alarm_names_agency_and_detector_and_whom_to_call_is_in_no_log(
    network: Network, caplog: pytest.LogCaptureFixture, reaction: str
) -> None:
    contact = {"office": "照会窓口 架空太郎", "email": "taro@example.jp", "phone": "03-0000-0000"}
    for name, value in (("contact", contact), ("on_misses", reaction)):
        object.__setattr__(network.directory[PENSION.uri], name, value)
    await guess(network)
    lines = [json.loads(JsonFormatter(GATEWAY.uri).format(record)) for record in caplog.records]
    alarms = [line for line in lines if line["level"] == "WARNING"]
    assert len(alarms) == (2 if reaction == "freeze" else 1)
    assert {(line["peer"], line["reason"]) for line in alarms} == {(PENSION.uri, "misses")}
    assert not any(text in str(lines) for text in contact.values())


@pytest.mark.parametrize("reaction", ["freeze", "alarm"])
async def test_an_alarm_leads_to_the_operator_and_the_entry_as_the_ledger_names_them(
    network: Network, caplog: pytest.LogCaptureFixture, reaction: str
) -> None:
    object.__setattr__(network.directory[PENSION.uri], "on_misses", reaction)
    await guess(network)
    lines = [json.loads(JsonFormatter(GATEWAY.uri).format(record)) for record in caplog.records]
    alarms = [line for line in lines if line["level"] == "WARNING"]
    assert len(alarms) == (2 if reaction == "freeze" else 1)
    answers = [each for each in network.leaves() if each.action == ledger.ACTION_INQUIRE]
    assert {line["request_id"] for line in alarms} == {answers[-1].request_id}, "the fiftieth answer brought it about"
    assert {line["operator_pseudonym"] for line in alarms} == {answers[-1].operator_pseudonym.hex()} == {WHO[1].hex()}
