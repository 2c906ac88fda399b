"""A receiving node without its network, and who sends to it."""

from typing import Any

from sqlalchemy import Connection

from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Hello
from jukinet.link.apply_batch import Assembly, Taken, apply_batch
from jukinet.link.receiver import greet
from jukinet.mesh.identity import Identity
from jukinet.store import journal

CS = Identity("municipality", "131016")
PREFECTURE = Identity("prefecture", "130001")


class Receiver:
    """A receiving node without its network."""

    def __init__(self, database: Any, link: Any, *, scope: str, sender: Identity) -> None:
        self.database = database
        self.link = link
        self.sender = sender
        self.assembly = Assembly(scope=scope, forwards=bool(scope), key_of=link.key_of)

    def greet(self, hello: Hello) -> journal.Mark:
        def job(connection: Connection) -> journal.Mark:
            mark = greet(journal.read_mark(connection, self.sender.uri), hello, now_us=1)
            journal.write_mark(connection, self.sender.uri, mark)
            return mark

        mark: journal.Mark = self.database.do(job)
        return mark

    def take(self, batch: Batch, traceparents: dict[tuple[str, int], str] | None = None) -> Taken:
        taken: Taken = self.database.do(
            lambda connection: apply_batch(
                connection,
                batch,
                source=self.sender.uri,
                may_bring=lambda municipality: self.link.may_bring(self.sender, municipality),
                assembly=self.assembly,
                traceparents=traceparents or {},
                now_us=7,
            )
        )
        return taken
