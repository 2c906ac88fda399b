"""Health is pushed, deep, and final once the node stops."""

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from jukinet.mesh.health import Health
from jukinet.mesh.identity import Identity

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
LINK = "jukinet.link.v1.LinkService"


async def test_a_watcher_hears_at_once_of_a_part_that_fails(network: Any) -> None:
    node = await network.serve()
    stub: Any = health_pb2_grpc.HealthStub(await network.dial(node, Identity("operator", "somebody")))
    await node.health.set(LINK, True)
    watching = {name: stub.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", LINK, "database")}
    first = {name: (await watch.read()).status for name, watch in watching.items()}
    assert first == {
        "": SERVING,
        LINK: SERVING,
        "database": health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
    }
    await node.health.set("database", False)
    assert (await watching["database"].read()).status == NOT_SERVING
    assert (await watching[""].read()).status == NOT_SERVING
    assert (await stub.Check(health_pb2.HealthCheckRequest(service=LINK), timeout=10)).status == SERVING
    await node.health.set("database", True)
    assert (await watching[""].read()).status == SERVING
    for watch in watching.values():
        watch.cancel()


async def test_an_unknown_service_is_not_found(network: Any) -> None:
    stub: Any = health_pb2_grpc.HealthStub(await network.dial(await network.serve()))
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await stub.Check(health_pb2.HealthCheckRequest(service="x"), timeout=10)
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND


async def test_the_node_serves_while_every_part_does() -> None:
    health = Health()
    assert health.serving()
    await health.set("a", True)
    await health.set("b", False)
    assert (health.serving("a"), health.serving("b"), health.serving()) == (True, False, False)
    assert not health.serving("never named")
    await health.set("b", True)
    assert health.serving()


@pytest.mark.parametrize("parts", [(), ("a",)], ids=["without parts", "with parts"])
async def test_a_stopped_node_never_serves_again(parts: tuple[str, ...]) -> None:
    health = Health()
    for part in parts:
        await health.set(part, True)
    await health.stop()
    assert not health.serving()
    await health.set("a", True)
    assert not health.serving()
    assert not health.serving("a")
