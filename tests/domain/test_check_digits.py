"""Check digits: published vectors, and what the schemes promise to detect."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from jukinet.domain import individual_number, local_government, resident_code

# The first three stand on a specimen of a resident record in public test data (secondary); the rest is computed by hand
# from the scheme (derived). The rule for remainder 0 is unverified.
RESIDENT_CODES = [
    "24727059608",
    "24846016224",
    "25208017643",
    "01234567892",
    "98765432103",
    "00000000000",
    "12345678903",
    "00000000060",
]
# Published examples; the scheme is that of Ministerial Order no. 85 of 2014, art. 5 (verified).
INDIVIDUAL_NUMBERS = ["379474484458", "454972364860"]
# Verified against the PyPI package japancode 0.1.0.
LOCAL_GOVERNMENT_CODES = ["131016", "011002", "010006", "473821", "012025", "011011", "271004", "141003"]

DIGITS = "0123456789"


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text(DIGITS, min_size=count, max_size=count)


@pytest.mark.parametrize("code", RESIDENT_CODES)
def test_published_resident_codes_are_valid(code: str) -> None:
    assert resident_code.check_digit(code[:10]) == code[10]
    assert resident_code.is_resident_code(code)


@pytest.mark.parametrize("number", INDIVIDUAL_NUMBERS)
def test_published_individual_numbers_are_valid(number: str) -> None:
    assert individual_number.check_digit(number[:11]) == number[11]
    assert individual_number.is_individual_number(number)


@pytest.mark.parametrize("code", LOCAL_GOVERNMENT_CODES)
def test_published_local_government_codes_are_valid(code: str) -> None:
    assert local_government.check_digit(code[:5]) == code[5]
    assert local_government.is_local_government_code(code)


def weighted_remainder(body: str) -> int:
    """The scheme by its definition: P_n times Q_n from the lowest digit of the body."""
    return sum(int(digit) * (n + 1 if n <= 6 else n - 5) for n, digit in enumerate(reversed(body), start=1)) % 11


@given(body=digits(10))
def test_resident_code_follows_the_definition_from_the_lowest_digit(body: str) -> None:
    remainder = weighted_remainder(body)
    assert resident_code.check_digit(body) == ("0" if remainder <= 1 else str(11 - remainder))


@given(body=digits(11))
def test_individual_number_follows_the_definition_from_the_lowest_digit(body: str) -> None:
    remainder = weighted_remainder(body)
    assert individual_number.check_digit(body) == ("0" if remainder <= 1 else str(11 - remainder))


@example(body="0000000006", place=9, wrong="0")
@given(body=digits(10), place=st.integers(0, 10), wrong=st.sampled_from(DIGITS))
def test_one_wrong_digit_of_a_resident_code_is_detected_unless_both_remainders_give_zero(
    body: str, place: int, wrong: str
) -> None:
    code = body + resident_code.check_digit(body)
    mistaken = code[:place] + wrong + code[place + 1 :]
    assume(mistaken != code)
    blind = {weighted_remainder(code[:10]), weighted_remainder(mistaken[:10])} == {0, 1}
    assert resident_code.is_resident_code(mistaken) == (blind and place < 10)


@given(body=digits(11), place=st.integers(0, 11), wrong=st.sampled_from(DIGITS))
def test_one_wrong_digit_of_an_individual_number_is_detected_unless_both_remainders_give_zero(
    body: str, place: int, wrong: str
) -> None:
    number = body + individual_number.check_digit(body)
    mistaken = number[:place] + wrong + number[place + 1 :]
    assume(mistaken != number)
    blind = {weighted_remainder(number[:11]), weighted_remainder(mistaken[:11])} == {0, 1}
    assert individual_number.is_individual_number(mistaken) == (blind and place < 11)


@given(code=st.sampled_from(LOCAL_GOVERNMENT_CODES), place=st.integers(2, 5), wrong=st.sampled_from(DIGITS))
def test_one_wrong_digit_of_a_municipality_is_detected(code: str, place: int, wrong: str) -> None:
    mistaken = code[:place] + wrong + code[place + 1 :]
    assume(mistaken != code)
    # Remainders 1 and 0 give 0 and 1: unlike the other schemes, no two of them give the same digit but 0 and 10.
    remainders = {sum(w * int(d) for w, d in zip((6, 5, 4, 3, 2), c[:5], strict=True)) % 11 for c in (code, mistaken)}
    assert not local_government.is_local_government_code(mistaken) or remainders == {0, 10}


@pytest.mark.parametrize(
    "text", ["", "2472705960", "247270596088", "2472705960８", "２４７２７０５９６０８", "24727 59608"]
)
def test_what_is_not_eleven_ascii_digits_is_no_resident_code(text: str) -> None:
    assert not resident_code.is_resident_code(text)


@pytest.mark.parametrize("text", ["", "37947448445", "3794744844581", "37947448445８", "37947448445x"])
def test_what_is_not_twelve_ascii_digits_is_no_individual_number(text: str) -> None:
    assert not individual_number.is_individual_number(text)


@pytest.mark.parametrize("text", ["", "13101", "1310161", "13101６", "001015", "481017", "13101x"])
def test_what_lies_in_no_prefecture_is_no_local_government_code(text: str) -> None:
    assert not local_government.is_local_government_code(text)


def test_prefectures_and_municipalities_are_told_apart() -> None:
    assert local_government.is_prefecture_code("130001")
    assert not local_government.is_municipality_code("130001")
    assert local_government.is_municipality_code("131016")
    assert not local_government.is_prefecture_code("131016")


@given(code=st.sampled_from(LOCAL_GOVERNMENT_CODES))
def test_each_municipality_lies_in_a_prefecture_with_a_valid_code(code: str) -> None:
    assert local_government.prefecture_of(code) == code[:2]
    assert local_government.is_prefecture_code(local_government.prefecture_code_of(code))


@given(body=digits(10))
def test_generated_codes_are_valid_and_made_of_the_drawn_digits(body: str) -> None:
    code = resident_code.generate(lambda count: body[:count])
    assert resident_code.is_resident_code(code)
    assert code[:10] == body


@given(drawn=digits(8))
def test_synthetic_codes_lie_in_the_reserved_block(drawn: str) -> None:
    code = resident_code.generate(lambda count: drawn[:count], prefix=resident_code.SYNTHETIC_PREFIX)
    assert code.startswith("00")
    assert resident_code.is_resident_code(code)


@pytest.mark.parametrize("drawn", ["", "123456789", "12345678901", "12345678９0", "12345x7890"])
def test_a_source_that_gives_other_than_it_is_asked_for_makes_no_code(drawn: str) -> None:
    with pytest.raises(ValueError, match="exactly as many"):
        resident_code.generate(lambda count: drawn)
