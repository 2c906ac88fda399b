"""Keys of an agency's certificates as they stand in the agency directory: `jukinet agencies key FILE` prints them.

Rule: each is the SHA-256 of the certificate's public key (SubjectPublicKeyInfo) in 64 small hexadecimal digits, so one
key has one spelling. It stays when a certificate is renewed for the same key. One that stands twice in a directory is a
mistake, and the directory does not load.

Source: RFC 7469 section 2.4; docs/decisions/0088-the-directory-lists-keys-of-certificates.md.
"""

import re

_DIGEST = re.compile(r"[0-9a-f]{64}")


def read_certificates(entry: object) -> frozenset[str]:
    """Reads the `certificates` of one agency.

    Raises:
        ValueError: it is no list of digests, or one stands in it twice.
    """
    if not isinstance(entry, list) or not all(isinstance(each, str) and _DIGEST.fullmatch(each) for each in entry):
        raise ValueError("must be a list of keys, each the SHA-256 of a public key in 64 small hexadecimal digits")
    if len(set(entry)) < len(entry):
        raise ValueError("a key stands twice")
    return frozenset(entry)
