"""Marks of what an agency holds already, so that a person who did not change is not provided twice (二重照会の防止).

Rule: a mark says nothing but whether the same question has the same answer. The center makes it from the question, the
person and all that is provided, under its own key, and keeps none: it makes the mark anew and compares. A mark that is
altered, or of another agency, row, person, wording of the question or set of items, is simply not the same, and the
answer is given in full. So nothing can be tried out with it: whoever may hear "unchanged" may hear the values.

Source: Act art. 30-9 and following (provision as far as the affair needs it); RFC 2104 (HMAC).
"""

import hmac
from collections.abc import Callable
from functools import partial
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import ProvidedRecord, Subject
from jukinet._pb.jukinet.provision.v1.provision_pb2 import Ticket
from jukinet.mesh.mac import mac

_CONTEXT: Final = b"jukinet held mark v1"


class HeldMarks:
    """Makes marks; `root_key` is the center's, 32 bytes."""

    def __init__(self, root_key: bytes) -> None:
        self._key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_CONTEXT).derive(root_key)

    def of_ticket(self, ticket: Ticket) -> Callable[[Subject, str, ProvidedRecord], bytes]:
        """What makes the mark, 32 bytes, of each answer under a ticket.

        Args:
            ticket: its agency, row and items count, in any order of the items.

        Returns: a function of
            the person as asked about: another wording has another mark, or two marks would tell that a number and a
                name are one person's;
            the resident code of the person who was found;
            the items, cut to what is provided.
        """
        return partial(
            self._mark, _framed(ticket.agency.encode(), ticket.purpose.encode(), bytes(sorted(ticket.fields)))
        )

    def _mark(self, asked: bytes, subject: Subject, resident_code: str, provided: ProvidedRecord) -> bytes:
        whom = subject.SerializeToString(deterministic=True)
        return mac(
            self._key,
            asked + _framed(whom, resident_code.encode(), provided.SerializeToString(deterministic=True)),
        )


def _framed(*parts: bytes) -> bytes:
    """Parts, each behind its length, so that none can pass for another."""
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])


def is_held(mark: bytes, *, held: bytes) -> bool:
    """Whether what the agency holds is what it would be provided now; `held` is what it said, empty for nothing."""
    return hmac.compare_digest(mark, held)
