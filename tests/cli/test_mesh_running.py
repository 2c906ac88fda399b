"""The command line against a mesh of real processes: submit, ask, look, audit; and processes end as they should."""

import csv
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.output import Exit
from jukinet.cli.processes import MeshProcesses, NodeDied, NotHealthy
from tests.cli.running import CODE, CS, RESIDENTS, Running
from tests.commands import jukinet


def test_every_line_of_a_lawful_file_is_accepted(running: Running) -> None:
    assert running.submitted.exit_code == Exit.OK, running.submitted.output
    report = json.loads(running.submitted.stdout)
    assert (report["lines"], report["accepted"], report["refused"]) == (RESIDENTS, RESIDENTS, {})
    assert len(report["trace"]) == 32
    assert report["rejects"] is None


def test_a_file_submitted_again_changes_nothing(running: Running) -> None:
    result = jukinet("submit", running.file, "--mesh", running.mesh.root, "--municipality", CODE)
    assert result.exit_code == Exit.OK
    assert f"{RESIDENTS} lines: 0 accepted, {RESIDENTS} repeated" in result.stdout


def test_refused_lines_are_counted_and_kept_beside_the_file(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "more.csv"
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, running.rows[0].keys())
        writer.writeheader()
        writer.writerow({**running.rows[0], "message_id": "another-1"})
    result = jukinet("submit", file, "--mesh", running.mesh.root, "--municipality", CODE)
    assert result.exit_code == Exit.REFUSED
    assert "refused, RESIDENT_EXISTS: 1" in result.stdout
    assert (tmp_path / "more.rejects.csv").exists()
    assert jukinet("submit", file, "--mesh", running.mesh.root, "--municipality", CODE).exit_code == Exit.USAGE


def test_certificates_and_an_address_do_instead_of_a_mesh_folder(running: Running) -> None:
    client = running.mesh.root / "clients" / f"municipal-system-{CODE}"
    files = ("--certificate", client / "tls.pem", "--key", client / "tls.key")
    where = ("--to", running.mesh.address(CS), "--nodes-ca", running.mesh.authority("nodes"))
    assert jukinet("submit", running.file, *files, *where).exit_code == Exit.OK
    # A node other than the one that the certificate's owner dials is refused before a byte is sent.
    other = ("--to", running.mesh.address("center"), "--nodes-ca", running.mesh.authority("nodes"))
    assert jukinet("submit", running.file, *files, *other, "--seconds", "1").exit_code == Exit.UNREACHABLE
    wrong = ("--server", "spiffe://nodes.jukinet/nobody")
    assert jukinet("submit", running.file, *files, *where, *wrong).exit_code == Exit.USAGE
    assert jukinet("submit", running.file, "--certificate", running.file, *files[2:], *where).exit_code == (
        Exit.CONFIGURATION
    )


def test_a_certificate_that_may_not_submit_is_told_so(running: Running) -> None:
    client = running.mesh.root / "clients" / "operator"
    files = ("--certificate", client / "tls.pem", "--key", client / "tls.key")
    server = ("--server", f"spiffe://nodes.jukinet/municipality/{CODE}", "--to", running.mesh.address(CS))
    result = jukinet("submit", running.file, *files, *server, "--nodes-ca", running.mesh.authority("nodes"))
    assert result.exit_code == Exit.FORBIDDEN
    assert "CALLER_NOT_ALLOWED" in result.stderr


