"""The list of witnesses: read as it was written, and refused where a quorum could be had twice."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agency_gateway.witness_list import ListedWitness, format_witnesses, load_witnesses
from jukinet.ledger.cosignature import WitnessKey
from jukinet.ledger.note import VerifierKey
from jukinet.mesh.config import ConfigError
from jukinet.mesh.identity import Identity


def listed(number: int, key: int | None = None) -> ListedWitness:
    private = Ed25519PrivateKey.from_private_bytes(bytes([key or number]) * 32)
    return ListedWitness(
        Identity("witness", f"witness-{number}"),
        f"127.0.0.1:{7000 + number}",
        WitnessKey(f"jukinet/witness-{number}", private.public_key()),
    )


THREE = [listed(number) for number in (1, 2, 3)]


def load(folder: Path, text: str) -> object:
    path = folder / "witnesses.toml"
    path.write_text(text, encoding="utf-8")
    return load_witnesses(path)


@pytest.mark.parametrize(("quorum", "count"), [(1, 1), (2, 2), (2, 3), (3, 3)])
def test_a_list_is_read_as_it_was_written(tmp_path: Path, quorum: int, count: int) -> None:
    path = tmp_path / "witnesses.toml"
    path.write_text(format_witnesses(quorum, THREE[:count]), encoding="utf-8")
    found = load_witnesses(path)
    assert found.quorum == quorum
    assert [(each.identity, each.address, str(each.key)) for each in found.witnesses] == [
        (each.identity, each.address, str(each.key)) for each in THREE[:count]
    ]


@pytest.mark.parametrize(("quorum", "count"), [(0, 1), (1, 2), (1, 3), (4, 3), (2, 1)])
def test_a_quorum_is_more_than_half_of_them(tmp_path: Path, quorum: int, count: int) -> None:
    with pytest.raises(ConfigError, match="more than half"):
        load(tmp_path, format_witnesses(quorum, THREE[:count]))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "nothing else"),
        ("quorum = 1", "nothing else"),
        ("quorum = 1\nwitness = []", "more than half"),
        ("quorum = 1\nwitness = 1", "nothing else"),
        ("quorum = true\n" + format_witnesses(1, THREE[:1]).partition("\n")[2], "more than half"),
        (format_witnesses(1, THREE[:1]) + "\n[other]\n", "nothing else"),
        (format_witnesses(1, THREE[:1]) + 'extra = "x"\n', "witness 1 has the texts"),
        (format_witnesses(1, THREE[:1]).replace('"witness-1"', "1"), "witness 1 has the texts"),
        (format_witnesses(1, THREE[:1]).replace('"witness-1"', '"Witness 1"'), "witness 1: No identity"),
        (format_witnesses(1, THREE[:1]).replace(":7001", ""), "host:port"),
        (format_witnesses(1, THREE[:1]).replace("jukinet/", "other/"), "key id does not fit"),
        (format_witnesses(2, [listed(1), listed(2, key=1)]), "same name or key"),
        (format_witnesses(2, [listed(1), listed(1)]), "same name or key"),
        ("quorum =", "TOMLDecodeError"),
    ],
)
def test_a_list_that_does_not_hold_says_why(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load(tmp_path, text)


def test_the_key_of_a_ledger_is_no_witness(tmp_path: Path) -> None:
    ledger = VerifierKey("jukinet/witness-1", Ed25519PrivateKey.from_private_bytes(b"\x01" * 32).public_key())
    with pytest.raises(ConfigError, match=r"witness 1: .*not one for Ed25519 cosignatures"):
        load(tmp_path, format_witnesses(1, THREE[:1]).replace(str(THREE[0].key), str(ledger)))


def test_a_list_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        load_witnesses(tmp_path / "none.toml")
