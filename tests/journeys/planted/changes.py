"""Canaries in changes: what a municipal system reports to its CS, taken, refused, repeated, malformed, too large."""

from typing import Any

from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeRequest, SubmitChangesRequest
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.mesh.identity import Identity
from tests.journeys.canaries import CHIYODA, CS, OKUTAMA, Canaries, altered, traced
from tests.journeys.mistakes import wrong_digit

Network = Any  # the fixtures' own class lives in conftest.py
SYSTEM = Identity("municipal-system", CHIYODA)


async def plant_changes(canaries: Canaries, network: Network) -> identity_pb2.IdentityRecord:
    """Changes that are accepted, refused, repeated, malformed, too large; gives a resident who is asked about."""
    known = canaries.record(network)
    new_code, new_number = network.code(), network.number()
    entry = network.submission("ENTRY_EX_OFFICIO", known)
    other_content = _copy(entry)
    other_content.record.address.block = canaries.word("othercontent")
    numbered = altered(known, individual_number=new_number)
    recoded = altered(numbered, resident_code=new_code)
    unknown = canaries.record(network)
    bad = [canaries.record(network) for _ in range(6)]
    bad[0].resident_code = wrong_digit(bad[0].resident_code)
    bad[1].individual_number = wrong_digit(bad[1].individual_number)
    bad[2].name.legal += "\x1b[31m"
    bad[3].address.building = canaries.word("x" * 201)
    bad[4].resident_code = canaries.word("nocode")
    bad[5].birth_date.CopyFrom(identity_pb2.BirthDate(year=9999, month=7, day=23))
    victim = network.submission("ENTRY_EX_OFFICIO", canaries.record(network), protected=True)
    submissions = [
        entry,
        entry,
        victim,
        network.submission("PROTECTION_BEGIN", victim.record),
        network.submission("PROTECTION_END", victim.record),
        network.submission("PROTECTION_BEGIN", victim.record),
        other_content,
        network.submission("ENTRY_EX_OFFICIO", known),
        network.submission("CORRECTION_MOVE_WITHIN", unknown),
        network.submission(
            "CORRECTION_INDIVIDUAL_NUMBER_REQUEST", numbered, previous_individual_number=network.number()
        ),
        network.submission(
            "CORRECTION_INDIVIDUAL_NUMBER_REQUEST", numbered, previous_individual_number=known.individual_number
        ),
        network.submission("CORRECTION_RESIDENT_CODE_REQUEST", recoded, previous_resident_code=known.resident_code),
        network.submission("DELETION_DEATH", known),  # under the old code
        *(network.submission("ENTRY_EX_OFFICIO", record) for record in bad),
        network.submission("UNSPECIFIED", unknown),
    ]
    async with network.channel(CS, SYSTEM) as channel:
        stub = IntakeServiceStub(channel)
        for submission in submissions:
            request = SubmitChangeRequest(submission=submission)
            await canaries.attempt(stub.SubmitChange(request, timeout=5, metadata=traced()), request)
        requests = [SubmitChangesRequest(submission=each, traceparent=traced()[0][1]) for each in submissions[-9:]]
        await canaries.attempt(stub.SubmitChanges(iter(requests), timeout=5), *requests)
        raw = channel.unary_unary("/jukinet.intake.v1.IntakeService/SubmitChange")
        serialised = requests[0].SerializeToString()
        large = serialised * (1024 * 1024 // len(serialised) + 1)
        for body in (serialised[:-3], b"\xff\xff" + serialised, large, large * 2):
            await canaries.attempt(raw(body, timeout=5))
    async with network.channel(CS, Identity("municipal-system", OKUTAMA)) as channel:
        request = SubmitChangeRequest(submission=entry)
        await canaries.attempt(IntakeServiceStub(channel).SubmitChange(request, timeout=5), request)
    await plant_a_move(canaries, network)
    await plant_a_parked_change(canaries, network)
    await network.arrived(CHIYODA)
    return recoded


async def plant_a_move(canaries: Canaries, network: Network) -> None:
    """Somebody who is protected moves from Chiyoda to Okutama."""
    here = canaries.record(network)
    there = altered(here, address=canaries.record(network, OKUTAMA).address)
    version = 0
    for municipality, submission in (
        (CHIYODA, network.submission("ENTRY_EX_OFFICIO", here, protected=True)),
        (CHIYODA, network.submission("DELETION_DOMESTIC_MOVE_OUT", here, next_municipality=OKUTAMA)),
        (OKUTAMA, network.submission("ENTRY_DOMESTIC_MOVE_IN", there, previous_municipality=CHIYODA)),
    ):
        if submission.previous_municipality:
            submission.transfer_version = version
        canaries.plant(submission)
        answer = await network.submit(municipality, submission)
        canaries.plant(answer)
        version = answer.version


async def plant_a_parked_change(canaries: Canaries, network: Network) -> None:
    """Chiyoda enters somebody whom Okutama holds: on its way up, the change is parked."""
    held = canaries.record(network, OKUTAMA)
    await network.submit(OKUTAMA, network.submission("ENTRY_EX_OFFICIO", held))
    await network.arrived(OKUTAMA)
    stolen = altered(held)
    stolen.address.local_government_code = CHIYODA
    submission = network.submission("ENTRY_EX_OFFICIO", stolen)
    canaries.plant(submission)
    await network.submit(CHIYODA, submission)


def _copy(submission: Submission) -> Submission:
    copy = Submission()
    copy.CopyFrom(submission)
    return copy
