"""Writes a whole development mesh: certificates, keys, agency directory and one configuration a node.

Rule: secrets are readable by their owner alone from their first byte on, nothing that exists is overwritten, and the
folder appears whole or not at all. A production network takes certificates and keys from its own CAs; the files have
the same shapes.
"""

import json
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agency_gateway.witness_list import ListedWitness, format_witnesses
from jukinet.cli.development_agencies import development_agencies, with_keys
from jukinet.cli.init_disclosure import counters, write_disclosure
from jukinet.cli.layout import CONFIG, OPERATOR, SECOND_OPERATOR, Mesh, folder_name
from jukinet.cli.node_sections import DATABASES, SECTIONS
from jukinet.cli.output import Exit, Failure
from jukinet.domain.local_government import is_municipality_code, prefecture_code_of
from jukinet.ledger.cosignature import WitnessKey, key_name
from jukinet.ledger.note import VerifierKey
from jukinet.mesh import pki
from jukinet.mesh.config_file import load_config
from jukinet.mesh.identity import Identity, IdentityError, parse_identity, upstream_of
from jukinet.purpose.agencies import format_agencies

_HOST: Final = "127.0.0.1"
_PORTS: Final = range(20_000, 32_000)
_LEAF_DAYS: Final = 365
_SECRET_BYTES: Final = 32
_SQLITE: Final = "sqlite"
UNBRAKED: Final[Mapping[str, int]] = {"brake_floor": 1_000_000_000, "brake_deletions": 1_000_000_000}
"""Limits of a mesh into which more changes are loaded at once than any municipality has in an hour."""


@dataclass(frozen=True)
class Plan:
    """What a mesh consists of.

    Args:
        municipalities: six-digit codes; their prefectures follow from them.
        gateways: names of agency gateways.
        database: `sqlite`, or an SQLAlchemy URL with `{node}` where the node's name goes.
        brake: limits of the change brake that are not the default ones, such as `UNBRAKED`.
        witnesses: how many witnesses (立会人) the ledgers have; more than half of them are the quorum.
        disclosure: whether it has the node that answers residents (開示), and counters (窓口).
    """

    municipalities: Sequence[str]
    gateways: Sequence[str]
    database: str = _SQLITE
    brake: Mapping[str, int | float] = field(default_factory=dict)
    witnesses: int = 3
    disclosure: bool = False

    @property
    def nodes(self) -> list[Identity]:
        """All nodes, from the center outwards."""
        prefectures = dict.fromkeys(prefecture_code_of(code) for code in self.municipalities)
        return [
            Identity("center"),
            *(Identity("witness", f"witness-{number}") for number in range(1, self.witnesses + 1)),
            *(Identity("gateway", name) for name in dict.fromkeys(self.gateways)),
            *([Identity("disclosure")] if self.disclosure else []),
            *(Identity("prefecture", code) for code in prefectures),
            *(Identity("municipality", code) for code in dict.fromkeys(self.municipalities)),
        ]

    def check(self) -> None:
        """Makes sure that the mesh can be built.

        Raises:
            Failure: a code or a name is none, or the database template cannot work.
        """
        for code in self.municipalities:
            if not is_municipality_code(code):
                raise Failure(f"{code} is not the six-digit code of a municipality, check digit included.", Exit.USAGE)
        try:
            folders = [folder_name(node) for node in self.nodes]
        except IdentityError as error:
            raise Failure(f"A gateway's name has small letters, digits and hyphens. {error}", Exit.USAGE) from None
        if len(set(folders)) < len(folders):
            raise Failure("Two gateways would share a folder; choose other names.", Exit.USAGE)
        if not self.municipalities or not self.gateways or self.witnesses < 1:
            raise Failure("A mesh needs at least one municipality, one gateway and one witness.", Exit.USAGE)
        if self.database != _SQLITE and ("://" not in self.database or "{node}" not in self.database):
            raise Failure(
                "The database is `sqlite`, or a URL that holds {node}, such as postgresql://localhost/{node}: each "
                "node needs a database of its own.",
                Exit.USAGE,
            )


