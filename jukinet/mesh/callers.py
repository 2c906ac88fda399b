"""Who may call which RPC: the table of `callers.toml`, default deny.

Rule: an RPC without a line has no callers, and a server with an RPC without a line does not start. So nobody gains a
right because someone forgot to think about it.

Source: Basic Resident Registration Act art. 30-25 (the list of receivers is closed), 30-38 (private use is forbidden).
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, Literal, get_args

from jukinet.mesh.identity import KINDS, Identity, Kind

Relation = Literal["any", "own", "child"]
_EVERYBODY: Final = "*"


class CallersError(ValueError):
    """The table of callers does not hold. Correct `callers.toml`; every RPC of the server needs a line."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of caller and how it must stand to the node that it calls."""

    kind: Kind
    relation: Relation = "any"

    def covers(self, caller: Identity, node: Identity) -> bool:
        """Tells whether the rule lets this caller call this node."""
        if caller.kind != self.kind:
            return False
        match self.relation:
            case "any":
                return True
            case "own":
                return node.kind == "municipality" and caller.name == node.name
            case "child":
                return _is_child(caller, node)


@dataclass(frozen=True, slots=True)
class Callers:
    """The table: rules of each RPC, by its full path `/package.Service/Method`."""

    rules: Mapping[str, tuple[Rule, ...]]
    without_deadline: frozenset[str]

    def allows(self, rpc: str, caller: Identity, node: Identity) -> bool:
        """Tells whether a caller may call an RPC of a node. Unknown RPCs may be called by nobody.

        Args:
            rpc: full path.
            caller: from its certificate.
            node: the identity of this node.
        """
        return any(rule.covers(caller, node) for rule in self.rules.get(rpc, ()))

    def require_lines(self, rpcs: Iterable[str]) -> None:
        """Makes sure that every RPC of a server has a line.

        Raises:
            CallersError: names those that have none.
        """
        missing = sorted(set(rpcs) - set(self.rules))
        if missing:
            raise CallersError(f"No line in callers.toml for {', '.join(missing)}. Say there who may call it.")


def parse_callers(text: str) -> Callers:
    """Reads a table of callers.

    Args:
        text: TOML with `[callers]` and `[without_deadline]`.

    Raises:
        CallersError: a line names no kind or relation that exists, or a deadline exemption has no line.
    """
    table = tomllib.loads(text)
    if set(table) - {"callers", "without_deadline"}:
        raise CallersError("callers.toml has the tables [callers] and [without_deadline] and no other.")
    rules = {
        rpc: tuple(rule for entry in entries for rule in _rules(entry)) for rpc, entries in table["callers"].items()
    }
    exempt = frozenset(table.get("without_deadline", {}).get("rpcs", ()))
    if exempt - set(rules):
        raise CallersError(f"[without_deadline] names {', '.join(sorted(exempt - set(rules)))}, which has no callers.")
    return Callers(rules, exempt)


@cache
def network_callers() -> Callers:
    """Gives the table of the network."""
    return parse_callers(resources.files(__package__).joinpath("callers.toml").read_text(encoding="utf-8"))


def _rules(entry: str) -> list[Rule]:
    if entry == _EVERYBODY:
        return [Rule(kind) for kind in KINDS]
    name, colon, relation = entry.partition(":")
    for kind in KINDS:
        for known in get_args(Relation):
            if kind == name and known == (relation if colon else "any"):
                return [Rule(kind, known)]
    raise CallersError(f"{entry!r} is no caller. Write KIND, KIND:own or KIND:child with a kind of {', '.join(KINDS)}.")


def _is_child(caller: Identity, node: Identity) -> bool:
    if node.kind == "prefecture":
        # The first two digits of a municipality's code are its prefecture (JIS X 0401).
        return caller.kind == "municipality" and caller.name[:2] == node.name[:2]
    return node.kind == "center" and caller.kind == "prefecture"
