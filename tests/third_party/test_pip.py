"""The set-up starts from what its publisher published."""

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