def write_mesh(root: Path, plan: Plan) -> Mesh:
    """Writes a mesh.

    Args:
        root: a folder that does not exist yet, or is empty.
        plan: what it consists of.

    Returns:
        The mesh, whose configurations were read back.

    Raises:
        Failure: the plan does not hold, or something is in the folder already.
    """
    plan.check()
    root = root.absolute()
    if root.is_symlink() or (root.exists() and (not root.is_dir() or any(root.iterdir()))):
        raise Failure(f"{root} is not empty and is left alone. Name a new folder, or remove that one.", Exit.REFUSED)
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        draft.chmod(0o755)
        _Writer(draft, root, plan).write()
        draft.rename(root)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Mesh.open(root)


class _Writer:
    """Writes into `draft` what will stand in `root`."""

    def __init__(self, draft: Path, root: Path, plan: Plan) -> None:
        self._mesh = Mesh(draft)
        self._root = root
        self._plan = plan
        self._folders = {node: self._mesh.folder(folder_name(node)) for node in plan.nodes}
        self._rest, *addresses = free_addresses(1 + len(plan.nodes))
        self._addresses = dict(zip(plan.nodes, addresses, strict=True))
        self._authorities = {domain: pki.create_authority(domain) for domain in pki.TRUST_DOMAINS}
        self._agencies = development_agencies(plan.municipalities[0])

    def write(self) -> None:
        for authority in self._authorities.values():
            pki.write_authority(authority, self._mesh.root / "pki")
        pki.write_public(
            self._mesh.root / "pki" / "denied.txt",
            b"# Certificates that are refused though they still hold: one SPIFFE ID or sha256: fingerprint a line.\n",
        )
        for node, folder in self._folders.items():
            pki.write_leaf(self._issue(node, server=True), folder, "tls")
        for client in self._clients():
            leaf = self._issue(client, server=False)
            pki.write_leaf(leaf, self._mesh.root / "clients" / folder_name(client), "tls")
        self._write_sealing_keys()
        self._write_gateway_keys()
        self._write_witness_keys()
        self._write_agencies()
        self._write_disclosure()
        for node in self._plan.nodes:
            self._write_config(node)

    def _clients(self) -> Iterator[Identity]:
        yield Identity("operator", OPERATOR)
        yield Identity("operator", SECOND_OPERATOR)
        for code in dict.fromkeys(self._plan.municipalities):
            yield Identity("municipal-system", code)
        for agency in self._agencies:
            yield parse_identity(agency.spiffe_id)
        if self._plan.disclosure:
            yield from counters(self._plan.municipalities)

    def _issue(self, identity: Identity, *, server: bool) -> pki.Leaf:
        return pki.issue(self._authorities[identity.trust_domain], identity, days=_LEAF_DAYS, server=server)

    def _folders_of(self, *kinds: str) -> list[tuple[Identity, Path]]:
        return [(node, folder) for node, folder in self._folders.items() if node.kind in kinds]

    def _write_sealing_keys(self) -> None:
        """Each municipality's key to itself; its public half to its prefecture and to the center."""
        for node, folder in self._folders_of("municipality"):
            _, public = pki.create_signing_key(folder, "seal")
            for receiver, other in self._folders_of("prefecture", "center"):
                if receiver in (upstream_of(node), Identity("center")):
                    pki.write_public(other / "seals" / f"{node.name}.pub", public.read_bytes())

    def _write_gateway_keys(self) -> None:
        center = self._folders[Identity("center")]
        pki.write_secret(center / "token.key", _fresh_secret())
        _, public = pki.create_signing_key(center, "freshness")
        pki.write_public(self._mesh.freshness_key, public.read_bytes())
        for node, folder in self._folders_of("gateway"):
            _, public = pki.create_signing_key(folder, "ticket")
            pki.write_public(center / "gateways" / f"{node.name}.pub", public.read_bytes())
            _, public = pki.create_signing_key(folder, "ledger")
            verifier = VerifierKey(f"jukinet/{node.name}", pki.load_public_key(public))
            pki.write_public(self._mesh.ledger_key(folder.name), f"{verifier}\n".encode())
            pki.write_secret(folder / "token.key", _fresh_secret())

    def _write_witness_keys(self) -> None:
        """Each witness's key to itself, its public half to the gateways; and to each witness the ledgers' keys."""
        listed = []
        for node, folder in self._folders_of("witness"):
            _, public = pki.create_signing_key(folder, "cosign")
            key = WitnessKey(key_name(node.name), pki.load_public_key(public))
            listed.append(ListedWitness(node, self._addresses[node], key))
            pki.write_public(self._mesh.witness_key(folder.name), f"{key}\n".encode())
            for gateway, other in self._folders_of("gateway"):
                ledger_key = self._mesh.ledger_key(other.name).read_bytes()
                pki.write_public(folder / "ledgers" / f"{gateway.name}.vkey", ledger_key)
        text = format_witnesses(len(listed) // 2 + 1, listed)
        for _, folder in self._folders_of("gateway"):
            pki.write_public(folder / "witnesses.toml", text.encode())

    def _write_agencies(self) -> None:
        """The center decides again by its own copy, and disclosure names recipients: one file each."""
        text = format_agencies(with_keys(agency, self._mesh) for agency in self._agencies)
        for _, folder in self._folders_of("gateway", "center", "disclosure"):
            pki.write_public(folder / "agencies.toml", text.encode())

    def _write_disclosure(self) -> None:
        for _, folder in self._folders_of("disclosure"):
            gateways = [(node.name, self._addresses[node]) for node, _ in self._folders_of("gateway")]
            write_disclosure(self._mesh, folder, gateways, counters(self._plan.municipalities))

    def _write_config(self, node: Identity) -> None:
        folder = self._folders[node]
        text = format_toml(self._config_of(node, folder.name))
        # A database URL may hold a password.
        pki.write_secret(folder / CONFIG, text.encode())
        load_config(folder / CONFIG, {})

    def _config_of(self, node: Identity, name: str) -> dict[str, Any]:
        top: dict[str, Any] = {"role": node.kind}
        if node.name:
            top["name"] = node.name
        top["listen"] = self._addresses[node]
        top["database"] = self._database_of(node, name)
        if node.kind not in ("center", "witness"):
            top["upstream"] = self._addresses[upstream_of(node)]
        tls = {"certificate": "tls.pem", "key": "tls.key", "nodes_ca": "../../pki/nodes-ca.pem"}
        if node.kind == "gateway":
            tls["agencies_ca"] = "../../pki/agencies-ca.pem"
        tls |= {"operators_ca": "../../pki/operators-ca.pem", "denied": "../../pki/denied.txt"}
        braked = self._plan.brake and node.kind in ("prefecture", "center")
        sections = SECTIONS[node.kind]
        if node.kind == "center" and self._plan.disclosure:
            sections = {**sections, "center": {**sections["center"], "counters": "counters"}}
        if node.kind == "disclosure":
            sections = {"disclosure": {**sections["disclosure"], "rest_listen": self._rest}}
        return {**top, "tls": tls, **sections, **({"limits": self._plan.brake} if braked else {})}

    def _database_of(self, node: Identity, name: str) -> str:
        if self._plan.database != _SQLITE:
            return self._plan.database.replace("{node}", name.replace("-", "_"))
        return f"sqlite:///{self._root / 'nodes' / name / DATABASES.get(node.kind, 'register.db')}"


def free_addresses(count: int) -> list[str]:
    """Finds ports of this machine that nobody holds now, all different.

    Raises:
        Failure: there are not enough.
    """
    held: list[socket.socket] = []
    try:
        for _ in range(50 * count):
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                probe.bind((_HOST, secrets.choice(_PORTS)))
            except OSError:
                probe.close()
                continue
            held.append(probe)
            if len(held) == count:
                return [f"{_HOST}:{taken.getsockname()[1]}" for taken in held]
    finally:
        for taken in held:
            taken.close()
    raise Failure(f"There are no {count} free ports between {_PORTS.start} and {_PORTS.stop}.")


def format_toml(content: Mapping[str, Any]) -> str:
    """Writes texts, numbers and tables of them as TOML, tables last."""
    # JSON's texts and numbers are TOML's as well.
    plain = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in content.items() if _is_plain(value)]
    tables = [f"\n[{key}]\n{format_toml(value)}" for key, value in content.items() if not _is_plain(value)]
    return "".join(f"{line}\n" for line in plain) + "".join(tables)


def _is_plain(value: Any) -> bool:
    return not isinstance(value, Mapping)


def _fresh_secret() -> bytes:
    return f"{secrets.token_hex(_SECRET_BYTES)}\n".encode()
