"""Acknowledgements are told at once where little happens, and together where much does."""

import asyncio

from jukinet._pb.jukinet.link.v1.link_pb2 import Credit
from jukinet.link.apply_batch import Taken
from jukinet.link.session import Session
from jukinet.store.journal import Mark


def commit(session: Session, mark: int) -> None:
    session.handed_in(100)
    session.done(100)
    session.took(Taken(Mark(1, mark, bytes(32), 0, 0), [None], [], 0, []), center_mark=0)


async def test_an_idle_stream_hears_at_once_and_a_busy_one_when_its_credit_runs_low() -> None:
    session = Session(Mark(1, 0, b"", 0, 0), center_mark=0, credit=Credit(batches=32, bytes=1_000_000))
    commit(session, 1)
    await session.something_to_say()
    assert session.ack().ack.mark == 1

    commit(session, 2)
    telling = asyncio.create_task(session.something_to_say())
    for mark in range(3, 9):
        commit(session, mark)
        await asyncio.sleep(0)
    assert not telling.done(), "seven batches of 32 do not hurry"
    commit(session, 9)
    await telling
    assert session.ack().ack.mark == 9


async def test_what_little_happens_on_a_busy_stream_is_told_all_the_same() -> None:
    session = Session(Mark(1, 0, b"", 0, 0), center_mark=0, credit=Credit(batches=32, bytes=1_000_000))
    for mark in (1, 2):
        commit(session, mark)
        await session.something_to_say()
        assert session.ack().ack.mark == mark