def test_a_file_that_is_no_change_file_is_wrong_usage(running: Running, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("shoe_size\n42\n")
    for file in (bad, tmp_path / "missing.csv"):
        result = jukinet("submit", file, "--mesh", running.mesh.root, "--municipality", CODE)
        assert result.exit_code == Exit.USAGE
        assert result.stderr


def test_status_shows_every_node_and_link(running: Running) -> None:
    text = jukinet("mesh", "status", running.mesh.root)
    assert text.exit_code == Exit.OK
    for name in running.mesh.names:
        assert name in text.stdout
    shown = json.loads(jukinet("mesh", "status", running.mesh.root, "--json").stdout)
    nodes = {node["node"]: node for node in shown["nodes"]}
    assert [link["outgoing"] for link in nodes["prefecture-130001"]["links"]] == [True, False]
    assert all(node["answers"] for node in nodes.values())
    assert nodes[CS]["links"][0]["last_sequence"] == RESIDENTS


def test_the_operators_view_of_a_node(running: Running) -> None:
    text = jukinet("admin", "status", "--mesh", running.mesh.root, "--node", CODE).stdout
    assert f"spiffe://nodes.jukinet/municipality/{CODE}" in text
    assert f"residents ACTIVE: {RESIDENTS}" in text
    assert "ledger entries:" in jukinet("admin", "status", "--mesh", running.mesh.root, "--node", "gateway-1").stdout
    assert running.status("center")["role"] == "center"
    assert jukinet("admin", "status", "--mesh", running.mesh.root, "--node", "999999").exit_code == Exit.USAGE


def test_parked_changes_are_listed(running: Running) -> None:
    arguments = ("admin", "parked", "--mesh", running.mesh.root, "--node", "center")
    assert json.loads(jukinet(*arguments, "--json").stdout) == {"parked": [], "held": []}
    assert "municipality" in jukinet(*arguments).stdout


def test_an_answer_has_items_legal_basis_in_both_languages_freshness_and_receipt(
    running: Running, tmp_path: Path
) -> None:
    receipt, subject = tmp_path / "receipt.json", tmp_path / "person.json"
    subject.write_text(running.person(), encoding="utf-8")
    wanted = ("--field", "name", "--field", "birth-date", "--field", "sex", "--field", "address", "--field", "change")
    result = running.ask("inquire", *wanted, "--subject", subject, "--receipt", receipt)
    assert result.exit_code == Exit.OK, result.output
    for expected in (
        running.rows[0]["name"],
        running.rows[0]["town"],
        "30-9",
        "National pension",
        "国民年金法",
        "as of",
    ):
        assert expected in result.stdout
    again = running.ask("inquire", *wanted, "--subject", subject, "--receipt", receipt)
    assert again.exit_code == Exit.USAGE
    assert "left alone" in again.stderr


def test_an_answer_whose_freshness_the_center_did_not_sign_is_not_shown(running: Running) -> None:
    """Another key stands for another center: of whoever is found, of nobody, of all municipalities together."""
    foreign = ("--freshness-key", running.mesh.folder("center") / "seals" / f"{CODE}.pub")
    by_number = ("--field", "name", "--individual-number", "-")
    by_items = ("--field", "name", "--subject", "-")
    shown = []
    for question, person in (
        (by_number, running.rows[0]["individual_number"]),
        (by_items, running.person(name="試験 無人")),
        (by_number, "000000000019"),
    ):
        sound = running.ask("inquire", *question, stdin=person)
        assert sound.exit_code == Exit.OK, sound.output
        shown.append(sound.stdout)
        result = running.ask("inquire", *question, *foreign, stdin=person)
        assert (result.exit_code, result.stdout) == (Exit.REFUSED, "")
        assert "not to be used" in result.stderr
    assert "all municipalities 全市区町村: connected" in shown[-1]
    verified = running.ask("verify-identity", "--subject", "-", *foreign, stdin=running.person())
    assert (verified.exit_code, verified.stdout) == (Exit.REFUSED, "")
    wrong = running.ask("verify-identity", "--subject", "-", "--freshness-key", __file__, stdin=running.person())
    assert wrong.exit_code == Exit.CONFIGURATION


def test_an_inquiry_by_individual_number_reads_it_from_standard_input(running: Running) -> None:
    number = running.rows[0]["individual_number"]
    result = running.ask("inquire", "--field", "individual-number", "--individual-number", "-", "--json", stdin=number)
    answer = json.loads(result.stdout)
    assert answer["outcome"] == "INQUIRY_OUTCOME_MATCH"
    assert answer["provided"] == {"record": {"individual_number": number}}
    assert set(answer) == {"request_id", "outcome", "provided", "held", "legal_basis", "freshness", "receipt"}


def test_who_asks_the_same_again_is_told_so_whether_somebody_is_found_or_nobody(running: Running) -> None:
    for person in (running.person(1), running.person(1, birth_date="1901-01-01")):
        first, again = (
            json.loads(running.ask("inquire", "--field", "address", "--subject", "-", "--json", stdin=person).stdout)
            for _ in range(2)
        )
        assert (first["outcome"], "repeated" in first, again["repeated"]) == (again["outcome"], False, True)


def test_nobody_found_is_an_answer_too(running: Running) -> None:
    nobody = running.person(birth_date="1901-01-01")
    result = running.ask("inquire", "--field", "name", "--subject", "-", stdin=nobody)
    assert result.exit_code == Exit.OK
    assert "no single match" in result.stdout


def test_identity_is_verified_with_yes_or_no(running: Running) -> None:
    yes = running.ask("verify-identity", "--subject", "-", stdin=running.person())
    no = running.ask("verify-identity", "--subject", "-", "--json", stdin=running.person(birth_date="1901-01-01"))
    assert yes.stdout.startswith("verified")
    assert json.loads(no.stdout)["verified"] is False
    assert (yes.exit_code, no.exit_code) == (Exit.OK, Exit.OK)
    number = running.ask("verify-identity", "--subject", "-", stdin='{"individual_number": "001234567890"}')
    assert number.exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("agency", "reason"),
    [("example-bank", "PRIVATE_SECTOR_BANNED"), ("national-tax-agency", "PURPOSE_NOT_GRANTED")],
)
def test_what_the_law_forbids_has_an_exit_code_of_its_own(running: Running, agency: str, reason: str) -> None:
    result = running.ask("inquire", "--field", "name", "--subject", "-", agency=agency, stdin=running.person())
    assert result.exit_code == Exit.FORBIDDEN
    assert result.stdout == ""
    assert result.stderr.startswith(f"{reason}: ")


