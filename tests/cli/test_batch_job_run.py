"""`jukinet batch-job run` carries out only orders whose result can be sound."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2_grpc
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Subject
from jukinet.cli.development_agencies import PENSION_SERVICE
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.job_file import write_job
from jukinet.cli.layout import Mesh
from jukinet.cli.output import Exit
from jukinet.cli.retry import DeadlinePassed, keep_trying
from jukinet.ledger.verify.batch_job import LIFETIME, SKEW, Order, Person, format_time
from jukinet.mesh.clock import now
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_signing_key
from tests.cli.test_agency_refusals import serving
from tests.cli.test_inquire_batch import Answering
from tests.commands import jukinet

ORDERING = Identity("agency", PENSION_SERVICE)
NUMBERS = ("123456789018", "000000000019")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return write_mesh(tmp_path_factory.mktemp("job") / "mesh", Plan(["131016"], ["gateway-1"]))


class Running:
    """A job and the command that carries it out."""

    def __init__(self, mesh: Mesh, folder: Path) -> None:
        self.mesh = mesh
        self.job, self.result = folder / "job", folder / "result"

    def order(self, ago: timedelta) -> None:
        order = Order(
            agency=ORDERING.uri,
            purpose="B1-77.12",
            case="case-1",
            ordered_by="op-7",
            ordered_at=format_time(now() - ago),
            fields=["NAME"],
            max_age=0,
            for_watch=False,
            sealed_until="",
            persons=0,
            persons_sha256="",
        )
        people = [(line, Person(Subject(individual_number=number))) for line, number in enumerate(NUMBERS, 1)]
        write_job(self.job, order, people, load_signing_key(self.mesh.operator_key(ORDERING, "op-7")))

    def run(self, *options: str | Path) -> tuple[int, str]:
        """Gives the exit code and what was told."""
        done = jukinet("batch-job", "run", self.job, "--out", self.result, "--operator", "op-7", *options)
        return done.exit_code, done.stderr


@pytest.fixture
def running(mesh: Mesh, tmp_path: Path) -> Running:
    return Running(mesh, tmp_path)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each run would have tried; none gets an answer in that time."""
    found: list[float] = []

    async def passed(_attempt: object, seconds: float, _progress: object) -> None:
        found.append(seconds)
        raise DeadlinePassed("UNAVAILABLE")

    monkeypatch.setattr("jukinet.cli.batch_stream.keep_trying", passed)
    return found


@pytest.mark.parametrize(
    ("ago", "says"),
    [(-SKEW - timedelta(minutes=1), "still to come"), (LIFETIME + timedelta(minutes=1), "more than 31 days ago")],
)
def test_nobody_is_asked_about_under_an_order_that_is_not_in_force(
    running: Running, seconds: list[float], ago: timedelta, says: str
) -> None:
    running.order(ago)
    code, told = running.run("--mesh", running.mesh.root)
    assert (code, says in told) == (Exit.REFUSED, True), told
    assert (seconds, running.result.exists()) == ([], False)


def test_a_clock_that_is_a_little_ahead_keeps_no_order_back(running: Running, seconds: list[float]) -> None:
    running.order(timedelta(minutes=1) - SKEW)
    assert running.run("--mesh", running.mesh.root)[0] == Exit.UNREACHABLE
    assert seconds == [86400]


def test_a_run_ends_with_its_order_and_says_what_to_do_with_the_rest(running: Running, seconds: list[float]) -> None:
    running.order(LIFETIME - timedelta(hours=1))
    code, told = running.run("--mesh", running.mesh.root)
    assert (code, "order those who are left in a job of their own" in told) == (Exit.UNREACHABLE, True), told
    code, told = running.run("--mesh", running.mesh.root, "--seconds", "60")
    assert (code, "The same command goes on." in told) == (Exit.UNREACHABLE, True), told
    whole, short = seconds
    assert 3500 < whole <= 3600
    assert short == 60


def test_whoever_changes_a_job_that_was_checked_has_nobody_else_asked_about(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.order(timedelta())
    ordered = running.job.read_bytes()

    async def changed(attempt: Any, seconds: float, progress: Any) -> None:
        running.job.write_bytes(ordered.replace(NUMBERS[0].encode(), b"000000000027"))
        await keep_trying(attempt, seconds, progress)

    monkeypatch.setattr("jukinet.cli.batch_stream.keep_trying", changed)
    gateway = Answering(load_signing_key(running.mesh.folder("center") / "freshness.key"))
    with serving(running.mesh, (inquiry_pb2_grpc.add_InquiryServiceServicer_to_server, gateway)):
        running.run("--mesh", running.mesh.root)
    assert running.job.read_bytes() != ordered
    assert tuple(who.individual_number for who in gateway.asked) == NUMBERS
    assert sorted(path.name for path in running.job.parent.iterdir()) == ["job", "result"], "no copy is left"


def test_a_result_that_cannot_be_written_is_told_before_anybody_is_asked(running: Running) -> None:
    running.order(timedelta())
    running.result = running.job.parent / "missing" / "result"
    code, told = running.run("--mesh", running.mesh.root)
    assert (code, told) == (Exit.USAGE, f"{running.result}: No such file or directory.\n")
    running.job.unlink()
    code, told = running.run("--mesh", running.mesh.root)
    assert (code, told) == (Exit.USAGE, f"{running.job}: No such file or directory.\n")


def test_without_a_mesh_the_key_of_who_ordered_is_asked_for(running: Running) -> None:
    running.order(timedelta())
    code, told = running.run("--operator-key", running.mesh.operator_key(ORDERING, "op-7"))
    assert (code, told) == (Exit.USAGE, "Without --mesh say --ordered-by FILE: the order is checked by that key.\n")
