"""Small mistakes: a check digit that is wrong, a record with another address."""

from jukinet._pb.jukinet.register.v1 import identity_pb2


def wrong_digit(code: str) -> str:
    """The same digits with another check digit."""
    return code[:-1] + str((int(code[-1]) + 1) % 10)


def corrected(record: identity_pb2.IdentityRecord, **address: str) -> identity_pb2.IdentityRecord:
    """The record with another address."""
    copy = identity_pb2.IdentityRecord()
    copy.CopyFrom(record)
    for name, value in {"block": "9番", **address}.items():
        setattr(copy.address, name, value)
    return copy
