"""Clerk and resident read through the commands what an answer doubts, out of the answer's own words."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import DISCLOSURE, Mesh
from jukinet.mesh.identity import Identity
from jukinet.mesh.tls import TlsMaterial, server_credentials
from tests.commands import jukinet
from tests.disclosure.answers import CODE, LOOK, OFFICE, Files, told

Node = Any  # the fixture's own class lives in conftest.py
COUNTER = Identity("counter", "131016")


@contextmanager
def answering(mesh: Mesh, answer: disclosure.FindUsageResponse) -> Iterator[str]:
    """A disclosure node whose answer is made; gives its address."""
    find = grpc.unary_unary_rpc_method_handler(
        lambda _request, _context: answer,
        request_deserializer=disclosure.FindUsageRequest.FromString,
        response_serializer=disclosure.FindUsageResponse.SerializeToString,
    )
    service = disclosure.DESCRIPTOR.services_by_name["DisclosureService"].full_name
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"FindUsage": find}),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(TlsMaterial(mesh.config(DISCLOSURE).tls)))
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    plan = Plan([COUNTER.name], ["gateway-1"], witnesses=1, disclosure=True)
    return write_mesh(tmp_path_factory.mktemp("clerk") / "mesh", plan)


def asked(mesh: Mesh, node: str, out: Path, *more: str) -> str:
    """What the clerk's command prints; the answer is in the file after that."""
    out.unlink(missing_ok=True)
    tls = mesh.client(COUNTER)
    files = ("--certificate", tls.certificate, "--key", tls.key, "--nodes-ca", tls.nodes_ca)
    target = ("--to", node, "--server", OFFICE.node, *files, "--check-key", tls.key.with_name("check.key"))
    days = ("--first", "2026-04-01", "--last", "2026-04-30")
    words = ("usage", "-", *days, "--out", out, "--clerk", "7", "--proof", "photo-document", *target, *more)
    result = jukinet("disclosure", *words, stdin=CODE)
    assert result.exit_code == 0, result.output
    return result.stdout


def verified(files: Files, out: Path, *more: str) -> tuple[int, str]:
    keys = ("--key", files.node_key, "--ledger-key", files.ledger_key, "--ledger", files.ledger)
    result = jukinet("ledger", "verify-usage", out, *keys, *more)
    return result.exit_code, result.stdout


@pytest.mark.parametrize("contradicted", [True, False])
def test_clerk_and_resident_read_that_a_ledger_was_contradicted(
    filled: Node, files: Files, mesh: Mesh, tmp_path: Path, contradicted: bool
) -> None:
    out, origins = tmp_path / "usage.json", [LOOK.origin] if contradicted else []
    with answering(mesh, told(filled, look=LOOK._replace(contradicted=contradicted))) as node:
        assert json.loads(asked(mesh, node, out, "--json"))["contradicted"] == origins
        printed = asked(mesh, node, out)
    assert ("jukinet/gateway-1 showed after that what does not verify" in printed) is contradicted
    exit_code, text = verified(files, out)
    assert (exit_code, text.splitlines()[-1]) == (
        (3, "CONTRADICTED") if contradicted else (0, "SOUND AND COMPLETE UNTIL 2026-04-24T12:00:00+09:00")
    )
    assert ("jukinet/gateway-1: what it showed after entry 24 did not verify" in text) is contradicted
    exit_code, shown = verified(files, out, "--json")
    assert (exit_code, json.loads(shown)["contradicted"]) == (3 if contradicted else 0, contradicted)
