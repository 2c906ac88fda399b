"""A digest is the one of RFC 2104, under a key that was used before and under one that was not."""

import hmac

from hypothesis import given
from hypothesis import strategies as st

from jukinet.mesh.mac import mac, mac_once


@given(asked=st.lists(st.tuples(st.sampled_from([bytes(32), b"k" * 32, b"", b"long" * 40]), st.binary(max_size=200))))
def test_each_message_has_the_digest_that_it_has_alone(asked: list[tuple[bytes, bytes]]) -> None:
    assert [mac(key, message) for key, message in asked] == [
        hmac.digest(key, message, "sha256") for key, message in asked
    ]


@given(
    key=st.binary(max_size=130) | st.sampled_from([bytes(63), bytes(64), bytes(65)]), message=st.binary(max_size=200)
)
def test_a_message_under_a_key_of_its_own_has_the_same_digest(key: bytes, message: bytes) -> None:
    assert mac_once(key, message) == hmac.digest(key, message, "sha256")
