"""What a node is told: every key of its configuration, with its reason, its form and the roles that need it.

`jukinet.mesh.config_file` reads them from a file and the environment.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from jukinet.mesh.identity import Identity
from jukinet.mesh.limits import Limits
from jukinet.mesh.setting import ROLES, Role, Setting
from jukinet.mesh.tls import TlsFiles

ADDRESS_FORM: Final = "host:port"


class ConfigError(ValueError):
    """The node's configuration does not hold. Correct what the text names and start the node again."""


@dataclass(frozen=True)
class Sealing:
    """Keys of the municipalities' seals."""

    key: Annotated[
        Path | None,
        Setting(
            "the municipality seals its changes with it",
            "Ed25519 private key, PEM file",
            needed_by=("municipality",),
            only=("municipality",),
        ),
    ] = None
    public_keys: Annotated[
        Path | None,
        Setting(
            "seals are checked with these; one CODE.pub a municipality",
            "directory",
            needed_by=("prefecture", "center"),
            only=("prefecture", "center"),
        ),
    ] = None


@dataclass(frozen=True)
class Gateway:
    """What an agency gateway (情報提供サーバ) has of its own."""

    ticket_key: Annotated[
        Path | None,
        Setting(
            "signs the tickets that go to the center",
            "Ed25519 private key, PEM file",
            needed_by=("gateway",),
            only=("gateway",),
        ),
    ] = None
    ledger_key: Annotated[
        Path | None,
        Setting(
            "signs the ledger's checkpoints", "Ed25519 private key, PEM file", needed_by=("gateway",), only=("gateway",)
        ),
    ] = None
    agencies: Annotated[
        Path | None,
        Setting(
            "directory of the agencies and what each may ask", "TOML file", needed_by=("gateway",), only=("gateway",)
        ),
    ] = None
    token_key: Annotated[
        Path | None,
        Setting(
            "makes the tokens that stand for residents in the ledger; a plain hash could be searched in hours",
            "file of 32 bytes, hex",
            needed_by=("gateway",),
            only=("gateway",),
        ),
    ] = None
    witnesses: Annotated[
        Path | None,
        Setting(
            "who cosigns its ledger's checkpoints, and how many have to; without a quorum nothing is answered",
            "TOML file",
            needed_by=("gateway",),
            only=("gateway",),
        ),
    ] = None


@dataclass(frozen=True)
class Witness:
    """What a witness (立会人) has of its own."""

    key: Annotated[
        Path | None,
        Setting(
            "cosigns checkpoints; belongs to this witness's database for good",
            "Ed25519 private key, PEM file",
            needed_by=("witness",),
            only=("witness",),
        ),
    ] = None
    ledgers: Annotated[
        Path | None,
        Setting(
            "the ledgers that it knows: one NAME.vkey a ledger, with its origin and key",
            "directory",
            needed_by=("witness",),
            only=("witness",),
        ),
    ] = None


@dataclass(frozen=True)
class Center:
    """What the center (全国サーバ) has of its own."""

    gateway_keys: Annotated[
        Path | None,
        Setting(
            "tickets are checked with these; one NAME.pub a gateway",
            "directory",
            needed_by=("center",),
            only=("center",),
        ),
    ] = None
    freshness_key: Annotated[
        Path | None,
        Setting(
            "signs what the center says of each municipality's freshness; agencies know its public half",
            "Ed25519 private key, PEM file",
            needed_by=("center",),
            only=("center",),
        ),
    ] = None
    token_key: Annotated[
        Path | None,
        Setting(
            "makes the tokens that stand for residents in its own records",
            "file of 32 bytes, hex",
            needed_by=("center",),
            only=("center",),
        ),
    ] = None
    agencies: Annotated[
        Path | None,
        Setting(
            "the center decides every question again by its own copy",
            "TOML file",
            needed_by=("center",),
            only=("center",),
        ),
    ] = None
    counters: Annotated[
        Path | None,
        Setting(
            "a resident's own record is given on a check of identity that verifies with one of these, one NAME.pub a "
            "counter; absent = never",
            "directory",
            only=("center",),
        ),
    ] = None
    body_keys: Annotated[
        Path | None,
        Setting(
            "the secrets behind the keys of ledger bodies; a database of its own, with backups of its own",
            "SQLite file",
            needed_by=("center",),
            only=("center",),
        ),
    ] = None
    body_years: Annotated[
        int,
        Setting("after so long the keys of a month's ledger bodies are destroyed", "years", only=("center",)),
    ] = 7