def test_a_malformed_question_names_the_field(running: Running) -> None:
    result = running.ask("inquire", "--field", "name", "--subject", "-", "--request-id", "x", stdin=running.person())
    assert result.exit_code == Exit.USAGE
    assert "context.request_id" in result.stderr
    for odd in ((), ("--subject", "-", "--individual-number", "-")):
        assert running.ask("inquire", "--field", "name", *odd).exit_code == Exit.USAGE


def test_an_agency_that_the_mesh_does_not_know_is_wrong_usage(running: Running) -> None:
    for agency in ("", "nobody"):
        result = running.ask("inquire", "--field", "name", "--subject", "-", agency=agency, stdin=running.person())
        assert result.exit_code == Exit.USAGE


def test_the_ledger_is_fetched_and_verified_with_a_receipt(running: Running, tmp_path: Path) -> None:
    receipt, ledger = tmp_path / "receipt.json", tmp_path / "ledger.jsonl"
    assert running.ask("verify-identity", "--subject", "-", "--receipt", receipt, stdin=running.person()).exit_code == 0
    key = running.mesh.ledger_key("gateway-1")
    fetched = jukinet("ledger", "fetch", "--mesh", running.mesh.root, "--out", ledger)
    assert fetched.exit_code == Exit.OK, fetched.output
    assert sorted(os.listdir(tmp_path)) == [
        "ledger.jsonl",
        "receipt.json",
    ]
    verified = jukinet("ledger", "verify", ledger, "--key", key, "--receipt", receipt, "--json")
    assert verified.exit_code == Exit.OK, verified.output
    report = json.loads(verified.stdout)
    assert report["sound"]
    assert report["receipts"] == 1
    assert jukinet("ledger", "fetch", "--mesh", running.mesh.root, "--out", ledger).exit_code == Exit.USAGE
    lines = ledger.read_text(encoding="utf-8").splitlines(keepends=True)
    ledger.write_text("".join(lines[:-1]), encoding="utf-8")
    broken = jukinet("ledger", "verify", ledger, "--key", key)
    assert broken.exit_code == Exit.REFUSED
    assert "NOT SOUND" in broken.stdout
    assert jukinet("ledger", "verify", ledger, "--key", tmp_path / "none").exit_code == Exit.USAGE


