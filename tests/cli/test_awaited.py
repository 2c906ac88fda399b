"""An operator reads for which municipality agencies' lists wait, of one node and of the whole mesh."""

import json
from pathlib import Path

import pytest

from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusResponse
from jukinet.cli import admin
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import Mesh
from tests.commands import jukinet

SAID = "2 lists of later changes wait for 142018, which is half in, since 2026-11-28T03:00:00Z"


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mesh:
    """A mesh at whose center two lists wait."""

    async def get_status(_mesh: Mesh, node: str) -> GetStatusResponse:
        status = GetStatusResponse(role=node)
        if node == "center":
            status.awaited.add(municipality="142018", lists=2).waiting_since.seconds = 1_795_834_800
        return status

    monkeypatch.setattr(admin, "get_status", get_status)
    return write_mesh(tmp_path / "mesh", Plan(["131016"], ["gateway-1"]))


def test_the_status_of_the_center_says_for_whom_lists_wait_and_since_when(mesh: Mesh) -> None:
    words = ("admin", "status", "--mesh", mesh.root, "--node", "center")
    assert SAID in jukinet(*words).stdout.splitlines()
    assert json.loads(jukinet(*words, "--json").stdout)["awaited"] == [
        {"municipality": "142018", "lists": 2, "waiting_since": "2026-11-28T03:00:00Z"}
    ]
    assert "wait for" not in jukinet(*words[:-1], "gateway-1").stdout


def test_the_status_of_a_mesh_names_it_beside_the_tables(mesh: Mesh) -> None:
    assert f"center: {SAID}" in jukinet("mesh", "status", mesh.root).stderr.splitlines()
