"""Individual number (個人番号, My Number): eleven digits and one check digit.

Source: Ministerial Order no. 85 of 2014, art. 5: modulus 11, weights 2 to 7 from the right; remainders 0 and 1 give 0.
"""

from operator import mul

LENGTH = 12
BODY_LENGTH = 11
SYNTHETIC_PREFIX = "00"
"""Bodies that begin so are kept for synthetic people."""

_WEIGHTS = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
_ASCII_ZEROS = ord("0") * sum(_WEIGHTS)


def check_digit(body: str) -> str:
    """Compute the check digit of an individual number.

    Args:
        body: the eleven digits before the check digit, ASCII.

    Returns:
        One digit.

    Source: Ministerial Order no. 85 of 2014, art. 5.
    """
    remainder = (sum(map(mul, _WEIGHTS, body.encode())) - _ASCII_ZEROS) % 11
    return "0" if remainder <= 1 else str(11 - remainder)


def is_individual_number(number: str) -> bool:
    """Tell whether a text is an individual number: twelve ASCII digits, the last one the right check digit."""
    return (
        len(number) == LENGTH
        and number.isascii()
        and number.isdigit()
        and check_digit(number[:BODY_LENGTH]) == number[-1]
    )
