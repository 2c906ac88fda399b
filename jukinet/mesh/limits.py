"""Every limit of a gRPC process in one place: default, unit and reason.

Rule: a limit exists so that one caller cannot take the node from the others. Idle sockets, rapid resets and pings were
measured to do so with gRPC's defaults; the values here were measured to hold.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Final

MEBIBYTE: Final = 1024 * 1024
# Framing that a message of exactly the limit needs on top.
MESSAGE_SLACK_BYTES: Final = 64 * 1024


def limit(default: Any, unit: str, why: str) -> Any:
    """Declares a setting with its default, its unit and the reason for both."""
    return field(default=default, metadata={"unit": unit, "why": why})


@dataclass(frozen=True)
class Limits:
    """What a node takes from its peers, and what it keeps in reserve."""

    message_bytes: int = limit(
        MEBIBYTE, "bytes", "largest message; a batch of changes fits, and 64 KiB is enough at a gateway"
    )
    metadata_bytes: int = limit(8192, "bytes", "largest header block; ours need a tenth")
    concurrent_streams: int = limit(100, "calls per connection", "a rapid-reset peer fills this and no more")
    concurrent_rpcs: int = limit(200, "calls", "running calls of all peers; more are refused with OVERLOADED")
    handshake_timeout_ms: int = limit(5000, "ms", "idle and half-open sockets are closed after it")
    connection_age_ms: int = limit(
        3_600_000, "ms", "a connection is renewed after it, so that new certificates and deny lists take hold"
    )
    connection_age_grace_ms: int = limit(60_000, "ms", "open streams may end by themselves in this time")
    ping_interval_ms: int = limit(300_000, "ms", "pings more often than this without data count as a flood")
    ping_strikes: int = limit(2, "pings", "too frequent pings until the connection is closed")
    drain_seconds: float = limit(10.0, "s", "running calls may finish in this time when the node stops")
    credit_batches: int = limit(32, "batches", "batches that a link sender may have under way")
    credit_bytes: int = limit(8 * MEBIBYTE, "bytes", "bytes that a link sender may have under way")
    disk_free_bytes: int = limit(
        64 * MEBIBYTE, "bytes", "with less free room than this nothing new is taken, so that what was promised fits"
    )
    disk_free_percent: float = limit(1.0, "%", "the same as a share of the file system")

    def server_options(self) -> list[tuple[str, int]]:
        """Gives the gRPC channel arguments of a server."""
        return [
            ("grpc.so_reuseport", 0),
            ("grpc.max_concurrent_streams", self.concurrent_streams),
            # A little more than the limit reaches the interceptor, which refuses it with a reason.
            ("grpc.max_receive_message_length", self.message_bytes + MESSAGE_SLACK_BYTES),
            ("grpc.max_send_message_length", self.message_bytes + MESSAGE_SLACK_BYTES),
            ("grpc.max_metadata_size", self.metadata_bytes),
            ("grpc.absolute_max_metadata_size", 2 * self.metadata_bytes),
            ("grpc.server_handshake_timeout_ms", self.handshake_timeout_ms),
            ("grpc.max_connection_age_ms", self.connection_age_ms),
            ("grpc.max_connection_age_grace_ms", self.connection_age_grace_ms),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", self.ping_interval_ms),
            ("grpc.http2.max_ping_strikes", self.ping_strikes),
            # Identity only: a compressed message is a bomb, and mixing secrets with chosen text leaks them.
            ("grpc.compression_enabled_algorithms_bitset", 1),
        ]


def rows(section: type[Any]) -> list[tuple[str, Any, str, str]]:
    """Lists the settings of a dataclass: name, default, unit and reason."""
    return [
        (each.name, each.default, each.metadata.get("unit", ""), each.metadata.get("why", ""))
        for each in fields(section)
    ]
