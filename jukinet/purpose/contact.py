"""Whom operators of the network call at an agency (連絡先): an office, never a person.

Rule: a contact decides nothing. It stands in the agency directory, is shown to operators where an agency has to explain
itself, and is in no log and no ledger: that it is an office's no program can tell from its text, and logs go further
than the directory.
"""

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

Contact = Mapping[str, str]
"""Texts by `KEYS`; what is not known is not in it."""

KEYS: Final = ("office", "email", "phone")
_PATTERNS: Final = {
    "office": re.compile(r"[^\x00-\x1f\x7f]{1,200}"),
    "email": re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}([.][A-Za-z0-9-]{1,63}){1,8}"),
    "phone": re.compile(r"[+]?[0-9][0-9 -]{2,30}"),
}


def read_contact(entry: object) -> Contact:
    """Reads the `contact` table of one agency.

    Raises:
        ValueError: it is no table, has an unknown key, or a text is not what its key says.
    """
    if not isinstance(entry, dict):
        raise ValueError("must be a table of office, email and phone")
    if unknown := entry.keys() - set(KEYS):
        raise ValueError(f"unknown key {', '.join(sorted(unknown))}")
    for key, text in entry.items():
        if not isinstance(text, str) or not _PATTERNS[key].fullmatch(text):
            raise ValueError(f"{key} is malformed")
    return MappingProxyType({key: entry[key] for key in KEYS if key in entry})


def format_contact(contact: Contact) -> list[str]:
    """Its lines in the directory, in TOML: `read_contact` reads back the same."""
    return [f"{key} = {json.dumps(contact[key], ensure_ascii=False)}" for key in KEYS if key in contact]
