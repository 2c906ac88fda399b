"""Reads a node's configuration: one TOML file, every key by environment too, and nothing that is not known.

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

from jukinet.mesh.config import ADDRESS_FORM, ConfigError, NodeConfig
from jukinet.mesh.identity import Identity, IdentityError
from jukinet.mesh.limits import GATEWAY_MESSAGE_BYTES
from jukinet.mesh.setting import ROLES, Setting

PREFIX: Final = "JUKINET_"
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")


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
        if setting.unit == ADDRESS_FORM and isinstance(text, str) and not _ADDRESS.fullmatch(text):
            yield f"{name} is not of the form {ADDRESS_FORM}"
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
