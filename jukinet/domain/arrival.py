"""Arrival of a change: the change with the municipality whose seal is on it, and its place in that one's stream."""

from dataclasses import dataclass

from jukinet._pb.jukinet.register.v1.change_pb2 import Change


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
    def moved_codes(self) -> list[str]:
        """The resident codes whose rows it moves; none where the change could not be read."""
        codes = (self.change.record.resident_code, self.change.previous_resident_code)
        return [code for code in codes if code]

    @property
    def awaited_code(self) -> str:
        """The resident code under whose row it goes on: the old one where it brings a new one."""
        return self.change.previous_resident_code or self.change.record.resident_code
