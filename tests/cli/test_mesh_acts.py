"""What agencies and operators do by the command line against a mesh of real processes: batches, lists, keys, law."""

import json
from datetime import timedelta
from pathlib import Path

from jukinet.cli.layout import OPERATOR, SECOND_OPERATOR
from jukinet.cli.output import Exit
from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.identity import Identity
from tests.cli.running import CODE, Running
from tests.commands import jukinet
from tests.purpose.drafts import draft, draft_text

AFFAIR = ("--agency", "pension-service", "--purpose", "B1-77.12", "--case", "case-1", "--operator", "op-7")


def test_many_are_asked_and_put_on_a_list_that_ends_with_its_case(running: Running, tmp_path: Path) -> None:
    people, answers, changes = (tmp_path / name for name in ("people.jsonl", "answers.jsonl", "changes.jsonl"))
    wrong = running.person(2, birth_date="yesterday")
    people.write_text("\n".join((running.person(0), wrong, running.person(1))) + "\n", "utf-8")
    asked = ("inquire-batch", people, "--out", answers, "--field", "name", "--for-watch", "--mesh", running.mesh.root)
    done = jukinet(*asked, *AFFAIR, "--json")
    assert done.exit_code == Exit.REFUSED, done.output
    assert json.loads(done.stdout) == {"answered": 3, "matches": 2, "unchanged": 0, "faulty": 1}
    again = jukinet(*asked, *AFFAIR)
    assert (again.exit_code, "3 records are answered" in again.stdout) == (Exit.REFUSED, True)

    where = ("--mesh", running.mesh.root, *AFFAIR)
    expires = ("--expires", (today_in_japan() + timedelta(days=30)).isoformat())
    begun = jukinet("watch", "begin", answers, *expires, "--field", "address", *where, "--json")
    assert begun.exit_code == Exit.OK, begun.output
    listed = json.loads(begun.stdout)
    assert len(set(listed["numbers"])) == 2
    of_list = ("--list", listed["list_id"])
    same = jukinet("watch", "begin", answers, *expires, "--field", "address", *of_list, *where)
    assert " ".join(map(str, listed["numbers"])) in same.stdout
    taken = jukinet("watch", "changes", *of_list, "--out", changes, *where, "--json")
    nothing = json.loads(taken.stdout)
    assert (nothing["changes"], nothing["complete_as_of"][:2]) == (0, "20"), "the network's municipality was heard of"
    assert jukinet("watch", "end", *of_list, *where).exit_code == Exit.OK
    gone = jukinet("watch", "changes", *of_list, "--out", changes, *where)
    assert gone.exit_code == Exit.USAGE
    assert gone.stderr.startswith("WATCH_UNKNOWN")


def test_a_batch_is_ordered_by_one_run_by_another_and_checked_offline(running: Running, tmp_path: Path) -> None:
    people, job, result = (tmp_path / name for name in ("people.jsonl", "job", "result"))
    count = 70
    people.write_text("".join(f"{running.person(number % 20)}\n" for number in range(count)), "utf-8")
    mesh = ("--mesh", running.mesh.root)
    done = jukinet("batch-job", "sign", people, "--out", job, "--field", "name", *mesh, *AFFAIR)
    assert (done.exit_code, done.stdout) == (Exit.OK, f"{count} persons are in {job}, signed\n")
    asked = ("batch-job", "run", job, "--out", result, *mesh, "--operator", "op-8")
    done = jukinet(*asked, "--json")
    assert done.exit_code == Exit.OK, done.output
    assert json.loads(done.stdout) == {"answered": count, "matches": count, "unchanged": 0, "refused": 0}
    again = jukinet(*asked)
    assert again.stdout == f"{count} persons are answered, 0 of them refused; now 0 matches, 0 of them unchanged\n"
    entries = result.read_bytes()

    key = running.mesh.operator_key(Identity("agency", "pension-service"), "op-7")
    keys = ("--ordered-by", key.with_suffix(".pub"), "--ledger-key", running.mesh.ledger_key("gateway-1"))
    checked = jukinet("batch-job", "verify", job, result, *keys, "--freshness-key", running.mesh.freshness_key)
    assert (checked.exit_code, checked.stdout.splitlines()[-1]) == (Exit.OK, "SOUND AND COMPLETE")
    foreign = running.mesh.folder("center") / "seals" / f"{CODE}.pub"
    checked = jukinet("batch-job", "verify", job, result, *keys, "--freshness-key", foreign)
    assert (checked.exit_code, "of how fresh it is" in checked.stdout) == (Exit.REFUSED, True)
    result.write_bytes(entries.replace(b"OUTCOME_MATCH", b"OUTCOME_NOT_PROVIDED", 1))
    checked = jukinet("batch-job", "verify", job, result, *keys, "--json")
    assert (checked.exit_code, json.loads(checked.stdout)["answered"]) == (Exit.REFUSED, 0)

    lines = job.read_bytes().splitlines(keepends=True)
    job.write_bytes(b"".join(lines[:-1]))
    broken = jukinet(*asked)
    assert (broken.exit_code, "not those of the order" in broken.stderr) == (Exit.REFUSED, True)
    job.write_bytes(b"".join([lines[0].replace(b"case-1", b"case-2"), *lines[1:]]))
    forged = jukinet(*asked)
    assert (forged.exit_code, "not signed" in forged.stderr) == (Exit.REFUSED, True)
    assert jukinet(*asked[:3], tmp_path / "absent", *asked[3:]).exit_code == Exit.USAGE


