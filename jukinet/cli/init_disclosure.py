"""What the disclosure node (開示) and the counters (窓口) of a development mesh are given."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from jukinet.cli.layout import Mesh, folder_name
from jukinet.disclosure.ledger_list import format_ledgers
from jukinet.disclosure.node import ORIGIN
from jukinet.ledger.note import VerifierKey
from jukinet.mesh import pki
from jukinet.mesh.identity import Identity

PORTAL: Final = "portal"
"""Name of the counter that stands for a portal, where residents identify themselves electronically."""


def counters(municipalities: Sequence[str]) -> list[Identity]:
    """The counters of a mesh: one a municipality, and a portal."""
    return [Identity("counter", name) for name in (*dict.fromkeys(municipalities), PORTAL)]


def write_disclosure(
    mesh: Mesh, folder: Path, gateways: Iterable[tuple[str, str]], counters: Iterable[Identity]
) -> None:
    """Writes keys and lists of the disclosure node, and each counter's key to the counter.

    Args:
        mesh: with the keys of ledgers and witnesses, and the center's token key.
        folder: of the node.
        gateways: name and address of each.
        counters: whose checks of identity it takes, and the center too.
    """
    pki.write_secret(folder / "token.key", (mesh.folder("center") / "token.key").read_bytes())
    _, public = pki.create_signing_key(folder, "log")
    pki.write_public(mesh.disclosure_key, f"{VerifierKey(ORIGIN, pki.load_public_key(public))}\n".encode())
    witnesses = [path.read_text("utf-8").strip() for path in sorted(mesh.root.glob("witness-*.vkey"))]
    ledgers = [
        (name, address, mesh.ledger_key(folder_name(Identity("gateway", name))).read_text("utf-8").strip())
        for name, address in gateways
    ]
    text = format_ledgers(len(witnesses) // 2 + 1, witnesses, ledgers)
    pki.write_public(folder / "ledgers.toml", text.encode())
    for counter in counters:
        _, public = pki.create_signing_key(mesh.root / "clients" / folder_name(counter), "check")
        for holder in (folder, mesh.folder("center")):
            pki.write_public(holder / "counters" / f"{counter.name}.pub", public.read_bytes())
