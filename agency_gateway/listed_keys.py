"""Whether an agency calls with a certificate whose key the agency directory lists for it.

Rule: the CA of the agencies says whose a certificate is, and the directory says which keys are his. A certificate for
another key is refused at every RPC, for a CA may err or be in somebody's hands; so is every certificate of an agency
that lists no key. Who is no agency of the directory is not judged here: the law's policy refuses whatever he asks.

The refusal is that of the table of callers, so whoever holds such a certificate learns nothing by it. The log and a
counter tell the network's operators. A private organisation hears of its ban instead (`InquiryService.note_refusal`).

Source: docs/decisions/0088-the-directory-lists-keys-of-certificates.md.
"""

import logging

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.mesh import metrics
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Peer
from jukinet.purpose.agencies import AgencyDirectory

log = logging.getLogger(__name__)


def warn_of_unlisted(directory: AgencyDirectory) -> None:
    """Tells the network's operators which agencies list no key, and so get no answer."""
    for agency in directory.values():
        if not agency.certificates:
            log.warning("an agency lists no key of a certificate: it gets no answer", extra={"peer": agency.spiffe_id})


def require_listed_key(directory: AgencyDirectory, peer: Peer) -> None:
    """Refuses an agency that calls with a certificate for another key than it lists.

    Args:
        directory: the agencies with the keys of their certificates, by SPIFFE ID.
        peer: who calls, by the certificate that TLS and its CA verified.

    Raises:
        Refused: CALLER_NOT_ALLOWED.
    """
    agency = directory.get(peer.identity.uri)
    if agency is None or peer.key in agency.certificates:
        return
    metrics.key_not_listed()
    # The certificate in the form in which `tls.denied` takes it.
    told = "a certificate has a key that its agency does not list: key %s, certificate sha256:%s"
    log.warning(told, peer.key, peer.fingerprint, extra={"peer": agency.spiffe_id})
    raise Refused(errors.ERROR_REASON_CALLER_NOT_ALLOWED, detail=f"key {peer.key} is not listed")
