"""A running node serves on whatever is in its certificate's file for a moment, and sees the renewed one."""

import asyncio
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jukinet.assembly import process
from jukinet.mesh import metrics
from jukinet.mesh.config import NodeConfig
from jukinet.mesh.identity import NODES, Identity
from jukinet.mesh.pki import certificate_end, create_authority, issue


@pytest.mark.parametrize("half", [b"", b"-----BEGIN CERTIFICATE-----\nMIIB", None], ids=["empty", "cut", "absent"])
async def test_a_certificate_that_is_half_written_does_not_end_a_running_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, half: bytes | None
) -> None:
    path = tmp_path / "tls.pem"
    renewed = issue(create_authority(NODES), Identity("center", ""), days=30, server=True).certificate
    if half is not None:
        path.write_bytes(half)
    shown: list[datetime] = []
    seen = asyncio.Event()
    checked = 0

    def show(not_after: datetime) -> None:
        shown.append(not_after)
        seen.set()

    async def check() -> bool:
        nonlocal checked
        checked += 1
        if checked == 2:
            path.write_bytes(renewed)
        return True

    monkeypatch.setattr(process, "_HEALTH_SECONDS", 0)
    monkeypatch.setattr(metrics, "certificate_until", show)
    node: Any = SimpleNamespace(
        traffic=SimpleNamespace(draining=asyncio.Event()), health=SimpleNamespace(serving=lambda _service: True)
    )
    config = cast(NodeConfig, SimpleNamespace(tls=SimpleNamespace(certificate=path)))
    watching = asyncio.create_task(process._watch_health(node, {"service": check}, config))
    waiting = asyncio.create_task(seen.wait())
    await asyncio.wait({watching, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    try:
        assert not watching.done()
        assert checked >= 2
        assert shown[0] == certificate_end(path)
    finally:
        for task in (watching, waiting):
            task.cancel()
        await asyncio.gather(watching, waiting, return_exceptions=True)
