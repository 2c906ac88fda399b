"""A digest under a key that was used before is the one of RFC 2104."""

import hmac

from hypothesis import given
from hypothesis import strategies as st

from jukinet.mesh.mac import mac


@given(asked=st.lists(st.tuples(st.sampled_from([bytes(32), b"k" * 32, b"", b"long" * 40]), st.binary(max_size=200))))
def test_each_message_has_the_digest_that_it_has_alone(asked: list[tuple[bytes, bytes]]) -> None:
    assert [mac(key, message) for key, message in asked] == [
        hmac.digest(key, message, "sha256") for key, message in asked
    ]
