"""The configuration of a node: one TOML file, every key by environment too, and nothing that is not known.

Rule: a key that does not exist, or that does not belong to the node's role, stops the start. A misspelt limit or CA
path that silently did nothing would be found out on the day when it was needed.

`listen` at the top of the file is `JUKINET_LISTEN` in the environment; `key` in `[tls]` is `JUKINET_TLS_KEY`. The
environment wins. Paths are relative to the directory of the file.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from jukinet.mesh.identity import Identity, IdentityError
from jukinet.mesh.limits import GATEWAY_MESSAGE_BYTES, Limits
from jukinet.mesh.setting import ROLES, Role, Setting
from jukinet.mesh.tls import TlsFiles

PREFIX: Final = "JUKINET_"
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")
_ADDRESS_FORM: Final = "host:port"


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


@dataclass(frozen=True)
class Telemetry:
    """Where traces and metrics go."""

    metrics_listen: Annotated[str | None, Setting("serves /metrics; absent = not served", _ADDRESS_FORM)] = None
    otlp_endpoint: Annotated[str | None, Setting("spans are sent there; absent = nowhere", "URL")] = None


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """Everything that a node is told."""

    role: Annotated[Role, Setting("what the node is", " | ".join(ROLES), needed_by=ROLES)]
    name: Annotated[
        str,
        Setting(
            "全国地方公共団体コード of the municipality or prefecture, or the gateway's name",
            "six digits or name",
            needed_by=("municipality", "prefecture", "gateway"),
            only=("municipality", "prefecture", "gateway"),
        ),
    ] = ""
    listen: Annotated[str, Setting("where it serves; port 0 = any free one", _ADDRESS_FORM, needed_by=ROLES)]
    address_file: Annotated[Path | None, Setting("gets host:port as soon as the node serves", "file")] = None
    database: Annotated[str, Setting("the register or the ledger", "SQLAlchemy URL", needed_by=ROLES)]
    upstream: Annotated[
        str | None,
        Setting(
            "the node that it dials: its prefecture, or the center",
            _ADDRESS_FORM,
            needed_by=("municipality", "prefecture", "gateway"),
            only=("municipality", "prefecture", "gateway"),
        ),
    ] = None
    folder: Path
    """Where the configuration lies."""
    tls: TlsFiles
    sealing: Sealing
    gateway: Gateway
    center: Center
    limits: Limits
    telemetry: Telemetry

    @property
    def identity(self) -> Identity:
        """Who the node is; its certificate must say the same."""
        return Identity(self.role, self.name)


def load_config(path: Path, environ: Mapping[str, str] | None = None) -> NodeConfig:
    """Reads and checks the configuration of a node.

    Args:
        path: TOML file.
        environ: the process's environment if None.

    Returns:
        The configuration, complete for the node's role.

    Raises:
        ConfigError: names every key that is wrong and says what to do.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {type(error).__name__}: {_position(error)}. {ConfigError.__doc__}") from None
    problems: list[str] = []
    given = dict(_from_file(table, problems))
    given.update(_from_environment(os.environ if environ is None else environ, problems))
    values = {key: _typed(key, value, path.parent, problems) for key, value in given.items()}
    problems += _misfits(values)
    if problems:
        raise ConfigError("\n".join([f"{path}: {ConfigError.__doc__}", *(f"- {problem}" for problem in problems)]))
    return _assembled(values, path.parent)


def render_markdown() -> str:
    """Renders every key for `docs/configuration.md`."""
    lines = [
        "# Configuration",
        "",
        "One TOML file a node. Every key can be set by environment, which wins. Unknown keys stop the start. Paths are",
        "relative to the file. Generated from `jukinet/mesh/config.py` and the settings that it names.",
        "",
        "| key | environment | form or unit | default | needed by | why |",
        "|---|---|---|---|---|---|",
    ]
    for key, each in _KEYS.items():
        setting, name = each.setting, key.removeprefix(".")
        needed = "all" if setting.needed_by == ROLES else ", ".join(setting.needed_by)
        default = "" if each.default in (None, "") else f"`{each.default}`"
        unit = setting.unit.replace("|", "\\|")
        lines.append(f"| `{name}` | `{_variable(key)}` | {unit} | {default} | {needed} | {setting.why} |")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Key:
    type: Any
    default: Any
    setting: Setting


