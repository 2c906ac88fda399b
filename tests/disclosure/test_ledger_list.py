"""The list of ledgers: complete, with a quorum that two halves cannot both be, and nothing that nobody knows."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet.disclosure.ledger_list import format_ledgers, load_ledgers
from jukinet.ledger.cosignature import WitnessKey
from jukinet.ledger.note import VerifierKey
from jukinet.mesh.config import ConfigError
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import create_signing_key
from jukinet.purpose.identity_check import load_counters

WITNESSES = [str(WitnessKey(f"jukinet/witness-{n}", Ed25519PrivateKey.generate().public_key())) for n in range(3)]
LEDGERS = [
    (name, "127.0.0.1:7443", str(VerifierKey(f"jukinet/{name}", Ed25519PrivateKey.generate().public_key())))
    for name in ("east", "west")
]


def test_a_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "ledgers.toml"
    path.write_text(format_ledgers(2, WITNESSES, LEDGERS))
    listed = load_ledgers(path)
    assert (listed.quorum, len(listed.witnesses)) == (2, 3)
    assert [each.gateway for each in listed.ledgers] == [Identity("gateway", "east"), Identity("gateway", "west")]
    assert [each.key.name for each in listed.ledgers] == ["jukinet/east", "jukinet/west"]


GOOD = format_ledgers(2, WITNESSES, LEDGERS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "quorum =",
        GOOD.replace("quorum = 2", "quorum = 1"),
        GOOD.replace("quorum = 2", "quorum = 4"),
        GOOD.replace("quorum = 2", 'quorum = "2"'),
        GOOD + "more = 1\n",
        GOOD.replace('address = "127.0.0.1:7443"', 'address = "127.0.0.1"'),
        GOOD.replace('gateway = "east"', 'gateway = "East"'),
        GOOD.replace("jukinet/east+", "jukinet/other+"),
        GOOD.replace(WITNESSES[0], WITNESSES[1]),
        format_ledgers(2, WITNESSES, [*LEDGERS, LEDGERS[0]]),
        format_ledgers(2, WITNESSES, []),
        format_ledgers(1, [], LEDGERS),
        format_ledgers(2, LEDGERS[0][2:] * 3, LEDGERS),
    ],
)
def test_anything_else_stops_the_start(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ledgers.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"ledgers\.toml"):
        load_ledgers(path)


def test_a_list_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_ledgers(tmp_path / "ledgers.toml")


def test_counters_are_known_by_their_names(tmp_path: Path) -> None:
    create_signing_key(tmp_path, "131016")
    assert set(load_counters(tmp_path)) == {"spiffe://nodes.jukinet/counter/131016"}
    create_signing_key(tmp_path, "No_Counter")
    with pytest.raises(ConfigError):
        load_counters(tmp_path)
