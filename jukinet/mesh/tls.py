"""TLS of a node: mutual, re-read from disk when certificates are renewed.

Rule: a server asks every caller for a certificate and takes the CAs of the trust domains that it serves; a client takes
the CA of the nodes only. New certificates count from the next handshake on, without a restart.

The server's identity: gRPC's client compares the server certificate with a DNS name and not with a URI. A server's leaf
therefore carries the DNS form of its identity (`131016.municipality.nodes.jukinet`) beside its one SPIFFE URI, and a
client asks for exactly that name. Measured with grpcio 1.85.1: a leaf with the URI alone fails the host name check
whatever `grpc.ssl_target_name_override` says, in the forms `spiffe://…` and `[spiffe://…]` too. Python's client
does not expose the server's certificate, so nothing more can be looked at after the handshake.
"""

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from jukinet.mesh.identity import AGENCIES, NODES, OPERATORS, Trust, load_trust
from jukinet.mesh.setting import ROLES, Setting

_log = logging.getLogger(__name__)


class TlsError(ValueError):
    """A certificate, key or CA file cannot be used. Check the paths in [tls] and that the key fits the certificate."""


@dataclass(frozen=True)
class TlsFiles:
    """Where the TLS material of a process lies, all in PEM."""

    certificate: Annotated[Path, Setting("own leaf; names the node's identity", "PEM file", needed_by=ROLES)]
    key: Annotated[Path, Setting("its private key", "PEM file", needed_by=ROLES)]
    nodes_ca: Annotated[
        Path, Setting("CA of the nodes, for callers and for servers that are dialled", "PEM file", needed_by=ROLES)
    ]
    agencies_ca: Annotated[Path | None, Setting("CA of the agencies; absent = no agency is taken here", "PEM file")] = (
        None
    )
    operators_ca: Annotated[
        Path | None, Setting("CA of the operators; absent = no operator is taken here", "PEM file")
    ] = None
    denied: Annotated[
        Path | None,
        Setting(
            "refused though their certificate still holds: one SPIFFE ID or `sha256:` fingerprint a line", "text file"
        ),
    ] = None

    @property
    def authorities(self) -> dict[str, Path | None]:
        """CA file of each trust domain."""
        return {NODES: self.nodes_ca, AGENCIES: self.agencies_ca, OPERATORS: self.operators_ca}

    def paths(self) -> list[Path]:
        """All files, in a fixed order."""
        return [self.certificate, self.key, *(path for path in (*self.authorities.values(), self.denied) if path)]


@dataclass(frozen=True, slots=True)
class _Material:
    certificate: bytes
    key: bytes
    roots: bytes
    trust: Trust


class TlsMaterial:
    """What the files hold now. Read again when a file changed; kept as it was while new files do not fit together.

    Args:
        files: where to read.
        recheck_seconds: how old the knowledge of the files may be between handshakes, in seconds.

    Raises:
        TlsError: the files cannot be used at the start.
    """

    def __init__(self, files: TlsFiles, *, recheck_seconds: float = 1.0) -> None:
        self._files = files
        self._recheck_seconds = recheck_seconds
        self._checked = time.monotonic()
        self._lock = threading.Lock()  # gRPC asks from its own threads
        self._stamp = _stamp(files)
        self._current = _read(files)

    @property
    def trust(self) -> Trust:
        """CAs and deny list as they stand in the files, at most `recheck_seconds` ago."""
        now = time.monotonic()
        if now - self._checked >= self._recheck_seconds:
            self._checked = now
            self.refresh()
        return self._current.trust

    @property
    def server_configuration(self) -> "grpc.ServerCertificateConfiguration":
        """Certificate, key and CAs in gRPC's form."""
        now = self._current
        return grpc.ssl_server_certificate_configuration([(now.key, now.certificate)], root_certificates=now.roots)

    def refresh(self) -> bool:
        """Reads the files again if one changed.

        Returns:
            True when new material is in force.
        """
        with self._lock:
            stamp = _stamp(self._files)
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            try:
                self._current = _read(self._files)
            except TlsError as error:
                _log.warning("kept the TLS material in force: %s", error)
                return False
            return True


def server_credentials(material: TlsMaterial) -> grpc.ServerCredentials:
    """Makes a server's credentials: client certificate required, files looked at in every handshake.

    Args:
        material: the process's TLS material.
    """

    def renewed() -> "grpc.ServerCertificateConfiguration | None":
        return material.server_configuration if material.refresh() else None

    return grpc.dynamic_ssl_server_credentials(
        material.server_configuration,
        renewed,  # type: ignore[arg-type] # None means unchanged; the stubs do not say so
        require_client_authentication=True,
    )


def channel_credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    """Makes a client's credentials: own certificate, and the CA of the nodes for the server's.

    Args:
        files: read now; a client takes a renewed certificate with its next channel (gRPC cannot swap it).

    Raises:
        TlsError: the files cannot be used.
    """
    now = _read(files)
    return grpc.ssl_channel_credentials(files.nodes_ca.read_bytes(), now.key, now.certificate)


def _stamp(files: TlsFiles) -> tuple[tuple[int, int, int], ...]:
    def of(path: Path) -> tuple[int, int, int]:
        try:
            status = path.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    return tuple(of(path) for path in files.paths())


def _read(files: TlsFiles) -> _Material:
    try:
        certificate, key = files.certificate.read_bytes(), files.key.read_bytes()
        roots = b"\n".join(path.read_bytes() for path in files.authorities.values() if path)
        trust = load_trust(files.authorities, files.denied)
        leaf_key = x509.load_pem_x509_certificate(certificate).public_key()
        own_key = serialization.load_pem_private_key(key, password=None).public_key()
    except (OSError, ValueError, TypeError) as error:
        name = f" {error.filename}" if isinstance(error, OSError) else ""
        raise TlsError(f"{type(error).__name__}{name}. {TlsError.__doc__}") from None
    if leaf_key != own_key:
        raise TlsError(f"{files.key} is not the key of {files.certificate}. {TlsError.__doc__}")
    return _Material(certificate, key, roots, trust)
