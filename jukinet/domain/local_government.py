"""Local government code (全国地方公共団体コード): prefecture (2 digits), municipality (3) and check digit (1).

Whether a body of that code exists is not asked: municipalities merge, and a synthetic nation has its own.

Source: JIS X 0401 and X 0402 for the first five digits; the check digit has weights 6 to 2 and modulus 11, and its last
digit counts: remainder 0 gives 1 and remainder 1 gives 0, unlike the individual number.
"""

from functools import lru_cache
from operator import mul

LENGTH = 6
BODY_LENGTH = 5
_WEIGHTS = (6, 5, 4, 3, 2)
_ASCII_ZEROS = ord("0") * sum(_WEIGHTS)
_PREFECTURES = 47


def check_digit(body: str) -> str:
    """Compute the check digit of a local government code.

    Args:
        body: the five digits before the check digit, ASCII.

    Returns:
        One digit.
    """
    return str((11 - (sum(map(mul, _WEIGHTS, body.encode())) - _ASCII_ZEROS) % 11) % 10)


@lru_cache(maxsize=4096)  # Some 1,800 codes exist; what is wrong must not fill memory.
def is_local_government_code(code: str) -> bool:
    """Tell whether a text is a code of a prefecture (01 to 47) or a municipality, with the right check digit."""
    return (
        len(code) == LENGTH
        and code.isascii()
        and code.isdigit()
        and 1 <= int(code[:2]) <= _PREFECTURES
        and check_digit(code[:BODY_LENGTH]) == code[-1]
    )


def is_municipality_code(code: str) -> bool:
    """Tell whether a text is a code of a municipality (市町村, 特別区)."""
    return is_local_government_code(code) and code[2:BODY_LENGTH] != "000"


def is_prefecture_code(code: str) -> bool:
    """Tell whether a text is the six-digit code of a prefecture (都道府県), such as 130001."""
    return is_local_government_code(code) and code[2:BODY_LENGTH] == "000"


def prefecture_of(code: str) -> str:
    """Name the prefecture of a municipality.

    Args:
        code: local government code, six digits.

    Returns:
        The two digits of the prefecture: the scope of its node.
    """
    return code[:2]


def prefecture_code_of(code: str) -> str:
    """Name the prefecture of a municipality by its six-digit code.

    Args:
        code: local government code, six digits.

    Returns:
        Such as 130001 for 131016.
    """
    body = code[:2] + "000"
    return body + check_digit(body)
