"""A mesh of real processes with one municipality, and the command line against it, in the test's own process."""

import csv
import json
from pathlib import Path
from typing import Any

from typer.testing import Result

from jukinet.cli.layout import Mesh
from tests.commands import jukinet

CODE = "131016"
CS = f"municipality-{CODE}"
RESIDENTS = 20


def residents(folder: Path) -> Path:
    assert jukinet("nation", "residents", folder, "--municipality", CODE, "--count", str(RESIDENTS)).exit_code == 0
    return folder / f"{CODE}.csv"


class Running:
    """A mesh whose nodes run, and a municipality's change file that it has taken."""

    def __init__(self, mesh: Mesh, file: Path) -> None:
        self.mesh = mesh
        self.file = file
        self.submitted = jukinet("submit", file, "--mesh", mesh.root, "--municipality", CODE, "--json", "--trace")
        while self.status("center")["residents"] != {"ACTIVE": RESIDENTS}:
            pass
        with file.open(encoding="utf-8") as lines:
            self.rows = list(csv.DictReader(lines))

    def status(self, node: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            jukinet("admin", "status", "--mesh", self.mesh.root, "--node", node, "--json").stdout
        )
        return found

    def ask(self, command: str, *more: str | Path, agency: str = "pension-service", stdin: str | None = None) -> Result:
        question = ("--purpose", "B1-77", "--case", "case-1", "--operator", "op-7")
        return jukinet(command, "--mesh", self.mesh.root, "--agency", agency, *question, *more, stdin=stdin)

    def person(self, number: int = 0, **changes: str) -> str:
        columns = ("name", "birth_date", "sex", "local_government_code", "town", "block", "building")
        return json.dumps({name: self.rows[number][name] for name in columns} | changes, ensure_ascii=False)
