"""The ledgers that the disclosure node mirrors: whose they are, by which key they sign, and who has to cosign.

quorum = 2
witnesses = ["jukinet/witness-1+1a2b3c4d+BH…", "…", "…"]

[[ledger]]
gateway = "gateway-1"
address = "gateway.example:7443"
key = "jukinet/gateway-1+5e6f7a8b+AX…"
"""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.notes import Key, read_key
from jukinet.ledger.verify.quorum import quorum_of, read_witnesses
from jukinet.mesh.config import ConfigError
from jukinet.mesh.identity import Identity, IdentityError

_KEYS = {"gateway", "address", "key"}


class ListedLedger(NamedTuple):
    """One ledger: identity of its gateway, host:port, and the key by which it signs, whose name is its origin."""

    gateway: Identity
    address: str
    key: Key


class LedgerList(NamedTuple):
    """The ledgers, the witnesses of all of them, and how many have to cosign a checkpoint."""

    quorum: int
    witnesses: tuple[Key, ...]
    ledgers: tuple[ListedLedger, ...]


def load_ledgers(path: Path) -> LedgerList:
    """Reads and checks the list.

    Args:
        path: TOML file.
    Raises:
        ConfigError: names what is wrong.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {type(error).__name__}. The list of ledgers is a TOML file.") from None
    entries, witnesses, quorum = (table.get(name) for name in ("ledger", "witnesses", "quorum"))
    if set(table) != {"quorum", "witnesses", "ledger"} or not isinstance(entries, list) or not _are_texts(witnesses):
        raise ConfigError(f"{path}: the list has `quorum`, the texts `witnesses` and one or more [[ledger]]")
    try:
        keys = tuple(read_witnesses(list(witnesses or ())))
        if type(quorum) is not int or not keys or 2 * quorum_of(len(keys), quorum) <= len(keys):
            raise ConfigError(f"{path}: quorum is a number of witnesses, and more than half of them")
        ledgers = tuple(_listed(path, number, entry) for number, entry in enumerate(entries, start=1))
    except (Unsound, IdentityError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not ledgers or len({each.key.name for each in ledgers}) < len(ledgers):
        raise ConfigError(f"{path}: no ledger stands there, or one of them twice")
    return LedgerList(quorum, keys, ledgers)


def format_ledgers(quorum: int, witnesses: Sequence[str], ledgers: Sequence[tuple[str, str, str]]) -> str:
    """Writes a list as `load_ledgers` reads it; a ledger is gateway, address and key."""
    lines = [f"quorum = {quorum}", f"witnesses = {json.dumps(list(witnesses))}"]
    for gateway, address, key in ledgers:
        lines += ["", "[[ledger]]", f"gateway = {json.dumps(gateway)}", f"address = {json.dumps(address)}"]
        lines.append(f"key = {json.dumps(key)}")
    return "\n".join(lines) + "\n"


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _listed(path: Path, number: int, entry: Any) -> ListedLedger:
    if not isinstance(entry, dict) or set(entry) != _KEYS or not all(isinstance(each, str) for each in entry.values()):
        raise ConfigError(f"{path}: ledger {number} has the texts gateway, address and key, and nothing else")
    if not entry["address"].rpartition(":")[2].isdecimal():
        raise ConfigError(f"{path}: the address of ledger {number} is not of the form host:port")
    return ListedLedger(Identity("gateway", entry["gateway"]), entry["address"], read_key(entry["key"]))