def test_a_receipt_alone_is_tied_to_what_the_witnesses_cosigned(running: Running, tmp_path: Path) -> None:
    receipt, proof = tmp_path / "receipt.json", tmp_path / "proof.json"
    assert running.ask("verify-identity", "--subject", "-", "--receipt", receipt, stdin=running.person()).exit_code == 0
    running.ask("verify-identity", "--subject", "-", stdin=running.person())
    proved = jukinet("ledger", "prove", receipt, "--mesh", running.mesh.root, "--out", proof)
    assert proved.exit_code == Exit.OK, proved.output
    ledger_key = running.mesh.ledger_key("gateway-1")
    other = jukinet("ledger", "prove", ledger_key, "--mesh", running.mesh.root, "--out", tmp_path / "x")
    assert (other.exit_code, "not a receipt" in other.stderr) == (Exit.USAGE, True)
    keys = [
        part for name in running.mesh.witnesses for part in ("--witness", running.mesh.witness_key(name).read_text())
    ]
    key = ("--key", ledger_key)
    verified = jukinet("ledger", "verify-receipt", receipt, "--proof", proof, *key, *keys, "--json")
    assert verified.exit_code == Exit.OK, verified.output
    report = json.loads(verified.stdout)
    assert (report["sound"], report["receipts"]) == (True, 1)
    assert len(report["witnesses"]) >= 2


def test_status_shows_how_far_each_witness_is(running: Running) -> None:
    status = running.status("gateway-1")
    assert [each["identity"].rpartition("/")[2] for each in status["witnesses"]] == list(running.mesh.witnesses)
    assert {each["state"] for each in status["witnesses"]} == {"ANSWERS"}
    text = jukinet("mesh", "status", running.mesh.root).stdout
    for name in running.mesh.witnesses:
        assert f"nodes.jukinet/witness/{name}" in text


def test_a_mesh_that_does_not_run_is_told_node_by_node(tmp_path: Path) -> None:
    mesh = write_mesh(tmp_path / "mesh", Plan([CODE], ["gateway-1"]))
    result = jukinet("mesh", "status", mesh.root, "--json")
    assert result.exit_code == Exit.UNREACHABLE
    nodes = json.loads(result.stdout)["nodes"]
    assert [node["node"] for node in nodes] == list(mesh.names)
    assert not any(node["answers"] for node in nodes)
    assert jukinet("mesh", "status", mesh.root).stdout.count("no answer") == len(mesh.names)
    for arguments in (
        ("admin", "parked", "--mesh", mesh.root, "--node", "center"),
        ("admin", "status", "--mesh", mesh.root, "--node", "center"),
        ("ledger", "fetch", "--mesh", mesh.root, "--out", tmp_path / "ledger.jsonl"),
    ):
        assert jukinet(*arguments).exit_code == Exit.UNREACHABLE
    assert os.listdir(tmp_path) == ["mesh"]


async def test_a_killed_node_is_gone_and_starts_again(tmp_path: Path) -> None:
    mesh = write_mesh(tmp_path / "mesh", Plan([CODE], ["gateway-1"]))
    async with MeshProcesses(mesh) as processes:
        processes.start("center")
        with pytest.raises(ValueError, match="runs already"):
            processes.start("center")
        await processes.wait_healthy()
        processes.kill("center")
        assert processes.exit_code("center") == -signal.SIGKILL
        assert (await processes.watch()).name == "center"
        processes.start("center")
        await processes.wait_healthy(["center"])
        assert processes.is_running("center")
    assert processes.exit_code("center") == 0


