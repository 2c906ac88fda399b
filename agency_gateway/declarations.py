"""Tells the center who is frozen here (操作者の停止), so that he gets no answer through any other gateway.

Rule: all of them are declared, whatever happened meanwhile, after each act and once in half a minute. So the center
comes to know them after an outage, a restart or an older database of its own, and a declaration that is lost is
repaired by the next. One is under way at a time, and each has a higher number than the one before.

A freeze that is not on record yet counts. Whom the directory does not list any more is declared without his id: at the
center he stays who he was, since other directories may list him still.

Source: docs/decisions/0090-who-is-frozen-is-frozen-everywhere.md.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import grpc

from agency_gateway.detectors import Detector as Name
from agency_gateway.freezes import Freezes, Who
from jukinet._pb.jukinet.admin.v1.freeze_pb2 import Detector
from jukinet._pb.jukinet.provision.v1 import frozen_pb2
from jukinet.ledger.entry import EntryKeys
from jukinet.mesh import metrics
from jukinet.mesh.errors import name_of, reason_of
from jukinet.purpose.agencies import AgencyDirectory

log = logging.getLogger(__name__)

_CENTER_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 1.0
"""After a declaration that failed."""
_ANYWAY_SECONDS: Final = 30.0
"""After one that was taken; and after one that the center will not take before somebody does something about it."""
_NOT_TAKEN: Final = {
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
}
"""Said by a center from before this, by one that does not list this gateway, and where too many are frozen."""


class Declarations:
    """What the center knows of a gateway's freezes.

    Args:
        center: stub of the center's service.
        freezes: who is frozen here.
        keys: of the ledger's pseudonyms.
        directory: the agencies with their operators.
    """

    def __init__(self, *, center: Any, freezes: Freezes, keys: EntryKeys, directory: AgencyDirectory) -> None:
        self._center = center
        self._freezes = freezes
        self._keys = keys
        self._directory = directory
        self._number = 0
        self._acknowledged: Mapping[Who, Name] | None = None
        self._failure = ""
        self._ids: dict[str, dict[bytes, str]] = {}
        """Ids of the operators of an agency, by pseudonym; they are listed for as long as the node runs."""

    @property
    def is_known(self) -> bool:
        """Whether the center acknowledged who is frozen now."""
        return self._acknowledged == self._freezes.in_effect

    async def run(self) -> None:
        """Declares whoever is frozen; to be run beside the server."""
        while True:
            self._freezes.changed.clear()
            pause = await self.step()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._freezes.changed.wait()

    async def step(self) -> float:
        """Declares once who is frozen. Returns: seconds until that is due again, if nothing changes."""
        metrics.freezes_undeclared(not self.is_known)
        try:
            await self._declare(self._freezes.in_effect)
        except grpc.aio.AioRpcError as error:
            reason = reason_of(error)
            self._note(name_of(reason) if reason else error.code().name)
            return _ANYWAY_SECONDS if error.code() in _NOT_TAKEN else _AGAIN_SECONDS
        finally:
            metrics.freezes_undeclared(not self.is_known)
        self._note("")
        return _ANYWAY_SECONDS

    async def _declare(self, present: Mapping[Who, Name]) -> None:
        """Raises grpc.aio.AioRpcError."""
        request = frozen_pb2.DeclareFrozenRequest(frozen=[self._declared(*each) for each in present.items()])
        taken = False
        while not taken:
            self._number += 1  # also where no answer comes: the next one may hold others
            request.number = self._number
            answered = await self._center.DeclareFrozen(request, timeout=_CENTER_SECONDS)
            taken = answered.taken
            # The center may know higher ones of before a restart of this gateway.
            self._number = max(self._number, answered.number)
        self._acknowledged = present

    def _declared(self, who: Who, detector: Name) -> frozen_pb2.DeclaredOperator:
        agency, pseudonym = who
        return frozen_pb2.DeclaredOperator(
            agency=agency,
            operator_pseudonym=pseudonym,
            operator=self._ids_of(agency).get(pseudonym, ""),
            detector=Detector.Value(f"DETECTOR_{detector.upper()}"),
        )

    def _ids_of(self, agency: str) -> dict[bytes, str]:
        if agency not in self._ids:
            listed = self._directory.get(agency)
            operators = listed.operators if listed else ()
            self._ids[agency] = {self._keys.operator_pseudonym(agency, each): each for each in operators}
        return self._ids[agency]

    def _note(self, failure: str) -> None:
        """Logs a failure once, until there is another one or none."""
        if failure and failure != self._failure:
            log.warning("the center does not know who is frozen here", extra={"reason": failure})
        elif self._failure and not failure:
            log.info("the center knows who is frozen here")
        self._failure = failure
