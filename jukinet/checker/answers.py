"""What the municipal systems were answered, message by message.

A CS whose disk went back in time may answer a message anew, and seal another change for it. However often that
happens, one of those changes has an effect: no disk may hold two.
"""

from collections.abc import Collection


class Answers:
    """All answers of a history."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], tuple[int, str]] = {}
        """By node and message: version and digest of the last answer."""
        self._of_one_message: dict[str, set[str]] = {}
        """By digest: all that was sealed for the same message."""

    def note(self, node: str, message: str, version: int, digest: str) -> tuple[int, str]:
        """Notes an answer; version and digest of the one before, or of this one if it is the first."""
        before = self._last.get((node, message), (version, digest))
        self._last[node, message] = version, digest
        sealed = self._of_one_message.setdefault(before[1], {before[1]})
        sealed.add(digest)
        self._of_one_message[digest] = sealed
        return before

    def holds_two(self, held: Collection[str], digest: str) -> bool:
        """Whether a disk that holds so much has the message of this change twice."""
        return sum(each in held for each in self._of_one_message.get(digest, ())) > 1
