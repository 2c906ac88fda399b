"""Overtaken changes: those that reach a prefecture after a later change of the same person.

Rule: what comes late is judged by the rows as they stood before its version, and must leave open the way to what
followed. It then belongs to the history, in its place by version. It moves no row that a later change wrote.
Source: Act art. 30-6; Order art. 30-6 (保存).
Without it a prefecture's history would lack lawful changes and show them as faults for ever; and if they were taken
unjudged, a municipality could write itself into the past of another's resident.

A prefecture sees part of a person's chain. Who comes to it from outside (another prefecture, abroad, a deletion
elsewhere) is entered at once, for the versions before may all be unknown here. They may also be those of a municipality
of its own whose stream is slower, even within one prefecture. That stay comes late, whole or with a part of it waiting.
"""

from collections.abc import Mapping, Sequence

from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.domain.apply import apply, row_after
from jukinet.domain.arrival import Arrival


def apply_overtaken(
    late: Arrival,
    *,
    scope: str,
    current: Mapping[str, identity_pb2.Resident],
    kept: Sequence[Arrival],
) -> tuple[identity_pb2.Resident, ...]:
    """Apply a change whose version lies below that of the row of its resident code.

    Args:
        late: the change, valid by the rules of the protos.
        scope: as in `apply`.
        current: as in `apply`.
        kept: the node's history under the change's resident code, in any order.

    Returns:
        The rows to write: none; on a change of the code the retired one.

    Raises:
        ChangeRefused: as in `apply`. The present rows refuse what has no place in the history.

    Source: Act art. 30-6; Order art. 13, 30-5, 30-6.
    """
    change, municipality = late.change, late.municipality
    followed_by = _next_after(late, scope=scope, kept=kept)
    if followed_by is None:
        return apply(change, municipality=municipality, scope=scope, current=current)
    code = change.record.resident_code
    rows = {other: row for other, row in current.items() if other != code}
    earlier = [each for each in kept if each.change.version < change.version]
    if earlier:
        last = max(earlier, key=_version)
        rows[code] = row_after(last.change, last.municipality)
    written = apply(change, municipality=municipality, scope=scope, current=rows)
    if followed_by.change.version == change.version + 1:
        apply(followed_by.change, municipality=followed_by.municipality, scope=scope, current={code: written[0]})
    return written[1:]


def _next_after(late: Arrival, *, scope: str, kept: Sequence[Arrival]) -> Arrival | None:
    """The change that follows the gap where the late one belongs; None where there is no gap for it.

    Center and CS see whole chains: no gaps. A version is given once. A code that was given in a change of the code was
    nobody's before. A municipality seals its own changes of a person in the order of their versions.
    """
    later = [each for each in kept if each.change.version > late.change.version]
    taken = any(each.change.version == late.change.version for each in kept)
    if taken or not later or scope in ("", late.municipality):
        return None
    followed_by = min(later, key=_version)
    if followed_by.change.previous_resident_code:
        return None
    if any(each.municipality == late.municipality and each.place < late.place for each in later):
        return None
    return followed_by


def _version(arrival: Arrival) -> int:
    return arrival.change.version
