"""The same decisions asked of another build of the engine, under another run-time: none differs."""

import json
import subprocess
from datetime import date, timedelta
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.purpose.agencies import SPIFFE_PREFIX, Agency, AgencyKind
from jukinet.purpose.decision import PurposePolicy, Question
from jukinet.purpose.entities import entities_of, request_of
from tests.npm import installed
from tests.purpose.test_decision_oracle import BODIES, BOTH, EDITIONS, ITEMS, KEYS, LAWS, question

ENGINE = Path(__file__).parent / "another_engine"
QUESTIONS = 10_000
SECONDS = 300


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pinned engine, installed by its lock."""
    return installed(ENGINE, tmp_path_factory.mktemp("engine"))


def askers() -> list[Agency]:
    """Agencies of every kind: of one body or several, granted much or little, in force or not, private."""
    random = Random(30)
    made = []
    for number in range(80):
        bodies = random.sample(BODIES, random.choice((1, 1, 2, 10)))
        own = [key for law in LAWS for key, row in law.rows.items() if set(row["bodies"].split()) & set(bodies)]
        rows = {*own, *random.sample(KEYS, 20)} if number % 4 else set(random.sample(KEYS, 5))
        kind: AgencyKind = "private" if number % 9 == 0 else "public"
        name = f"a{number}"
        start = BOTH[1] if number % 7 == 0 else date.min
        made.append(Agency(name, SPIFFE_PREFIX + name, name, name, kind, frozenset(bodies), frozenset(rows), start))
    return made


ASKERS = askers()
PUBLIC = [asker for asker in ASKERS if asker.kind == "public"]
POLICY = PurposePolicy(EDITIONS, {asker.spiffe_id: asker for asker in ASKERS})


def question_of(seed: int) -> Question:
    """A question drawn by a seed: half of them lawful but for what the row itself says, the others anything."""
    random = Random(seed)
    asker = random.choice(ASKERS)
    day = random.choice((*BOTH, date(2018, 1, 1) + timedelta(days=random.randrange(5000))))
    purpose = random.choice((random.choice(sorted(asker.rows)), random.choice(KEYS), random.choice(ITEMS)))
    method, fields = random.randrange(4), random.sample(range(9), random.randrange(5))
    if random.random() < 0.5:
        asker = random.choice(PUBLIC)
        purpose = random.choice(sorted(asker.rows))
        method, fields = 1, random.sample((1, 2, 3, 4, 7), random.randrange(5))
    provision = random.choice(("immediate", "immediate", "batch", "changes"))
    return question(purpose, method, fields, day, provision, asker.id)


def as_sent() -> dict[tuple[str, str], dict[str, Any]]:
    """All entities by edition and id."""
    return {
        (table.edition, entity["uid"]["id"]): entity  # type: ignore[index]  # a uid is a mapping
        for table in EDITIONS
        for entity in entities_of(table, ASKERS)
    }


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
def test_ten_thousand_questions_come_out_the_same_in_another_engine(engine: Path) -> None:
    asked: list[Question] = []

    @given(st.integers(0, 2**64))
    @settings(max_examples=QUESTIONS, database=None)
    def collect(seed: int) -> None:
        asked.append(question_of(seed))

    collect()
    entities, sent = as_sent(), []
    for each in asked:
        table = EDITIONS.on(each.day)
        request = request_of(each, table.find(each.purpose))
        edition = table.edition or EDITIONS.on(BOTH[0]).edition
        resource: Any = request["resource"]
        if not table.edition:
            resource["id"] = "no such row"
        sent.append(
            {"request": request, "entities": [entities[edition, each.agency], entities[edition, resource["id"]]]}
        )
    policies = resources.files("jukinet.purpose").joinpath("policies.cedar").read_text("utf-8")
    done = subprocess.run(
        ["node", "decide.cjs"],
        input=json.dumps({"policies": policies, "questions": sent}),
        cwd=engine,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    theirs = [(answer["decision"] == "allow", answer["errors"]) for answer in json.loads(done.stdout)]
    ours = [(POLICY.decide(each).allowed, 0) for each in asked]
    assert len(ours) >= QUESTIONS
    assert [case for case in zip(asked, ours, theirs, strict=True) if case[1] != case[2]] == []
    assert 0.05 < sum(allowed for allowed, _ in ours) / len(ours) < 0.95
