"""Marks of what an agency holds already, so that a person who did not change is not provided twice (二重照会の防止).

Rule: a mark says nothing but whether the same question has the same answer. The center makes it from the question, the
person and all that is provided, under its own key, and keeps none: it makes the mark anew and compares. A mark that is
altered, or of another agency, row, person, wording of the question or set of items, is simply not the same, and the
answer is given in full. So nothing can be tried out with it: whoever may hear "unchanged" may hear the values.

Source: Act art. 30-9 and following (provision as far as the affair needs it); RFC 2104 (HMAC).
"""

import hmac
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import ProvidedRecord, Subject
from jukinet._pb.jukinet.provision.v1.provision_pb2 import Ticket

_CONTEXT: Final = b"jukinet held mark v1"


class HeldMarks:
    """Makes marks; `root_key` is the center's, 32 bytes."""

    def __init__(self, root_key: bytes) -> None:
        self._key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_CONTEXT).derive(root_key)

    def of(self, ticket: Ticket, subject: Subject, resident_code: str, provided: ProvidedRecord) -> bytes:
        """The mark of an answer, 32 bytes.

        Args:
            ticket: of the question: its agency, row and items count, in any order of the items.
            subject: the person as asked about. Another wording has another mark, or two marks would tell that a number
                and a name are one person's.
            resident_code: of the person who was found.
            provided: the items, cut to what is provided.
        """
        parts = (
            ticket.agency.encode(),
            ticket.purpose.encode(),
            bytes(sorted(ticket.fields)),
            subject.SerializeToString(deterministic=True),
            resident_code.encode(),
            provided.SerializeToString(deterministic=True),
        )
        return hmac.digest(self._key, b"".join(len(part).to_bytes(4, "big") + part for part in parts), sha256)


def is_held(mark: bytes, *, held: bytes) -> bool:
    """Whether what the agency holds is what it would be provided now; `held` is what it said, empty for nothing."""
    return hmac.compare_digest(mark, held)