@dataclass(frozen=True)
class Disclosure:
    """What the disclosure node (開示) has of its own."""

    token_key: Annotated[
        Path | None,
        Setting(
            "finds a resident's entries in the ledgers; the same as the center's, and nobody else has it",
            "file of 32 bytes, hex",
            needed_by=("disclosure",),
            only=("disclosure",),
        ),
    ] = None
    log_key: Annotated[
        Path | None,
        Setting(
            "signs its answers and the ledger of its own acts",
            "Ed25519 private key, PEM file",
            needed_by=("disclosure",),
            only=("disclosure",),
        ),
    ] = None
    ledgers: Annotated[
        Path | None,
        Setting(
            "the gateways whose ledgers it mirrors, their keys, and the witnesses that have to cosign",
            "TOML file",
            needed_by=("disclosure",),
            only=("disclosure",),
        ),
    ] = None
    counters: Annotated[
        Path | None,
        Setting(
            "checks of identity are verified with these; one NAME.pub a counter",
            "directory",
            needed_by=("disclosure",),
            only=("disclosure",),
        ),
    ] = None
    agencies: Annotated[
        Path | None,
        Setting("how recipients are called", "TOML file", needed_by=("disclosure",), only=("disclosure",)),
    ] = None
    editions: Annotated[
        Path | None,
        Setting(
            "how affairs are called: the files of the editions that gateways decided by, beside that of the program; "
            "absent = the program's alone",
            "directory",
            only=("disclosure",),
        ),
    ] = None
    rest_listen: Annotated[
        str | None,
        Setting(
            "serves the REST face for portals, by mutual TLS; absent = not served", ADDRESS_FORM, only=("disclosure",)
        ),
    ] = None


@dataclass(frozen=True)
class Telemetry:
    """Where traces and metrics go."""

    metrics_listen: Annotated[str | None, Setting("serves /metrics; absent = not served", ADDRESS_FORM)] = None
    otlp_endpoint: Annotated[str | None, Setting("spans are sent there; absent = nowhere", "URL")] = None


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """Everything that a node is told."""

    role: Annotated[Role, Setting("what the node is", " | ".join(ROLES), needed_by=ROLES)]
    name: Annotated[
        str,
        Setting(
            "全国地方公共団体コード of the municipality or prefecture, or the name of the gateway or witness",
            "six digits or name",
            needed_by=("municipality", "prefecture", "gateway", "witness"),
            only=("municipality", "prefecture", "gateway", "witness"),
        ),
    ] = ""
    listen: Annotated[str, Setting("where it serves; port 0 = any free one", ADDRESS_FORM, needed_by=ROLES)]
    address_file: Annotated[Path | None, Setting("gets host:port as soon as the node serves", "file")] = None
    database: Annotated[
        str,
        Setting("the register, the ledger, what a witness knows, or the mirror", "SQLAlchemy URL", needed_by=ROLES),
    ]
    upstream: Annotated[
        str | None,
        Setting(
            "the node that it dials: its prefecture, or the center",
            ADDRESS_FORM,
            needed_by=("municipality", "prefecture", "gateway", "disclosure"),
            only=("municipality", "prefecture", "gateway", "disclosure"),
        ),
    ] = None
    folder: Path
    """Where the configuration lies."""
    tls: TlsFiles
    sealing: Sealing
    gateway: Gateway
    witness: Witness
    center: Center
    disclosure: Disclosure
    limits: Limits
    telemetry: Telemetry

    @property
    def identity(self) -> Identity:
        """Who the node is; its certificate must say the same."""
        return Identity(self.role, self.name)
