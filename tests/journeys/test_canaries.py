"""Personal data (個人情報) stays in the registers and in the answers.

A canary, a word that stands nowhere else, is planted in every field of the contract that carries `debug_redact`, on
ways that succeed and on ways that fail. Then all that leaves a register is searched for it: logs, spans, metrics,
refusals, what the command line and the operator see, file names and every file but the registers themselves.
"""

import asyncio
import base64
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import pytest

from jukinet.mesh.redaction import personal_fields
from tests.journeys.canaries import CS, MARK, Canaries, mentions
from tests.journeys.collector import Collector
from tests.journeys.planted.order import plant

Network = Any  # the fixture's own class lives in conftest.py
REGISTER_FILES = re.compile(r"register\.db(-wal|-shm)?")


@pytest.fixture(scope="module")
def canaries(network: Network, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Canaries:
    """All canaries, planted."""
    planted = Canaries()
    asyncio.run(plant(planted, network, collector, tmp_path_factory.mktemp("clerk")))
    return planted


def test_every_personal_field_of_the_contract_was_planted(canaries: Canaries) -> None:
    assert sorted(canaries.fields) == personal_fields()


def test_the_ways_that_fail_were_gone(canaries: Canaries) -> None:
    assert canaries.refusals >= {
        *("INVALID_MESSAGE", "MESSAGE_TOO_LARGE", "CALLER_NOT_ALLOWED", "MESSAGE_ID_REUSED", "PREVIOUS_VALUE"),
        *("RESIDENT_EXISTS", "RESIDENT_UNKNOWN", "RESIDENT_CODE_RETIRED", "RESIDENT_CODE_CHECK_DIGIT", "BIRTH_DATE"),
        *("PRIVATE_SECTOR_BANNED", "AGENCY_UNKNOWN", "PURPOSE_NOT_GRANTED", "FIELD_NOT_ALLOWED", "REQUEST_ID_REUSED"),
        *("TICKET_INVALID", "LINK_SEAL", "RESOURCE_EXHAUSTED", "IDENTITY_CHECK_INVALID", "USAGE_ASKED_TODAY"),
        "SEAL_NOT_ALLOWED",
    }


def test_the_search_finds_what_is_there(canaries: Canaries, network: Network) -> None:
    """In the registers, of course; and in whatever coat."""
    registers = [path.read_bytes() for path in network.mesh.root.rglob("register.db*")]
    found = canaries.leaks(registers)
    assert {"legal", "furigana", "alias", "town", "block", "building"} <= {
        re.sub(rf"{MARK}|\d+$", "", each) for each in found if each.startswith(MARK)
    }
    needle = next(iter(found)).encode()
    for coat in (needle.upper(), needle.hex().encode(), base64.b64encode(b"x" + needle + b"yz")):
        assert canaries.leaks([b"..." + coat + b"..."])
    assert canaries.leaks([hashlib.sha256(needle).digest()])
    assert not canaries.leaks([b"x" * 100])


def test_no_log_tells_of_a_person(canaries: Canaries, network: Network) -> None:
    logs = [network.log(node).encode() for node in network.mesh.names]
    assert b"question refused" in b"".join(logs)
    assert not canaries.leaks(logs)
    assert not mentions(logs)


def test_no_span_tells_of_a_person(canaries: Canaries, collector: Collector) -> None:
    assert not canaries.leaks(collector.exports)
    assert not mentions(collector.exports)


def test_no_metric_tells_of_a_person_or_an_agency(canaries: Canaries, network: Network) -> None:
    metrics = [network.metrics_of(node).encode() for node in network.mesh.names]
    assert b"jukinet_changes_refused" in metrics[network.mesh.names.index(CS)]
    assert not canaries.leaks(metrics)
    assert not mentions(metrics)
    assert b"agency/" not in b"".join(metrics)


def test_no_refusal_and_nothing_that_an_operator_sees_tells_of_a_person(canaries: Canaries) -> None:
    assert not canaries.leaks(canaries.told)
    assert not mentions(canaries.told)


def test_no_file_but_a_register_holds_a_person(canaries: Canaries, network: Network) -> None:
    files = [path for path in network.mesh.root.rglob("*") if path.is_file()]
    others = [path for path in files if not REGISTER_FILES.fullmatch(path.name)]
    assert {"ledger.db", "log.jsonl", "node.toml", "agencies.toml"} <= {path.name for path in others}
    assert {path.parent.name for path in set(files) - set(others)} == set(network.mesh.registers)
    leaking = [str(path) for path in others if canaries.leaks([path.read_bytes()])]
    assert not leaking


def test_no_name_of_a_file_or_process_tells_of_a_person(canaries: Canaries, network: Network) -> None:
    names = [str(path).encode() for path in network.mesh.root.rglob("*")]
    for node in network.mesh.names:
        process = Path(f"/proc/{network.nodes.pid(node)}")
        if process.exists():
            names += [(process / "cmdline").read_bytes(), (process / "environ").read_bytes()]
            names += [os.readlink(each).encode() for each in (process / "fd").iterdir()]
    assert not canaries.leaks(names)
