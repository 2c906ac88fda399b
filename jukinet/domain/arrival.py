"""Arrival of a change: the change with the municipality whose seal is on it, and its place in that one's stream."""

from dataclasses import dataclass

from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.domain.change import resident_codes


@dataclass(frozen=True, slots=True)
class Arrival:
    """One change as it stands in its municipality's stream; `payload` is the change as it was sealed."""

    municipality: str
    epoch: int
    sequence: int
    change: Change
    payload: bytes

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in the stream; compares as the municipality sealed."""
        return self.epoch, self.sequence

    @property
    def moved_codes(self) -> tuple[str, ...]:
        """The resident codes whose rows it moves."""
        return resident_codes(self.change)

    @property
    def awaited_code(self) -> str:
        """The resident code under whose row it goes on: the old one where it brings a new one."""
        return self.change.previous_resident_code or self.change.record.resident_code
