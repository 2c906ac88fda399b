"""Changes that a CS takes in, outboxes that are pruned, and registers that are compared by their digests."""

from typing import Any

from jukinet.domain.arrival import Arrival
from jukinet.store import digest, journal, register
from jukinet.store.outbox_start import drop_outbox

KEY = bytes(32)


def accept(node: Any, *changes: Any) -> int:
    """Lets a CS take changes in as its intake does: into its register, and sealed into its outbox."""
    name = node.identity.name

    def take(connection: Any) -> None:
        last = journal.read_stream(connection)
        arrivals = [
            Arrival(name, last.epoch, last.last_sequence + n, change, change.SerializeToString())
            for n, change in enumerate(changes, 1)
        ]
        applied = register.apply_arrivals(connection, arrivals, scope=name, now_us=1)
        assert applied.outcomes == [None] * len(changes)

    node.do(take)
    return int(node.submit(*changes))


def prune(node: Any, through: int) -> None:
    """Drops the outbox up to a change, as a node does with what the center has long had."""
    node.do(lambda connection: drop_outbox(connection, through))


def prune_all(*nodes: Any) -> None:
    """Drops all that the nodes have in their outboxes."""
    for node in nodes:
        last = node.rows("stream")[0].last_sequence
        prune(node, last)


def digest_of(node: Any, municipality: str) -> tuple[int, int, bytes]:
    """Place, number of rows and root of a municipality's digest at a node."""
    with node.reader.connect() as connection, connection.begin():
        places = {place.municipality: place for place in digest.places(connection)}
        at = places.get(municipality, digest.Place(municipality, 0, 0))
        found = digest.digest(connection, KEY, at, stopped=lambda: False)
    return at.sequence, found.rows, found.root
