"""What each kind of node of a development mesh has in its configuration of its own: names of files in its folder."""

from collections.abc import Mapping
from typing import Any, Final

DATABASES: Final = {"gateway": "ledger.db", "witness": "witness.db", "disclosure": "disclosure.db"}
"""File of a node's database by its kind, where it is not `register.db`."""

SECTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "municipality": {"sealing": {"key": "seal.key"}},
    "prefecture": {"sealing": {"public_keys": "seals"}},
    "center": {
        "sealing": {"public_keys": "seals"},
        "center": {
            "gateway_keys": "gateways",
            "freshness_key": "freshness.key",
            "token_key": "token.key",
            "agencies": "agencies.toml",
            "body_keys": "body-keys.db",
        },
    },
    "gateway": {
        "gateway": {
            "ticket_key": "ticket.key",
            "ledger_key": "ledger.key",
            "agencies": "agencies.toml",
            "token_key": "token.key",
            "witnesses": "witnesses.toml",
        }
    },
    "witness": {"witness": {"key": "cosign.key", "ledgers": "ledgers"}},
    "disclosure": {
        "disclosure": {
            "token_key": "token.key",
            "log_key": "log.key",
            "ledgers": "ledgers.toml",
            "counters": "counters",
            "agencies": "agencies.toml",
        }
    },
}
