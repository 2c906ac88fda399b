"""What follows at an agency where a detector found something in its operators' questions (検知への対応).

Rule: an agency for which the directory says nothing has the default. Only misses freeze by default: whoever guesses
did that himself, and what the other detectors find may have a reason that only his agency knows.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

Reaction = Literal["freeze", "alarm"]

DEFAULTS: Final[Mapping[str, Reaction]] = MappingProxyType(
    {"on_misses": "freeze", "on_crowd": "alarm", "on_case": "alarm", "on_outside": "alarm"}
)
"""Keys of the agency directory, one for each detector of `agency_gateway/detectors.py`."""

_REACTIONS: Final[Mapping[object, Reaction]] = MappingProxyType({"freeze": "freeze", "alarm": "alarm"})


def read_reactions(entry: Mapping[str, object]) -> dict[str, Reaction]:
    """Reads the reactions of one agency's table; other keys are not looked at.

    Raises:
        ValueError: one of them is neither freeze nor alarm.
    """
    return {key: _read(key, entry.get(key, default)) for key, default in DEFAULTS.items()}


def _read(key: str, value: object) -> Reaction:
    if not isinstance(value, str) or value not in _REACTIONS:
        raise ValueError(f"{key} must be freeze or alarm")
    return _REACTIONS[value]
