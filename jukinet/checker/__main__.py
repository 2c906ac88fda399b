"""`python -m jukinet.checker FILE`: judges a history log; exit status 1 when it breaks a promise, 2 when it is none."""

import json
import sys
from pathlib import Path

from jukinet.checker.judge import judge


def main(arguments: list[str]) -> int:
    """Judges the log that is named and says every violation, one a line."""
    if len(arguments) != 1:
        print("usage: python -m jukinet.checker FILE", file=sys.stderr)
        return 2
    try:
        with Path(arguments[0]).open(encoding="utf-8") as lines:
            found = judge(json.loads(line) for line in lines if line.strip())
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{arguments[0]} is no history log: {type(error).__name__} {error}", file=sys.stderr)
        return 2
    for violation in found:
        print(violation)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