async def test_a_node_that_refuses_to_start_is_named_with_its_own_words(tmp_path: Path) -> None:
    mesh = write_mesh(tmp_path / "mesh", Plan([CODE], ["gateway-1"]))
    (mesh.folder("center") / "agencies.toml").write_text("nonsense = 1\n")
    async with MeshProcesses(mesh) as processes:
        processes.start("center")
        with pytest.raises(NodeDied, match="center ended with exit code 5: The node does not run: unknown key"):
            await processes.wait_healthy()


@pytest.mark.parametrize("node", ["center", "gateway-1"])
async def test_no_node_starts_with_a_directory_that_calls_a_private_organisation_public(
    tmp_path: Path, node: str
) -> None:
    mesh = write_mesh(tmp_path / "mesh", Plan([CODE], ["gateway-1"]))
    directory = mesh.folder(node) / "agencies.toml"
    text = directory.read_text("utf-8")
    flipped = text.replace('kind = "private"\nbodies = []', 'kind = "public"\nbodies = ["japan-pension-service"]')
    assert flipped != text
    directory.write_text(flipped, "utf-8")
    async with MeshProcesses(mesh) as processes:
        processes.start(node)
        with pytest.raises(NodeDied, match=r"exit code 5.*the kind public contradicts spiffe.*private/example-bank"):
            await processes.wait_healthy([node])


async def test_a_node_that_takes_too_long_is_named(tmp_path: Path) -> None:
    mesh = write_mesh(tmp_path / "mesh", Plan([CODE], ["gateway-1"]))
    async with MeshProcesses(mesh) as processes:
        processes.start("center")
        with pytest.raises(NotHealthy, match=r"not healthy after 0\.01 s: center"):
            await processes.wait_healthy(seconds=0.01)


class Up:
    """`jukinet mesh up` as a process of its own, whose nodes are healthy."""

    def __init__(self, folder: Path) -> None:
        self.mesh = write_mesh(folder / "mesh", Plan([CODE], ["gateway-1"]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jukinet.cli", "mesh", "up", str(self.mesh.root)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.pids = {}
        for _ in self.mesh.names:
            name, address, pid = self.process.stdout.readline().rstrip("\n").split("\t")
            assert address == self.mesh.address(name)
            self.pids[name] = int(pid.removeprefix("pid "))
        self._handles = [os.pidfd_open(pid) for pid in self.pids.values()]

    def ended(self) -> tuple[int, str]:
        """Waits for the end of the command: its exit code and what it wrote to standard error."""
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def all_nodes_end(self, seconds: float) -> bool:
        """Waits for the end of every node."""
        ended = [bool(select.select([handle], [], [], seconds)[0]) for handle in self._handles]
        for handle in self._handles:
            os.close(handle)
        return all(ended)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    mesh = Up(tmp_path)
    yield mesh
    mesh.process.kill()
    mesh.process.communicate()


def test_sigterm_drains_every_node_and_ends_with_zero(up: Up) -> None:
    up.process.terminate()
    assert up.ended() == (Exit.OK, "draining\n")
    assert up.all_nodes_end(0)


@pytest.mark.slow
def test_no_node_outlives_a_killed_parent(up: Up) -> None:
    up.process.kill()
    assert up.all_nodes_end(30)


@pytest.mark.slow
def test_a_node_that_dies_ends_the_command_with_a_failure(up: Up) -> None:
    os.kill(up.pids["center"], signal.SIGKILL)
    code, errors = up.ended()
    assert code == Exit.REFUSED
    assert "center ended with exit code -9" in errors
    assert up.all_nodes_end(0)


def test_a_mesh_that_cannot_start_says_which_node_and_why(tmp_path: Path) -> None:
    mesh = write_mesh(tmp_path / "mesh", Plan([CODE], ["gateway-1"]))
    mesh.config_path("gateway-1").write_text("role = 'gateway'\n")
    result = jukinet("mesh", "up", mesh.root)
    assert result.exit_code == Exit.CONFIGURATION
    assert "ticket_key is missing" in result.stderr
