"""Agencies that ask at a gateway, as its directory lists them, and questions that their operators sign."""

from collections.abc import Iterator
from datetime import date
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet.cli.development_agencies import LOADED
from jukinet.mesh.clock import now
from jukinet.mesh.identity import Identity
from jukinet.purpose.agencies import Agency
from jukinet.purpose.edition import load_statute
from jukinet.purpose.operator_proof import sign
from tests.agency_gateway.calls import CERTIFICATE

PENSION = Identity("agency", "pension-service")
BANK = Identity("private", "example-bank")
MAYOR = Identity("agency", "municipality-131016")
OPERATOR_KEYS = {name: Ed25519PrivateKey.generate() for name in ("op-1", "op-2", "op-3")}
"""Of the operators of the pension service."""


def asking(agency: str) -> Identity:
    """Whoever asks under an id of the directory."""
    return BANK if agency == BANK.name else Identity("agency", agency)


def signed(question: Any, agency: str = PENSION.name, **parts: Any) -> Any:
    """A question with the proof of the operator whom it names, unless it has one; `parts` are other parts of it."""
    if question.context.HasField("operator_proof"):
        return question
    given = {"agency": asking(agency).uri, "certificate": CERTIFICATE, "now": now(), **parts}
    return sign(question, OPERATOR_KEYS.get(question.context.operator, OPERATOR_KEYS["op-1"]), **given)


def listed() -> Iterator[Agency]:
    """What the directory says of the pension service, the mayor and the bank."""
    statute = load_statute()
    rows = frozenset(key for key, row in statute.rows.items() if "japan-pension-service" in row.bodies)
    since = date(2019, 1, 7)
    yield Agency(
        id=PENSION.name, spiffe_id=PENSION.uri, name_en="Pension", name_ja="年金", kind="public",
        bodies=frozenset({"japan-pension-service"}), rows=rows, valid_from=since,
        operators={name: key.public_key() for name, key in OPERATOR_KEYS.items()}, budget=LOADED,
    )  # fmt: skip
    yield Agency(
        id=MAYOR.name, spiffe_id=MAYOR.uri, name_en="Chiyoda", name_ja="千代田区", kind="public",
        bodies=frozenset({"municipal-mayor"}), rows=frozenset({"B2-1-2"}), valid_from=since, prefecture="130001",
        operators={name: key.public_key() for name, key in OPERATOR_KEYS.items()}, budget=LOADED,
    )  # fmt: skip
    yield Agency(
        id=BANK.name, spiffe_id=BANK.uri, name_en="Bank", name_ja="銀行", kind="private",
        bodies=frozenset(), rows=rows, valid_from=since,
        operators={name: key.public_key() for name, key in OPERATOR_KEYS.items()}, budget=LOADED,
    )  # fmt: skip
