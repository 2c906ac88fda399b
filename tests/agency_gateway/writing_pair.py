"""A gateway's pair of processes with nothing but its ledger: one makes entries for ever, the other writes them.

`python -m tests.agency_gateway.writing_pair URL ORIGIN KEY` prints the id of the process that writes; then, message by
message, the receipt of its last entry in Base64, when that is on disk.
"""

import asyncio
import base64
import sys
import uuid
from functools import partial
from pathlib import Path

from agency_gateway.appending import load, open_ledger, signer_of
from agency_gateway.record import GROUP_ENTRIES, Record, Recorded
from jukinet.store.writer_process import begin_writer
from tests.agency_gateway.one_entry import one_entry

MESSAGE_ENTRIES = 7
ASKERS = 2 * GROUP_ENTRIES // MESSAGE_ENTRIES + 1
"""So many keep two groups under way."""


async def main(url: str, origin: str, key: str) -> None:
    """Ends with the process that writes, as a gateway does."""
    writer = await begin_writer(partial(open_ledger, url))
    print(writer._process.pid, flush=True)
    sign = partial(signer_of, origin, Path(key))
    size = await writer.run(partial(load, sign=sign))
    record = Record(writer=writer, sign=sign, size=size, newest_us=0, is_open=lambda: True)

    async def ask() -> None:
        while True:
            entries = [Recorded(one_entry(str(uuid.uuid4()))) for _ in range(MESSAGE_ENTRIES)]
            receipts = await record.keep_all(entries)
            print(base64.b64encode(receipts[-1].SerializeToString()).decode(), flush=True)

    async with asyncio.TaskGroup() as group:
        for part in (writer.watch, record.grouping.run, *[ask] * ASKERS):
            group.create_task(part())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
