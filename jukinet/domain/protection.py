"""Protection of victims of violence (支援措置): who is kept back from everybody who asks.

Rule: once a municipality protects a resident whose record it holds, nothing of the person is provided to anybody, until
a holder of the record ends it. No other change ends it: not a correction, not a new code, not a move. The municipality
of a move-in need not know of it.
Source: guidelines on resident records (住民基本台帳事務処理要領), part 5-10.
Without it a clerk elsewhere who forgot the flag, or a system that never had it, would tell a persecutor where to go.

A row says both what the municipality of its last change states (`protected`) and what was begun before and not ended
(`protected_before`). The second is known only where the person's whole chain is: the CS of the move-in lacks it.
"""

from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2

_END = change_pb2.CHANGE_REASON_PROTECTION_END


def is_protected(resident: identity_pb2.Resident) -> bool:
    """Whether nothing of this resident may be provided."""
    return resident.protected or resident.protected_before


def goes_on(change: change_pb2.Change, row: identity_pb2.Resident | None) -> bool:
    """Whether a protection that was begun before is carried on past a change that does not state it itself.

    Args:
        change: a lawful change.
        row: the row that it follows; None for a person unknown here.
    """
    return row is not None and is_protected(row) and not change.protected and change.reason != _END
