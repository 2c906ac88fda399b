"""Tells gateways of corrections of errors (誤記の修正), by which each finds whom it provided with what was wrong.

Rule: no resident is named and no value is told. A correction is a set of recall marks: what a gateway did not provide
under says nothing to it. The center keeps nothing of gateways, and each of them says how far it is; whoever says it of
another history, because an older database was put back here, begins anew and finds nothing twice. So does, from where
a correction was put off because of a damaged row, whoever asks once the row can be read: what was said of the place
holds the position of the first one.

Source: Act art. 30-8 (errors are told); docs/decisions/0066-a-correction-finds-who-was-told.md.
"""

import asyncio
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Final, TypeVar

import grpc
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, Engine

from center_node.cut import ITEM_NUMBERS
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.provision.v1 import correction_pb2 as correction
from jukinet._pb.jukinet.provision.v1.correction_pb2_grpc import CorrectionServiceServicer
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet.mesh.clock import JAPAN, now
from jukinet.purpose.recall import RecallMarks
from jukinet.store.corrections import Corrected, Place, WrongVersion, is_readable, read_corrections, read_place
from jukinet.store.errors import StoreError, as_refusal
from jukinet.store.reading import read_soon

WAIT_SECONDS: Final = 5.0
"""How long a gateway waits for a correction."""
_LOOK_SECONDS: Final = 0.5
_POSITION_BYTES: Final = 8
"""Of the 32 of a place, where a correction was put off; 24 of the digest are left."""
_R = TypeVar("_R")


class CorrectionService(CorrectionServiceServicer):
    """The corrections of the whole register.

    Args:
        reader: of the register.
        token_key: root of the recall marks, 32 bytes.
    """

    def __init__(self, *, reader: Engine, token_key: bytes) -> None:
        self._reader = reader
        self._marks = RecallMarks(token_key)
        self._key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"jukinet corrections v1").derive(token_key)

    async def ListCorrections(  # gRPC names its methods so
        self,
        request: correction.ListCorrectionsRequest,
        context: "grpc.aio.ServicerContext[correction.ListCorrectionsRequest, correction.ListCorrectionsResponse]",
    ) -> correction.ListCorrectionsResponse:
        """Lists the next corrections. Raises Refused: DEPENDENCY_UNAVAILABLE."""
        end = asyncio.get_running_loop().time() + WAIT_SECONDS
        after, put_off = request.after, await self._put_off(request)
        if put_off is None:
            after = put_off = 0
        elif put_off and await self._read(partial(is_readable, position=put_off)):
            after, put_off = put_off - 1, 0
        while True:
            found, after, more, passed = await self._read(partial(read_corrections, after=after))
            put_off = put_off or passed
            left = end - asyncio.get_running_loop().time()
            if found or left <= 0:
                moment = now()
                return correction.ListCorrectionsResponse(
                    corrections=[self._told(each, moment) for each in found],
                    through=after,
                    place=await self._place(after, put_off),
                    at_end=not more and not put_off,
                )
            await asyncio.sleep(0 if more else min(left, _LOOK_SECONDS))

    async def _put_off(self, request: correction.ListCorrectionsRequest) -> int | None:
        """Position of the first correction that was put off for the caller, 0 without one; None: begin anew."""
        for put_off in (0, int.from_bytes(request.place[-_POSITION_BYTES:], "big")):
            if hmac.compare_digest(request.place, await self._place(request.after, put_off)):
                return put_off
        return None

    async def _place(self, position: int, put_off: int) -> bytes:
        """What tells a position of this history from the same one of another; empty where nothing is there."""
        place = await self._read(partial(read_place, position=position))
        if not place:
            return b""
        if not put_off:
            return self._digest("place", place)
        digest = self._digest(f"place but for {put_off}", place)
        return digest[:-_POSITION_BYTES] + put_off.to_bytes(_POSITION_BYTES, "big")

    def _told(self, corrected: Corrected, moment: datetime) -> correction.Correction:
        day = _moment(corrected.applied_at).astimezone(JAPAN)
        return correction.Correction(
            correction_id=self._digest("correction", (corrected.resident_code, corrected.change.hex())),
            corrected_on=CalendarDate(year=day.year, month=day.month, day=day.day),
            marks=[
                correction.CorrectedMark(
                    mark=mark, items=_numbers(each.items), compared=_numbers(each.compared), recent=recent
                )
                for each in corrected.wrong
                for mark, recent in self._marks.all_of(
                    each.resident_code,
                    each.version,
                    first=_first_provided(each),
                    last=_moment(each.replaced_at),
                    now=moment,
                )
            ],
        )

    def _digest(self, kind: str, parts: "Place | tuple[str, str]") -> bytes:
        return hmac.digest(self._key, " ".join((kind, *map(str, parts))).encode(), sha256)

    async def _read(self, query: Callable[[Connection], _R]) -> _R:
        try:
            return await read_soon(self._reader, query)
        except StoreError as failure:
            raise as_refusal(failure) from None


def _first_provided(wrong: WrongVersion) -> datetime:
    """Before this nobody was provided with a version; where a center was built anew, not when it learned of it."""
    event = wrong.change.event_date
    return min(_moment(wrong.applied_at), datetime(max(event.year, 1970), event.month, 1, tzinfo=JAPAN))


def _numbers(items: frozenset[str]) -> "list[inquiry.IdentityField.ValueType]":
    return sorted(ITEM_NUMBERS[item] for item in items)


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1_000_000, UTC)
