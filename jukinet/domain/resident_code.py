"""Resident code (住民票コード): ten random digits and one check digit.

The check digit exists to detect errors of input. The order says that there is one; the notice that sets its formula is
not published with it. `check_digit` follows the scheme that other implementers use (modulus 11, weights 2 to 7 from the
right, as the individual number has) and is the only place that knows it: put another formula there and all follows.
Remainders 0 and 1 both give 0, so an error that turns one into the other goes unseen; every other error of one digit is
detected.

Source: Rules art. 1, Act art. 30-2, 30-3.
"""

from collections.abc import Callable
from operator import mul

LENGTH = 11
BODY_LENGTH = 10
SYNTHETIC_PREFIX = "00"
"""Bodies that begin so are kept for synthetic people."""

_WEIGHTS = (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
_ASCII_ZEROS = ord("0") * sum(_WEIGHTS)


def check_digit(body: str) -> str:
    """Compute the check digit of a resident code.

    Args:
        body: the ten digits before the check digit, ASCII.

    Returns:
        One digit.

    Source: Rules art. 1; weights and the treatment of remainder 0 after other implementers.
    """
    remainder = (sum(map(mul, _WEIGHTS, body.encode())) - _ASCII_ZEROS) % 11
    return "0" if remainder <= 1 else str(11 - remainder)


def is_resident_code(code: str) -> bool:
    """Tell whether a text is a resident code: eleven ASCII digits, the last one the right check digit."""
    return len(code) == LENGTH and code.isascii() and code.isdigit() and check_digit(code[:BODY_LENGTH]) == code[-1]


def generate(draw_digits: Callable[[int], str], *, prefix: str = "") -> str:
    """Make a resident code from random digits.

    Whether the code is free is not decided here: the center never gives out a code twice (Act art. 30-2).

    Args:
        draw_digits: gives as many random ASCII digits as it is asked for, such as
            `lambda n: "".join(secrets.choice("0123456789") for _ in range(n))`.
        prefix: digits that the body begins with, such as `SYNTHETIC_PREFIX`; at most ten.

    Returns:
        Eleven digits with the right check digit.

    Raises:
        ValueError: when prefix and drawn digits are not ten ASCII digits together.

    Source: Rules art. 9 (drawn at random).
    """
    body = prefix + draw_digits(BODY_LENGTH - len(prefix))
    if len(body) != BODY_LENGTH or not (body.isascii() and body.isdigit()):
        raise ValueError("the source must give exactly as many ASCII digits as it is asked for")
    return body + check_digit(body)
