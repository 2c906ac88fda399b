"""Public keys of an agency's operators (操作者) as they stand in the agency directory: Ed25519, 32 bytes in Base64.

Rule: a key is one person's. One that stands twice in a directory, or for which anybody could make signatures (a point
of small order, such as a key of zeros), is a mistake, and the directory does not load.

Source: RFC 8032 section 5.1.7; docs/threat-model.md, threat 19 (shared accounts).
"""

import base64
import binascii
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

OperatorKeys = Mapping[str, Ed25519PublicKey]
"""Public keys by the agency's own id of the operator."""

_ID = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_KEY_BYTES: Final = 32
_P: Final = 2**255 - 19
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = frozenset({0, 1, _P - 1, _P, _P + 1, _ORDER_8, _P - _ORDER_8})
"""The y coordinates of all points of small order, in every spelling."""


def read_operators(entry: object) -> OperatorKeys:
    """Reads the `operators` table of one agency.

    Raises:
        ValueError: it is no table of ids and keys, or a key is none that one person alone can sign by.
    """
    if not isinstance(entry, dict):
        raise ValueError("must be a table of operator ids and keys")
    return MappingProxyType({_checked_id(name): _key(key) for name, key in entry.items()})


def format_operators(operators: OperatorKeys) -> list[tuple[str, str]]:
    """Ids and keys, the ids in order, the keys as they stand in the directory."""
    return [(name, base64.b64encode(operators[name].public_bytes_raw()).decode()) for name in sorted(operators)]


def _checked_id(name: str) -> str:
    if not _ID.fullmatch(name):
        raise ValueError("an operator's id has 1 to 100 characters, none of them a control character")
    return name


def _key(text: object) -> Ed25519PublicKey:
    try:
        raw = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise ValueError("an operator's key is an Ed25519 public key: 32 bytes in Base64")
    if int.from_bytes(raw, "little") & ~(1 << 255) in _SMALL_ORDER:
        raise ValueError("an operator's key is a point of small order: anybody could sign by it")
    return Ed25519PublicKey.from_public_bytes(raw)
