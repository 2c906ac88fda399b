"""Canaries at the disclosure node: what a resident is told and shows, at a counter (窓口)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import DisclosureServiceStub
from jukinet._pb.jukinet.disclosure.v1.record_pb2 import GetRecordRequest
from jukinet._pb.jukinet.disclosure.v1.record_pb2_grpc import RecordServiceStub
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_signing_key
from jukinet.purpose.identity_check import sign_check
from tests.journeys.canaries import CENTER, CHIYODA, MARK, Canaries, traced

Network = Any  # the fixtures' own class lives in conftest.py
SYSTEM = Identity("municipal-system", CHIYODA)
DISCLOSURE = "disclosure"


async def plant_a_disclosure(canaries: Canaries, network: Network, known: identity_pb2.IdentityRecord) -> None:
    """A counter has a resident told, with a good check, a forged one, another's, a second time."""
    key = load_signing_key(network.mesh.root / "clients" / f"counter-{CHIYODA}" / "check.key")
    counter = Identity("counter", CHIYODA)
    day = today_in_japan()
    today = identity_pb2.CalendarDate(year=day.year, month=day.month, day=day.day)
    # So long a period has an opening day of sealed entries in it.
    first = day - timedelta(days=40)
    before = identity_pb2.CalendarDate(year=first.year, month=first.month, day=first.day)
    wanted = len(await network.ledger())

    async def mirrored() -> bool:
        return bool((await network.status(DISCLOSURE)).mirrors[0].entries >= wanted)

    await network.until(mirrored)

    def request(**parts: Any) -> disclosure.FindUsageRequest:
        check = _check(network, known, key, disclosure.AFFAIR_FIND_USAGE)
        return disclosure.FindUsageRequest(**{"check": check, "first_day": before, "last_day": today, **parts})

    forged = request()
    forged.check.signature = bytes(64)
    for caller in (counter, Identity("counter", "portal"), SYSTEM):
        async with network.channel(DISCLOSURE, caller) as channel:
            stub = DisclosureServiceStub(channel)
            for each in (forged, request(), request(first_row=400), request(last_day=None)):
                await canaries.attempt(stub.FindUsage(each, timeout=10, metadata=traced()), each)
    await plant_an_own_record(canaries, network, known, lambda affair: _check(network, known, key, affair))


async def plant_an_own_record(
    canaries: Canaries,
    network: Network,
    known: identity_pb2.IdentityRecord,
    check: Callable[[Any], disclosure.SignedIdentityCheck],
) -> None:
    """A resident is shown the own record and has it corrected; then the center is asked without the node."""
    async with network.channel(DISCLOSURE, Identity("counter", CHIYODA)) as channel:
        stub = DisclosureServiceStub(channel)
        asked = disclosure.RequestRecordRequest(check=check(disclosure.AFFAIR_REQUEST_RECORD))
        taken = await canaries.attempt(stub.RequestRecord(asked, timeout=10, metadata=traced()), asked)
        number = taken.request.request_id
        for word in (check(disclosure.AFFAIR_FIND_USAGE), check(disclosure.AFFAIR_ANSWER_REQUEST)):
            answer = disclosure.AnswerRequestRequest(check=word, request_id=number)
            await canaries.attempt(stub.AnswerRequest(answer, timeout=10, metadata=traced()), answer)
        wrong = disclosure.RequestCorrectionRequest(
            check=check(disclosure.AFFAIR_REQUEST_CORRECTION), disclosed_by=number, document="7-1"
        )
        await canaries.attempt(stub.RequestCorrection(wrong, timeout=10, metadata=traced()), wrong)
        for word in (check(disclosure.AFFAIR_WITHDRAW_REQUEST), check(disclosure.AFFAIR_REQUEST_RECORD)):
            withdrawn = disclosure.CloseRequestRequest(
                request_id=number, reason=disclosure.CLOSE_REASON_WITHDRAWN, check=word
            )
            await canaries.attempt(stub.CloseRequest(withdrawn, timeout=10, metadata=traced()), withdrawn)
        await canaries.attempt(stub.ListRequests(disclosure.ListRequestsRequest(), timeout=10))
    async with network.channel(CENTER, Identity("disclosure")) as channel:
        for word in (check(disclosure.AFFAIR_FIND_USAGE), check(disclosure.AFFAIR_ANSWER_REQUEST)):
            get = GetRecordRequest(check=word)
            await canaries.attempt(RecordServiceStub(channel).GetRecord(get, timeout=10, metadata=traced()), get)


def _check(network: Network, known: identity_pb2.IdentityRecord, key: Any, affair: Any) -> Any:
    check = disclosure.IdentityCheck(
        id=network.context().request_id,
        counter=Identity("counter", CHIYODA).uri,
        clerk=f"{MARK}clerk",
        resident_code=known.resident_code,
        proof=disclosure.IDENTITY_PROOF_PHOTO_DOCUMENT,
        affair=affair,
    )
    check.checked_at.FromDatetime(now())
    return sign_check(check, key)
