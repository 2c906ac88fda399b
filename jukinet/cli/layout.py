"""The folder of a development mesh: where `jukinet mesh init` puts things and where the other commands find them.

    DIR/pki/                     the three CAs, their keys and the deny list
    DIR/nodes/KIND-NAME/         one node: node.toml, certificate, keys, database, log
    DIR/clients/KIND-NAME/       certificate and key of an operator, an agency, a private organisation (民間) or a
                                 municipal system (既存住基システム)
    DIR/clients/agency-NAME/operators/  keys of the agency's operators (操作者); private-NAME has them too
    DIR/ledger-NAME.vkey         public key of a gateway's ledger, for `jukinet ledger verify`
    DIR/witness-NAME.vkey        public key of a witness (立会人), for the same
    DIR/disclosure.vkey          public key of the disclosure node (開示), for `jukinet ledger verify-usage`

What a node is told stands in its node.toml alone; nothing here repeats it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jukinet.cli.output import Exit, Failure

if TYPE_CHECKING:
    from jukinet.mesh.config import NodeConfig
    from jukinet.mesh.identity import Identity
    from jukinet.mesh.tls import TlsFiles

CONFIG: Final = "node.toml"
LOG: Final = "log.jsonl"
OPERATOR: Final = "operator"
"""Name of the operator of a development mesh as whom commands call."""
SECOND_OPERATOR: Final = "operator-2"
"""Name of the other one, for what takes two."""
DISCLOSURE: Final = "disclosure"
"""Name of the node that answers residents, where a mesh has one."""
# From the center outwards: each node finds the one that it dials.
_ORDER: Final = "center witness gateway disclosure prefecture municipality"


def folder_name(identity: "Identity") -> str:
    """Names the folder of an identity: `municipality-131016`, `center`, `gateway-1` (never `gateway-gateway-1`)."""
    if identity.name in ("", identity.kind) or identity.name.startswith(f"{identity.kind}-"):
        return identity.name or identity.kind
    return f"{identity.kind}-{identity.name}"


@dataclass(frozen=True)
class Mesh:
    """A development mesh on this machine."""

    root: Path

    @classmethod
    def open(cls, root: Path) -> "Mesh":
        """Finds a mesh.

        Raises:
            Failure: there is none.
        """
        mesh = cls(root.resolve())
        if not mesh.names:
            raise Failure(f"There is no mesh in {root}. Make one with `jukinet mesh init {root} …`.", Exit.USAGE)
        return mesh

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the nodes, from the center outwards: the order in which they are started."""
        found = [path.parent.name for path in self.root.glob(f"nodes/*/{CONFIG}")]
        return tuple(sorted(found, key=lambda name: (_ORDER.find(name.partition("-")[0]), name)))

    def find(self, name: str) -> str:
        """Finds a node by its name, or by its local government code alone.

        Raises:
            Failure: no node, or more than one, is called so.
        """
        found = [known for known in self.names if name == known or known.endswith(f"-{name}")]
        if len(found) != 1:
            raise Failure(f"No node is called {name}. Nodes of this mesh: {', '.join(self.names)}.", Exit.USAGE)
        return found[0]

    def folder(self, name: str) -> Path:
        """Folder of a node."""
        return self.root / "nodes" / name

    def config_path(self, name: str) -> Path:
        """Configuration file of a node."""
        return self.folder(name) / CONFIG

    def log_path(self, name: str) -> Path:
        """What a node wrote to standard output and standard error, under `jukinet mesh up`."""
        return self.folder(name) / LOG

    def config(self, name: str, environ: Mapping[str, str] | None = None) -> "NodeConfig":
        """Reads the configuration of a node.

        Raises:
            Failure: it does not hold.
        """
        from jukinet.mesh.config import ConfigError
        from jukinet.mesh.config_file import load_config

        try:
            return load_config(self.config_path(name), {} if environ is None else environ)
        except ConfigError as error:
            raise Failure(str(error), Exit.CONFIGURATION) from None

    def address(self, name: str) -> str:
        """host:port of a node: what it said when it started, or what its configuration says."""
        config = self.config(name)
        if config.address_file is not None and config.address_file.exists():
            return config.address_file.read_text(encoding="utf-8").strip()
        return config.listen

    @property
    def gateways(self) -> tuple[str, ...]:
        """Names of the gateways."""
        return tuple(name for name in self.names if name.startswith("gateway-"))

    @property
    def witnesses(self) -> tuple[str, ...]:
        """Names of the witnesses."""
        return tuple(name for name in self.names if name.startswith("witness-"))

    @property
    def registers(self) -> tuple[str, ...]:
        """Names of the nodes that hold a register."""
        others = (*self.gateways, *self.witnesses, DISCLOSURE)
        return tuple(name for name in self.names if name not in others)

    def witness_key(self, witness: str) -> Path:
        """Public key by which a witness cosigns."""
        return self.root / f"{witness}.vkey"

    @property
    def disclosure_key(self) -> Path:
        """Public key of the disclosure node's answers and of its own ledger."""
        return self.root / "disclosure.vkey"

    def ledger_key(self, gateway: str) -> Path:
        """Public key of a gateway's ledger."""
        return self.root / f"ledger-{gateway}.vkey"

    @property
    def freshness_key(self) -> Path:
        """Public key by which the center signs how fresh its sources are."""
        return self.root / "freshness.pub"

    def authority(self, stem: str) -> Path:
        """Certificate of a CA, by `nodes`, `agencies` or `operators`."""
        return self.root / "pki" / f"{stem}-ca.pem"

    def operator_key(self, agency: "Identity", operator: str) -> Path:
        """Private key by which an operator of an agency signs his questions."""
        return self.root / "clients" / folder_name(agency) / "operators" / f"{operator}.key"

    def agency(self, name: str) -> "Identity":
        """Who asks under an id of the agency directory: the private organisation (民間) of that name that has a
        certificate of this mesh, else the agency.

        Raises:
            Failure: nobody can have this id.
        """
        from jukinet.mesh.identity import Identity, IdentityError

        try:
            private = Identity("private", name)
        except IdentityError:
            raise Failure("With --mesh say --agency ID: who asks, such as pension-service.", Exit.USAGE) from None
        return private if (self.root / "clients" / folder_name(private)).is_dir() else Identity("agency", name)

    def client(self, identity: "Identity") -> "TlsFiles":
        """TLS files of an operator, agency or municipal system.

        Raises:
            Failure: this mesh has no certificate for it.
        """
        from jukinet.mesh.tls import TlsFiles

        folder = self.root / "clients" / folder_name(identity)
        if not folder.is_dir():
            known = sorted(path.name for path in (self.root / "clients").glob("*"))
            raise Failure(f"This mesh has no certificate for {identity}. It has: {', '.join(known)}.", Exit.USAGE)
        return TlsFiles(folder / "tls.pem", folder / "tls.key", self.authority("nodes"))
