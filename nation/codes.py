"""Resident codes (住民票コード) and individual numbers (個人番号) from the block that is kept for synthetic people."""

from random import Random

from jukinet.domain import individual_number, resident_code


class CodePool:
    """Draws resident codes and individual numbers that no one has held before.

    Source: Act art. 30-2 (a code is never given twice).
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._used: set[str] = set()

    def draw_resident_code(self) -> str:
        """Draw a new resident code of 11 digits."""
        body = self._draw(resident_code.SYNTHETIC_PREFIX, resident_code.BODY_LENGTH)
        return body + resident_code.check_digit(body)

    def draw_individual_number(self) -> str:
        """Draw a new individual number of 12 digits."""
        body = self._draw(individual_number.SYNTHETIC_PREFIX, individual_number.BODY_LENGTH)
        return body + individual_number.check_digit(body)

    def _draw(self, prefix: str, length: int) -> str:
        free = length - len(prefix)
        while True:
            body = f"{prefix}{self._rng.randrange(10**free):0{free}d}"
            # The two kinds differ in length, so one set keeps both apart.
            if body not in self._used:
                self._used.add(body)
                return body
