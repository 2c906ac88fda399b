"""Who has to have cosigned: the witnesses' keys as given, each once, and how many of them."""

from collections.abc import Sequence

from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.notes import Key, read_witness_key


def read_witnesses(texts: Sequence[str]) -> list[Key]:
    """The witnesses of these keys, each once: whoever counts twice makes a quorum of himself. Raises Unsound."""
    keys = [read_witness_key(text) for text in texts]
    if len({key.public.public_bytes_raw() for key in keys}) < len(keys) or len({key.name for key in keys}) < len(keys):
        raise Unsound("two of the witnesses have the same name or key")
    return keys


def quorum_of(witnesses: int, quorum: int | None) -> int:
    """How many of so many witnesses have to have cosigned; None = more than half. Raises Unsound."""
    wanted = (witnesses // 2 + 1 if witnesses else 0) if quorum is None else quorum
    if not (wanted == witnesses == 0 or 1 <= wanted <= witnesses):
        raise Unsound(f"a quorum of {wanted} cannot be had of {witnesses} witnesses; give each one's key")
    return wanted
