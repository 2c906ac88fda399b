"""The set-up starts from what its publisher published, and installs nothing else."""

import re
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_that_the_setup_starts_from_is_the_locked_one() -> None:
    [wheel] = (ROOT / "third_party/pip").glob("*.whl")
    version = wheel.name.split("-")[1]
    pin = re.search(
        rf"^pip=={re.escape(version)}((?: \\\n +--hash=sha256:[0-9a-f]+)+)$",
        (ROOT / "requirements.lock").read_text("utf-8"),
        re.MULTILINE,
    )
    assert pin, f"the lock holds another version of pip than {version}"
    assert sha256(wheel.read_bytes()).hexdigest() in pin[1]


def test_every_package_is_pinned_and_hashed_and_nothing_is_installed_without_its_hash() -> None:
    requirements = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text("utf-8").rstrip())
    pins = [each for each in requirements if not each.lstrip().startswith("#")]
    assert len(pins) > 50
    for pin in pins:
        assert re.fullmatch(
            r"[\w.-]+(\[[\w,-]+\])?==\S+( ; [^\n\\]+)?( \\\n +--hash=sha256:[0-9a-f]{64})+(\n +#.*)*", pin
        ), pin
    commands = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ").splitlines()
    installing = [each for each in commands if " install " in each and "-r " in each]
    assert installing
    assert all(
        len(re.findall(r" install .*?--require-hashes", part)) == 1 for each in installing for part in each.split("||")
    )
