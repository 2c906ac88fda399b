"""Health that is deep and pushed: parts of the node say when they can serve; watchers hear of it at once.

Source: grpc.health.v1 (gRPC Health Checking Protocol).
"""

from typing import Any, Final

from grpc_health.v1 import health, health_pb2

SERVICE_NAME: Final = health.SERVICE_NAME


class Health:
    """What the node says of its services. The node as a whole (empty name) serves while every named service does."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()
        self._serving: dict[str, bool] = {}
        self._stopped = False

    async def set(self, service: str, serving: bool) -> None:
        """Says whether a service can do its work now, what it stands on included.

        Args:
            service: full name such as `jukinet.link.v1.LinkService`, or of a part such as `database`.
            serving: False as soon as something that it needs does not answer.
        """
        self._serving[service] = serving
        # After stop() the servicer takes no more.
        await self.servicer.set(service, _status(serving))
        await self.servicer.set("", _status(all(self._serving.values())))

    def serving(self, service: str = "") -> bool:
        """Tells what was said last; empty name = the node as a whole."""
        if self._stopped:
            return False
        return self._serving.get(service, False) if service else all(self._serving.values())

    async def stop(self) -> None:
        """Says for good that nothing is served any more."""
        self._stopped = True
        await self.servicer.enter_graceful_shutdown()


def _status(serving: bool) -> Any:
    return health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
