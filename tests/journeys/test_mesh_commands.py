"""The command line from an empty folder to a verified ledger, each command a process; and what draining keeps."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet.cli.compare import differences
from jukinet.cli.development_agencies import PENSION_SERVICE
from jukinet.cli.layout import Mesh
from jukinet.mesh.identity import Identity
from nation import Nation, write_csv

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, OKUTAMA = "131016", "133086"
WITNESSES = ["witness-1", "witness-2", "witness-3"]
NODES = [
    "center",
    *WITNESSES,
    "gateway-1",
    "disclosure",
    "prefecture-130001",
    f"municipality-{CHIYODA}",
    f"municipality-{OKUTAMA}",
]
SECONDS = 60.0
QUESTION = ("--purpose", "B1-77.12", "--case", "case-1", "--operator", "op-7")


class Shell:
    """Runs `jukinet` in a folder, as a person at a terminal does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a command that goes on running."""
        command = [sys.executable, "-m", "jukinet.cli", *arguments]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environ = {**os.environ, "NO_PROXY": "127.0.0.1", "COLUMNS": "200"}
        process = subprocess.Popen(command, cwd=self.folder, env=environ, **pipes)
        self.running.append(process)
        return process

    def run(self, *arguments: str, code: int = 0) -> str:
        """Runs a command, expects its exit code and gives what it printed."""
        process = self.start(*arguments)
        printed, told = process.communicate(timeout=SECONDS)
        assert process.returncode == code, f"{arguments}: {process.returncode}: {printed}{told}"
        assert "Traceback" not in told
        return printed

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The same for a command that prints one JSON object."""
        return json.loads(self.run(*arguments, "--json", code=code))

    def up(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a mesh and waits until it says that all nodes are healthy."""
        process = self.start("mesh", "up", "mesh", *arguments)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in NODES]
        assert [line.partition("\t")[0] for line in lines] == NODES
        return process

    def changes_at(self, node: str) -> int:
        """How many changes a node's register holds; read from its file, which takes no time."""
        register = self.folder / "mesh/nodes" / node / "register.db"
        with closing(sqlite3.connect(f"file:{register}?mode=ro", uri=True)) as database:
            (count,) = database.execute("SELECT count(*) FROM history").fetchone()
        return int(count)

    def until(self, condition: Callable[[], bool]) -> None:
        """Asks again and again until a condition holds."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
    """Ends a command by a signal and gives its exit code."""
    process.send_signal(number)
    process.communicate(timeout=SECONDS)
    return process.returncode


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell in an empty folder; whatever still runs at the end is ended."""
    found = Shell(tmp_path)
    yield found
    for process in found.running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.slow
def test_from_an_empty_folder_to_a_verified_ledger(shell: Shell) -> None:
    codes = ("--municipality", CHIYODA, "--municipality", OKUTAMA)
    assert "center" in shell.run("mesh", "init", "mesh", *codes)
    shell.run("mesh", "init", "mesh", *codes, code=1)
    shell.json("mesh", "status", "mesh", code=3)
    shell.run("nation", "residents", "load", *codes, "--count", "40", "--seed", "7")
    addresses = shell.folder / "addresses.json"
    listen = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--address-file", "addresses.json")
    traces = shell.start("traces", "serve", "--db", "traces.db", *listen)
    shell.until(addresses.exists)
    mesh = shell.up("--trace-endpoint", json.loads(addresses.read_text("utf-8"))["otlp"])

    counted = {}
    for code in (CHIYODA, OKUTAMA):
        report = shell.json("submit", f"load/{code}.csv", "--mesh", "mesh", "--municipality", code, "--trace")
        counted[code] = report["lines"]
        assert {key: report[key] for key in ("accepted", "repeated", "refused", "first_sequence", "rejects")} == {
            "accepted": report["lines"],
            "repeated": 0,
            "refused": {},
            "first_sequence": 1,
            "rejects": None,
        }
        assert report["last_sequence"] == report["lines"]
    assert sum(counted.values()) == 40
    shell.until(lambda: shell.changes_at("center") == 40)
    assert shell.json("admin", "status", "--mesh", "mesh", "--node", "center")["residents"] == {"ACTIVE": 40}
    nodes = {node["node"]: node for node in shell.json("mesh", "status", "mesh")["nodes"]}
    assert list(nodes) == NODES
    assert all(node["answers"] for node in nodes.values())
    assert nodes["prefecture-130001"]["residents"] == {"ACTIVE": 40}
    assert {code: nodes[f"municipality-{code}"]["residents"]["ACTIVE"] for code in counted} == counted
    assert shell.json("admin", "parked", "--mesh", "mesh", "--node", "center") == {"parked": [], "held": []}

    ask(shell)
    assert shell.run("ledger", "fetch", "--mesh", "mesh", "--out", "ledger.jsonl").startswith("3 entries of gateway-1")
    key = ("--key", "mesh/ledger-gateway-1.vkey")
    verified = shell.json("ledger", "verify", "ledger.jsonl", *key, "--receipt", "receipt.json")
    assert (verified["sound"], verified["entries"], verified["receipts"]) == (True, 3, 1)
    forge(shell.folder / "ledger.jsonl")
    shell.run("ledger", "verify", "ledger.jsonl", *key, code=1)

    shell.until(lambda: shown(shell, report["trace"]) == 4)
    assert ended(mesh) == 0
    assert ended(traces) == 0
    assert [node["answers"] for node in shell.json("mesh", "status", "mesh", code=3)["nodes"]] == [False] * len(NODES)
    for log in shell.folder.glob("mesh/nodes/*/log.jsonl"):
        records = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
        assert records, f"{log} says nothing"


def ask(shell: Shell) -> None:
    """A match with its receipt, a verification, and a bank that is refused."""
    truth = map(json.loads, (shell.folder / "load/truth.jsonl").read_text("utf-8").splitlines())
    person = next(
        row["record"] for row in truth if "alias" not in row["record"] and "-00" not in row["record"]["birth_date"]
    )
    items = ("name", "birth_date", "sex", "local_government_code", "town", "block", "building")
    subject = {name: person[name] for name in items if person.get(name)}
    (shell.folder / "person.json").write_text(json.dumps(subject), "utf-8")
    pension = ("--mesh", "mesh", "--agency", PENSION_SERVICE, *QUESTION, "--subject", "person.json")
    answer = shell.json("inquire", *pension, "--field", "address", "--receipt", "receipt.json")
    assert answer["outcome"] == "INQUIRY_OUTCOME_MATCH"
    assert answer["provided"]["record"]["address"]["town"] == person["town"]
    assert shell.json("verify-identity", *pension)["verified"] is True
    bank = ("--mesh", "mesh", "--agency", "example-bank", *QUESTION, "--subject", "person.json")
    assert shell.run("inquire", *bank, "--field", "address", code=4) == ""


def forge(ledger: Path) -> None:
    """Takes one entry out of a ledger file."""
    lines = ledger.read_text("utf-8").splitlines(keepends=True)
    del lines[2]
    ledger.write_text("".join(lines), "utf-8")


def shown(shell: Shell, trace: str) -> int:
    """How many spans `jukinet trace` shows of a trace; 0 while it knows nothing of it."""
    process = shell.start("trace", trace, "--db", "traces.db", "--json")
    printed, _ = process.communicate(timeout=SECONDS)
    return len(json.loads(printed)["spans"]) if process.returncode == 0 else 0


@pytest.mark.slow
def test_a_submission_outlives_a_drained_mesh_and_loses_nothing(shell: Shell) -> None:
    nation = Nation([CHIYODA, OKUTAMA], count=3000, seed=11, on=date(2026, 1, 5))
    files = {path.stem: path for path in write_csv(shell.folder / "load", nation.residents())}
    shell.run("mesh", "init", "mesh", "--municipality", CHIYODA, "--municipality", OKUTAMA)
    mesh = shell.up()
    submitting = {
        code: shell.start("submit", str(path), "--mesh", "mesh", "--municipality", code, "--json")
        for code, path in files.items()
    }
    shell.until(lambda: shell.changes_at(f"municipality-{CHIYODA}") > 0)
    assert submitting[CHIYODA].poll() is None, "the mesh is to be drained in the middle of the file"
    assert ended(mesh) == 0
    mesh = shell.up()
    lines = 0
    for process in submitting.values():
        printed, told = process.communicate(timeout=SECONDS)
        assert (process.returncode, told) == (0, "")
        report = json.loads(printed)
        assert (report["accepted"], report["repeated"], report["refused"]) == (report["lines"], 0, {})
        lines += report["lines"]
    assert lines == 3000
    shell.until(lambda: shell.changes_at("center") == 3000)
    assert ended(mesh, signal.SIGINT) == 0
    found = Mesh.open(shell.folder / "mesh")
    for name in NODES:
        if name in found.registers:
            truth = nation.registers.of(name.partition("-")[2] or "center")
            assert differences(found.config(name).database, truth) == Counter()


async def test_a_draining_gateway_answers_what_it_was_asked_before(
    new_network: Callable[..., Network], tmp_path: Path
) -> None:
    network = new_network(tmp_path, [CHIYODA])
    nobody = network.person(CHIYODA)
    async with network.nodes as nodes:
        for name in ("center", "witness-1", "gateway-1"):
            nodes.start(name)
        await nodes.wait_healthy()
        async with network.channel("gateway-1", Identity("agency", PENSION_SERVICE)) as channel:
            stub = InquiryServiceStub(channel)
            # The stubs of the package know the methods of the synchronous channel only.
            health: Any = health_pb2_grpc.HealthStub(channel)

            async def serving() -> bool:
                state = await health.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
                return bool(state.status == health_pb2.HealthCheckResponse.SERVING)

            await stub.Inquire(network.question(nobody), timeout=SECONDS)
            os.kill(nodes.pid("center"), signal.SIGSTOP)
            try:
                asked = stub.Inquire(network.question(nobody), timeout=SECONDS)
                # Over the same connection, so the gateway has the question when it answers this.
                assert await serving()
                nodes.terminate("gateway-1")
                while await serving():
                    await asyncio.sleep(0.01)
                assert not asked.done()
            finally:
                os.kill(nodes.pid("center"), signal.SIGCONT)
            answer = await asked
        assert answer.outcome == inquiry.INQUIRY_OUTCOME_NOT_PROVIDED  # no municipality runs here
        assert await nodes.wait_ended("gateway-1") == 0
    assert answer.receipt.index == 1
