"""The witnesses (立会人) of a gateway's ledger: who and where they are, by which key they cosign, how many have to.

Rule: a quorum is more than half of them. Two quorums then have a witness in common, who never cosigns two trees that do
not fit; with half or less the ledger could be one thing to these and another to those.

    quorum = 2

    [[witness]]
    name = "witness-1"
    address = "witness.example:7443"
    key = "jukinet/witness-1+1a2b3c4d+BH…"
"""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jukinet.ledger.cosignature import WitnessKey
from jukinet.ledger.errors import NoteInvalid
from jukinet.mesh.config import ConfigError
from jukinet.mesh.identity import Identity, IdentityError

_KEYS = {"name", "address", "key"}


class ListedWitness(NamedTuple):
    """One witness as the list names it: identity of its certificate, host:port, and key of its cosignatures."""

    identity: Identity
    address: str
    key: WitnessKey


class WitnessList(NamedTuple):
    """The witnesses, and how many of them have to cosign a checkpoint."""

    quorum: int
    witnesses: tuple[ListedWitness, ...]


def load_witnesses(path: Path) -> WitnessList:
    """Reads and checks the list.

    Args:
        path: TOML file.
    Raises:
        ConfigError: names what is wrong.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {type(error).__name__}. The list of witnesses is a TOML file.") from None
    entries = table.get("witness")
    if set(table) != {"quorum", "witness"} or not isinstance(entries, list):
        raise ConfigError(f"{path}: the list of witnesses has `quorum` and one or more [[witness]], and nothing else")
    witnesses = tuple(_listed(path, number, entry) for number, entry in enumerate(entries, start=1))
    for what in ({each.identity for each in witnesses}, {each.key.public_key.public_bytes_raw() for each in witnesses}):
        if len(what) < len(witnesses):
            raise ConfigError(f"{path}: two witnesses have the same name or key; each has its own")
    quorum = table["quorum"]
    if type(quorum) is not int or not len(witnesses) < 2 * quorum <= 2 * len(witnesses):
        raise ConfigError(f"{path}: quorum is a number of witnesses, and more than half of the {len(witnesses)}")
    return WitnessList(quorum, witnesses)


def format_witnesses(quorum: int, witnesses: Sequence[ListedWitness]) -> str:
    """Writes a list as `load_witnesses` reads it."""
    lines = [f"quorum = {quorum}"]
    for each in witnesses:
        lines += ["", "[[witness]]", f"name = {json.dumps(each.identity.name)}"]
        lines += [f"address = {json.dumps(each.address)}", f"key = {json.dumps(str(each.key))}"]
    return "\n".join(lines) + "\n"


def _listed(path: Path, number: int, entry: Any) -> ListedWitness:
    if not isinstance(entry, dict) or set(entry) != _KEYS or not all(isinstance(each, str) for each in entry.values()):
        raise ConfigError(f"{path}: witness {number} has the texts name, address and key, and nothing else")
    if not entry["address"].rpartition(":")[2].isdecimal():
        raise ConfigError(f"{path}: the address of witness {number} is not of the form host:port")
    try:
        return ListedWitness(Identity("witness", entry["name"]), entry["address"], WitnessKey.parse(entry["key"]))
    except (IdentityError, NoteInvalid) as error:
        raise ConfigError(f"{path}: witness {number}: {error}") from None
