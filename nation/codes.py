"""Resident codes (住民票コード) and individual numbers (個人番号) from the block that is kept for synthetic people."""

from random import Random

_RESIDENT_DIGITS = 10
_NUMBER_DIGITS = 11
# No real code starts with two zeros here: a body of this block is recognised as synthetic at sight.
_RESERVED = "00"
_WEIGHTS = (2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6)


def _with_check_digit(body: str) -> str:
    total = sum(int(digit) * weight for digit, weight in zip(reversed(body), _WEIGHTS, strict=False))
    remainder = total % 11
    return body + ("0" if remainder <= 1 else str(11 - remainder))


class CodePool:
    """Draws resident codes and individual numbers that no one has held before.

    Source: Act art. 30-2 (a code is never given twice).
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._used: set[str] = set()

    def draw_resident_code(self) -> str:
        """Draw a new resident code of 11 digits."""
        return self._draw(_RESIDENT_DIGITS)

    def draw_individual_number(self) -> str:
        """Draw a new individual number of 12 digits."""
        return self._draw(_NUMBER_DIGITS)

    def _draw(self, digits: int) -> str:
        free = digits - len(_RESERVED)
        while True:
            body = f"{_RESERVED}{self._rng.randrange(10**free):0{free}d}"
            # Resident codes and individual numbers differ in length, so one set keeps both apart.
            if body not in self._used:
                self._used.add(body)
                return _with_check_digit(body)
