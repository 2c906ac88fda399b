"""Every limit of a gRPC process in one place: default, unit and reason.

Rule: a limit exists so that one caller cannot take the node from the others. Idle sockets, rapid resets and pings were
measured to do so with gRPC's defaults; the values here were measured to hold.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from jukinet.mesh.setting import Setting

MEBIBYTE: Final = 1024 * 1024
GATEWAY_MESSAGE_BYTES: Final = 256 * 1024
# Framing that a message of exactly the limit needs on top.
MESSAGE_SLACK_BYTES: Final = 64 * 1024
ANSWER_BYTES: Final = 4 * MEBIBYTE
"""Largest answer: what gRPC's clients take unless they are told otherwise, and more than the largest lawful one."""


@dataclass(frozen=True)
class Limits:
    """What a node takes from its peers, and what it keeps in reserve."""

    message_bytes: Annotated[
        int,
        Setting(
            "largest message; a batch of changes fits; at a gateway the default is 262144: 256 questions of 1 KiB",
            "bytes",
        ),
    ] = MEBIBYTE
    metadata_bytes: Annotated[int, Setting("largest header block; ours need a tenth", "bytes")] = 8192
    concurrent_streams: Annotated[
        int,
        Setting(
            "a rapid-reset peer fills this and no more; more than half of `concurrent_rpcs`, or a caller at its limit "
            "waits in HTTP/2 and the node can neither say why nor put it on record",
            "calls per connection",
        ),
    ] = 128
    concurrent_rpcs: Annotated[
        int,
        Setting(
            "running calls of all peers, streams and health watches included; more are refused with OVERLOADED, but "
            "for eight of operators. One caller may have as many as are still free, so at most half; more are refused "
            "with CALLER_AT_LIMIT",
            "calls",
        ),
    ] = 200
    handshake_timeout_ms: Annotated[int, Setting("idle and half-open sockets are closed after it", "ms")] = 5000
    connection_age_ms: Annotated[
        int, Setting("a connection is renewed after it, so that new certificates and deny lists take hold", "ms")
    ] = 3_600_000
    connection_age_grace_ms: Annotated[int, Setting("open streams may end by themselves in this time", "ms")] = 60_000
    ping_interval_ms: Annotated[int, Setting("pings more often than this without data count as a flood", "ms")] = (
        300_000
    )
    ping_strikes: Annotated[int, Setting("too frequent pings until the connection is closed", "pings")] = 2
    drain_seconds: Annotated[float, Setting("running calls may finish in this time when the node stops", "s")] = 10.0
    credit_batches: Annotated[int, Setting("batches that a link sender may have under way", "batches")] = 32
    credit_bytes: Annotated[int, Setting("bytes that a link sender may have under way", "bytes")] = 8 * MEBIBYTE
    disk_free_bytes: Annotated[
        int, Setting("with less free room than this nothing new is taken, so that what was promised fits", "bytes")
    ] = 64 * MEBIBYTE
    disk_free_percent: Annotated[float, Setting("the same as a share of the file system", "%")] = 1.0

    waiting_alarm_hours: Annotated[
        float,
        Setting("a change that waits longer for an earlier one is shown as an alarm; a move takes a day or two", "h"),
    ] = 72.0

    brake_percent: Annotated[
        float,
        Setting(
            "a municipality that changes more of its residents in an hour is held until two operators release it; "
            "first entries do not count",
            "% of its active residents",
            only=("prefecture", "center"),
        ),
    ] = 2.0
    brake_deletions: Annotated[
        int,
        Setting(
            "so is one that reports more deaths and deletions ex officio in an hour, however large it is",
            "changes an hour",
            only=("prefecture", "center"),
        ),
    ] = 200
    brake_floor: Annotated[
        int,
        Setting(
            "so many are free however small the municipality is; to load a test network, set this and "
            "`brake_deletions` to 1000000000",
            "changes an hour",
            only=("prefecture", "center"),
        ),
    ] = 50

    def server_options(self) -> list[tuple[str, int]]:
        """Gives the gRPC channel arguments of a server."""
        return [
            ("grpc.so_reuseport", 0),
            ("grpc.max_concurrent_streams", self.concurrent_streams),
            # A little more than the limit reaches the interceptor, which refuses it with a reason.
            ("grpc.max_receive_message_length", self.message_bytes + MESSAGE_SLACK_BYTES),
            ("grpc.max_send_message_length", ANSWER_BYTES),
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
