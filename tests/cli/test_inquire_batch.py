"""`jukinet inquire-batch` asks about all whom it can and says of the others why; what it was answered is kept."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2_grpc
from jukinet.cli.batch_stream import TOGETHER
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.output import Exit
from tests.cli.test_agency_refusals import GATEWAY, run, serving
from tests.cli.test_inquire_subject import PERSON

SOUND = json.dumps(PERSON, ensure_ascii=False)


class Answering(inquiry_pb2_grpc.InquiryServiceServicer):
    """A gateway that finds everybody."""

    def __init__(self) -> None:
        self.asked: list[inquiry.Subject] = []

    async def InquireBatch(self, request_iterator: Any, context: Any) -> AsyncIterator[inquiry.InquireBatchResponse]:
        async for request in request_iterator:
            self.asked += request.subjects
            found = inquiry.BatchAnswer(outcome=inquiry.INQUIRY_OUTCOME_MATCH)
            yield inquiry.InquireBatchResponse(answers=[found] * len(request.subjects))

    async def Inquire(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def VerifyIdentity(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return write_mesh(tmp_path / "mesh", Plan(["131016"], [GATEWAY]))


class Batch:
    """The files of one batch, and its command against a gateway."""

    def __init__(self, mesh: Mesh, folder: Path) -> None:
        self._mesh = mesh
        self.people, self.out = folder / "people", folder / "answers.jsonl"
        self.gateway = Answering()

    def ask(self, *options: str | Path) -> tuple[int, str]:
        """Gives the exit code and what was told."""
        with serving(self._mesh, (inquiry_pb2_grpc.add_InquiryServiceServicer_to_server, self.gateway)):
            done = run(self._mesh, "inquire-batch", self.people, "--out", self.out, "--field", "name", *options)
        return done.exit_code, done.stderr

    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text("utf-8").splitlines()[1:]]


@pytest.fixture
def batch(mesh: Mesh, tmp_path: Path) -> Batch:
    return Batch(mesh, tmp_path)


def test_a_record_that_breaks_the_contract_is_told_in_its_line_and_stops_no_other(batch: Batch) -> None:
    wrong: list[tuple[str, dict[str, str]]] = [
        ("individual_number", {"individual_number": "12"}),
        ("individual_number", {"individual_number": "\ud800"}),
        ("four_items.name", {**PERSON, "name": "x" * 201}),
        ("town", {**PERSON, "town": "\ud800"}),
    ]
    lines = [SOUND, *(json.dumps(record) for _, record in wrong), *[SOUND] * TOGETHER]
    batch.people.write_text("\n".join(lines), "utf-8")
    code, told = batch.ask()
    assert (code, "a file of their own" in told) == (Exit.REFUSED, True)
    answers = batch.answers()
    assert [answer["line"] for answer in answers] == [*range(1, len(lines) + 1)]
    problems = [(answer["line"], answer["problem"]) for answer in answers if "problem" in answer]
    assert [line for line, _ in problems] == [2, 3, 4, 5]
    assert all(
        f" {name}" in problem or f"({name}" in problem for (name, _), (_, problem) in zip(wrong, problems, strict=True)
    )
    assert len(batch.gateway.asked) == TOGETHER + 1
