"""Programs of tests that are written in JavaScript, with the packages that their lock pins."""

import shutil
import subprocess
from pathlib import Path

import pytest

_SECONDS = 300


def installed(program: Path, folder: Path) -> Path:
    """Copies a program into a new folder and installs its packages there; skips the test where that cannot be done.

    Args:
        program: folder with the sources, `package.json` and `package-lock.json`.
        folder: empty; gets all of it.

    Returns: `folder`.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not on this machine")
    for file in program.iterdir():
        shutil.copy(file, folder)
    done = subprocess.run([npm, "ci"], cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm ci ended with {done.returncode}: the packages of the lock need a registry that answers")
    return folder