def _keys_of(section: type[Any], prefix: str) -> dict[str, _Key]:
    hints = get_type_hints(section, include_extras=True)
    keys = {}
    for each in fields(section):
        if get_origin(hints[each.name]) is Annotated:
            kind, setting = get_args(hints[each.name])
            # `Path | None` is written as a path or left out.
            kind = next((part for part in get_args(kind) if part in (str, Path)), kind)
            keys[f"{prefix}.{each.name}"] = _Key(kind, None if each.default is MISSING else each.default, setting)
    return keys


_SECTIONS: Final[dict[str, Any]] = {
    name: kind for name, kind in get_type_hints(NodeConfig).items() if is_dataclass(kind)
}
# A key is written `.listen` or `tls.key` here.
_KEYS: Final = _keys_of(NodeConfig, "") | {
    key: each for section, kind in _SECTIONS.items() for key, each in _keys_of(kind, section).items()
}


def _variable(key: str) -> str:
    return PREFIX + key.removeprefix(".").replace(".", "_").upper()


def _from_file(table: Mapping[str, Any], problems: list[str]) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        pairs = {f".{name}": value}
        if name in _SECTIONS and isinstance(value, dict):
            pairs = {f"{name}.{key}": inner for key, inner in value.items()}
        for key, inner in pairs.items():
            if key in _KEYS:
                yield key, inner
            else:
                problems.append(_unknown(key.removeprefix("."), [known.removeprefix(".") for known in _KEYS]))


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> Iterator[tuple[str, str]]:
    variables = {_variable(key): key for key in _KEYS}
    for name, value in environ.items():
        if name in variables:
            yield variables[name], value
        elif name.startswith(PREFIX):
            problems.append(_unknown(name, list(variables)))


def _unknown(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"unknown key {name}; the nearest that exists is {nearest[0]}"


def _typed(key: str, value: Any, base: Path, problems: list[str]) -> Any:
    """Turns a value from TOML or the environment into the key's type; notes it as a problem where that fails."""
    kind, unit, name = _KEYS[key].type, _KEYS[key].setting.unit, key.removeprefix(".")
    try:
        if kind is Path and isinstance(value, str) and value:
            return base / value
        if kind in (int, float) and not isinstance(value, bool):
            number = kind(value) if isinstance(value, str) or kind is float else value
            if isinstance(number, kind) and number >= 0:
                return number
        elif kind is not Path and isinstance(value, str):
            return value
    except ValueError:
        pass
    problems.append(f"{name} has the wrong type; write {_form(kind)}{f' ({unit})' if unit else ''}")
    return None


def _form(kind: Any) -> str:
    return {int: "a whole number, not negative", float: "a number, not negative", Path: "a path"}.get(kind, "a text")


def _misfits(values: Mapping[str, Any]) -> Iterator[str]:
    """Finds what is missing, what belongs to another role and what has the wrong form."""
    role = values.get(".role")
    if role not in ROLES:
        yield f"role is needed and is one of {', '.join(ROLES)}"
        return
    for key, each in _KEYS.items():
        name, setting = key.removeprefix("."), each.setting
        if role in setting.needed_by and key not in values:
            yield f"{name} is missing; a {role} needs it ({setting.unit}: {setting.why})"
        if role not in setting.only and key in values:
            yield f"{name} does not belong to a {role}; take it out"
        text = values.get(key)
        if setting.unit == _ADDRESS_FORM and isinstance(text, str) and not _ADDRESS.fullmatch(text):
            yield f"{name} is not of the form {_ADDRESS_FORM}"
    if role == "gateway" and "tls.agencies_ca" not in values:
        yield "tls.agencies_ca is missing; a gateway takes agencies"
    try:
        Identity(role, values.get(".name") or "")
    except IdentityError:
        yield f"name is not that of a {role}; a municipality or prefecture has its six-digit code with check digit"


def _assembled(values: Mapping[str, Any], folder: Path) -> NodeConfig:
    sections = {
        section: kind(
            **{key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{section}.")}
        )
        for section, kind in _SECTIONS.items()
    }
    if values[".role"] == "gateway" and "limits.message_bytes" not in values:
        sections["limits"] = replace(sections["limits"], message_bytes=GATEWAY_MESSAGE_BYTES)
    given = {key[1:]: value for key, value in values.items() if key.startswith(".")}
    return NodeConfig(**given, **sections, folder=folder)


def _position(error: Exception) -> str:
    """Tells where TOML is wrong; an OSError's own text names the file only."""
    return error.strerror or "" if isinstance(error, OSError) else str(error)
