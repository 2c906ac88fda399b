"""What is older than was demanded, missing and called not found, or at odds with itself is neither shown nor kept."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2_grpc
from jukinet._pb.jukinet.register.v1.identity_pb2 import IdentityRecord, PersonName
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.output import Exit
from jukinet.mesh.clock import now
from jukinet.mesh.pki import load_signing_key
from jukinet.purpose.freshness import sign_freshness
from tests.cli.test_agency_refusals import GATEWAY, run, serving
from tests.cli.test_inquire_subject import PERSON
from tests.commands import jukinet

MATCH, NOBODY, UNKNOWN = (
    inquiry.INQUIRY_OUTCOME_MATCH,
    inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH,
    inquiry.INQUIRY_OUTCOME_NOT_PROVIDED,
)


class Heedless(inquiry_pb2_grpc.InquiryServiceServicer):
    """A gateway that cares for no age: the municipality of which it tells was behind for an hour."""

    def __init__(self, mesh: Mesh, outcome: "inquiry.InquiryOutcome.ValueType") -> None:
        self.key = load_signing_key(mesh.folder("center") / "freshness.key")
        self.outcome, self.verified = outcome, outcome == MATCH
        self.besides: dict[str, Any] = {}
        """What the answers about persons have besides."""

    def said(self) -> list[inquiry.Freshness]:
        said = inquiry.Freshness(municipality="131016", state=inquiry.SOURCE_STATE_BEHIND)
        said.said_at.FromDatetime(now())
        said.complete_as_of.FromDatetime(now() - timedelta(hours=1))
        return [sign_freshness(said, self.key)]

    async def Inquire(self, request: Any, context: Any) -> inquiry.InquireResponse:
        return inquiry.InquireResponse(outcome=self.outcome, freshness=self.said(), **self.besides)

    async def VerifyIdentity(self, request: Any, context: Any) -> inquiry.VerifyIdentityResponse:
        return inquiry.VerifyIdentityResponse(verified=self.verified, outcome=self.outcome, freshness=self.said())

    async def InquireBatch(self, request_iterator: Any, context: Any) -> AsyncIterator[inquiry.InquireBatchResponse]:
        async for _ in request_iterator:
            answer = inquiry.BatchAnswer(outcome=self.outcome, freshness=self.said(), **self.besides)
            yield inquiry.InquireBatchResponse(answers=[answer], signature=bytes(64))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return write_mesh(tmp_path_factory.mktemp("age") / "mesh", Plan(["131016"], [GATEWAY]))


@pytest.fixture
def person(tmp_path: Path) -> Path:
    path = tmp_path / "person.json"
    path.write_text(json.dumps(PERSON, ensure_ascii=False), "utf-8")
    return path


def ask(mesh: Mesh, command: str, person: Path, max_age: str, gateway: Heedless) -> tuple[int, str]:
    """Gives the exit code and what was told, and makes sure that what is refused is neither shown nor kept."""
    out, job = person.with_name("out"), person.with_name("job")
    demanded = ("--max-age", max_age)
    with serving(mesh, (inquiry_pb2_grpc.add_InquiryServiceServicer_to_server, gateway)):
        if command == "inquire":
            done = run(mesh, command, "--subject", person, "--field", "name", *demanded)
        elif command == "verify-identity":
            done = run(mesh, command, "--subject", person, *demanded)
        elif command == "inquire-batch":
            done = run(mesh, command, person, "--out", out, "--field", "name", *demanded)
        else:
            signed = run(mesh, "batch-job", "sign", person, "--out", job, "--field", "name", *demanded)
            assert signed.exit_code == Exit.OK, signed.output
            done = jukinet("batch-job", "run", job, "--out", out, "--mesh", mesh.root, "--operator", "op-7")
    assert done.exit_code == Exit.OK or (done.stdout == "" and "on record but not to be used" in done.stderr)
    assert done.exit_code == Exit.OK or not out.exists() or len(out.read_bytes().splitlines()) == 1
    return done.exit_code, done.stderr


@pytest.mark.parametrize("command", ["inquire", "verify-identity", "inquire-batch", "batch-job"])
@pytest.mark.parametrize(
    ("outcome", "max_age", "says"),
    [
        (MATCH, "0", ""),
        (MATCH, "7200", ""),
        (MATCH, "60", "it is older than was asked for"),
        (UNKNOWN, "0", ""),
        (UNKNOWN, "60", ""),
        (NOBODY, "0", "nobody is called not found"),
        (NOBODY, "7200", "nobody is called not found"),
    ],
)
def test_a_command_takes_no_answer_whose_source_is_not_as_fresh_as_it_has_to_be(
    mesh: Mesh, person: Path, command: str, outcome: "inquiry.InquiryOutcome.ValueType", max_age: str, says: str
) -> None:
    code, told = ask(mesh, command, person, max_age, Heedless(mesh, outcome))
    assert (code, says in told) == (Exit.REFUSED if says else Exit.OK, True), told


@pytest.mark.parametrize("outcome", [MATCH, UNKNOWN])
def test_an_answer_that_says_yes_and_no_together_is_not_shown(
    mesh: Mesh, person: Path, outcome: "inquiry.InquiryOutcome.ValueType"
) -> None:
    gateway = Heedless(mesh, outcome)
    gateway.verified = not gateway.verified
    code, told = ask(mesh, "verify-identity", person, "0", gateway)
    assert (code, "it says both yes and no" in told) == (Exit.REFUSED, True), told


RECORD = inquiry.ProvidedRecord(record=IdentityRecord(name=PersonName(legal="試験 花子")))


@pytest.mark.parametrize("command", ["inquire", "inquire-batch", "batch-job"])
@pytest.mark.parametrize(
    ("outcome", "besides", "says"),
    [
        (UNKNOWN, {"provided": RECORD}, "without a match it has provided"),
        (UNKNOWN, {"provided": inquiry.ProvidedRecord()}, "without a match it has provided"),
        (inquiry.INQUIRY_OUTCOME_UNSPECIFIED, {"provided": RECORD}, "without a match it has provided"),
        (UNKNOWN, {"handle": bytes(64), "held": bytes(32)}, "without a match it has handle and held"),
        (UNKNOWN, {"unchanged": True}, "without a match it has unchanged"),
        (MATCH, {"provided": RECORD, "unchanged": True}, "it has provided, and says that nothing changed"),
        (MATCH, {"held": bytes(32), "unchanged": True}, ""),
        (MATCH, {"provided": RECORD, "held": bytes(32)}, ""),
    ],
)
def test_an_answer_that_contradicts_itself_is_neither_shown_nor_kept(
    mesh: Mesh,
    person: Path,
    command: str,
    outcome: "inquiry.InquiryOutcome.ValueType",
    besides: dict[str, Any],
    says: str,
) -> None:
    gateway = Heedless(mesh, outcome)
    gateway.besides = besides
    code, told = ask(mesh, command, person, "0", gateway)
    assert (code, says in told) == (Exit.REFUSED if says else Exit.OK, True), told
    assert "花子" not in told


@pytest.mark.parametrize("command", ["inquire-batch", "batch-job"])
@pytest.mark.parametrize("outcome", [MATCH, NOBODY, UNKNOWN])
def test_an_answer_of_a_batch_that_is_a_refusal_and_has_an_outcome_is_not_kept(
    mesh: Mesh, person: Path, command: str, outcome: "inquiry.InquiryOutcome.ValueType"
) -> None:
    gateway = Heedless(mesh, outcome)
    gateway.besides = {"refusal": errors.ERROR_REASON_METHOD_NOT_ALLOWED}
    code, told = ask(mesh, command, person, "0", gateway)
    assert (code, "it is a refusal with an outcome" in told) == (Exit.REFUSED, True), told