def test_an_operator_has_a_key_of_his_own_and_signs_for_any_client(running: Running, tmp_path: Path) -> None:
    made = jukinet("operator", "key", tmp_path, "op-9")
    assert made.stdout.startswith('"op-9" = "')
    assert jukinet("operator", "key", tmp_path, "op-9").exit_code == Exit.REFUSED
    context = {"request_id": "5f7d1c1e-0000-4000-8000-000000000077", "purpose": "B1-77.12", "case_reference": "case-1"}
    question = {
        "context": {**context, "operator": "op-7"},
        "subject": {"individual_number": running.rows[0]["individual_number"]},
        "fields": ["IDENTITY_FIELD_NAME"],
    }
    where = ("--mesh", running.mesh.root, "--agency", "pension-service")
    signed = jukinet("operator", "sign", "-", *where, stdin=json.dumps(question))
    assert signed.exit_code == Exit.OK, signed.output
    assert json.loads(signed.stdout)["context"]["operator_proof"]["signature"]
    twice = f'{json.dumps(question)[:-1]}, "fields": ["IDENTITY_FIELD_SEX"]}}'
    for odd in ("{", '{"subject": 1}', "[]", twice):
        assert jukinet("operator", "sign", "-", *where, stdin=odd).exit_code == Exit.USAGE
    assert jukinet("operator", "sign", "-", stdin=json.dumps(question)).exit_code == Exit.USAGE
    recalls = jukinet("operator", "sign", "-", *where, stdin=json.dumps({"context": question["context"]}))
    assert json.loads(recalls.stdout).keys() == {"context"}
    assert "operator_proof" in json.loads(recalls.stdout)["context"]


def test_who_is_not_frozen_is_not_listed_and_not_released(running: Running) -> None:
    where = ("--mesh", running.mesh.root, "--node", "gateway-1")
    assert json.loads(jukinet("admin", "frozen", *where, "--json").stdout) == {"frozen": []}
    assert jukinet("admin", "frozen", *where).exit_code == Exit.OK
    refused = jukinet("admin", "release-operator", "pension-service", "op-7", *where)
    assert (refused.exit_code, refused.stderr.partition(":")[0]) == (Exit.REFUSED, "OPERATOR_NOT_FROZEN")
    assert jukinet("admin", "release-operator", "a/b", "op-7", *where).exit_code == Exit.USAGE
    center = ("--mesh", running.mesh.root, "--node", "center")
    assert json.loads(jukinet("admin", "frozen", *center, "--json").stdout) == {"frozen": []}
    refused = jukinet("admin", "forget-frozen", "gateway-1", "--mesh", running.mesh.root)
    assert (refused.exit_code, refused.stderr.partition(":")[0]) == (Exit.REFUSED, "OPERATOR_NOT_FROZEN")
    assert jukinet("admin", "forget-frozen", "a/b", "--mesh", running.mesh.root).exit_code == Exit.USAGE
    assert jukinet("admin", "release-operator", "pension-service", "op-7", *center).exit_code == Exit.REFUSED
    assert not json.loads(jukinet("admin", "status", *where, "--json").stdout)["freezes_undeclared"]


def test_what_was_asked_is_opened_by_two_operators_until_its_key_is_destroyed(running: Running, tmp_path: Path) -> None:
    asked = running.ask("inquire", "--field", "name", "--subject", "-", "--json", stdin=running.person(3))
    index = json.loads(asked.stdout)["receipt"].get("index", "0")
    mesh, code = ("--mesh", running.mesh.root), tmp_path / "code"
    code.write_text(running.rows[3]["resident_code"], "utf-8")
    proposed, opened = (
        json.loads(jukinet("ledger", "open-body", index, *mesh, "--as", operator).stdout)
        for operator in (OPERATOR, SECOND_OPERATOR)
    )
    assert (proposed["step"], opened["step"]) == ("proposed", "carried out")
    assert opened["body"]["subject"]["four_items"]["name"] == running.rows[3]["name"]
    assert jukinet("admin", "destroy-key", *mesh).exit_code == Exit.USAGE
    for operator, step in ((OPERATOR, "proposed"), (SECOND_OPERATOR, "carried out")):
        done = jukinet("admin", "destroy-key", "--resident", code, *mesh, "--as", operator, "--json")
        assert json.loads(done.stdout)["step"] == step
    gone = jukinet("ledger", "open-body", index, *mesh)
    assert (gone.exit_code, gone.stderr.partition(":")[0]) == (Exit.REFUSED, "BODY_KEY_DESTROYED")


def test_a_law_of_next_year_is_proposed_and_approved_by_two_operators(running: Running, tmp_path: Path) -> None:
    first_day = today_in_japan().replace(month=1, day=1) + timedelta(days=366 + 31)
    name, file = f"{first_day:%Y-%m}", tmp_path / "draft.toml"
    file.write_bytes(draft_text(name, first_day, rows={"B1-80": None}))
    digest = draft(name, first_day, rows={"B1-80": None}).digest.hex()
    where = ("--mesh", running.mesh.root, "--to", "center", "--to", "gateway-1")
    proposed = jukinet("statutes", "propose", file, *where)
    assert proposed.exit_code == Exit.OK, proposed.output
    alone = jukinet("statutes", "approve", digest, *where)
    assert (alone.exit_code, alone.stderr.count("SECOND_OPERATOR_NEEDED")) == (Exit.FORBIDDEN, 2)
    assert jukinet("statutes", "approve", digest, *where, "--as", SECOND_OPERATOR).exit_code == Exit.OK
    listed = json.loads(jukinet("statutes", "editions", *where, "--json").stdout)["editions"]
    found = [(row["node"], row["state"], row["in_force"]) for row in listed if row["edition"] == name]
    assert found == [("center", "approved", False), ("gateway-1", "approved", False)]
    assert jukinet("statutes", "editions", *where, "--as", "a/b").exit_code == Exit.USAGE
