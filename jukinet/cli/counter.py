"""A counter (窓口) that calls the disclosure node: its certificate, its key for checks, and the resident before it.

Rule: the resident code comes from a file or from standard input, never from the command line, whose words every user of
the machine can read.
"""

import asyncio
import sys
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from jukinet.cli.connect import Target, TlsOptions, by_files, channel_to, in_mesh
from jukinet.cli.layout import DISCLOSURE, Mesh, folder_name
from jukinet.cli.output import Exit, Failure, fail_call

if TYPE_CHECKING:
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import Affair, SignedIdentityCheck
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import DisclosureServiceAsyncStub
    from jukinet.mesh.identity import Identity

R = TypeVar("R")


@dataclass(frozen=True)
class Counter:
    """A counter that can call: where, as whom, and with which key it signs its checks of identity."""

    target: Target
    identity: "Identity"
    check_key: Path

    def check(self, resident: Path, *, affair: "Affair.ValueType", clerk: str, proof: str) -> "SignedIdentityCheck":
        """Signs that a clerk has just made sure who a resident is.

        Args:
            resident: text file with the resident code; `-` = standard input.
            affair: what for.
            clerk: the counter's own id of the clerk.
            proof: how, such as `photo-document`.
        Raises:
            Failure: a file cannot be read, or there is no such way.
        """
        from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import IdentityCheck, IdentityProof
        from jukinet.mesh.clock import now
        from jukinet.mesh.pki import PkiError, load_signing_key
        from jukinet.purpose.identity_check import sign_check

        names = {
            name.removeprefix("IDENTITY_PROOF_").lower().replace("_", "-"): IdentityProof.Value(name)
            for name in IdentityProof.keys()[1:]  # an enum of protobuf, not a dictionary
        }
        if proof not in names:
            raise Failure(f"--proof is one of {', '.join(names)}.", Exit.USAGE)
        check = IdentityCheck(
            id=str(uuid.uuid4()),
            counter=self.identity.uri,
            clerk=clerk,
            resident_code=_read_code(resident),
            proof=names[proof],
            affair=affair,
        )
        check.checked_at.FromDatetime(now())
        try:
            return sign_check(check, load_signing_key(self.check_key))
        except PkiError as error:
            raise Failure(str(error), Exit.CONFIGURATION) from None

    def call(self, ask: "Callable[[DisclosureServiceAsyncStub], Awaitable[R]]", *, under: str = "") -> R:
        """Calls the disclosure node.

        Args:
            ask: makes the call.
            under: number of the request, where the call bears a check of identity: it is made once more when its answer
                is lost, for the same check is answered the same.
        Raises:
            Failure: refused, or no answer.
        """
        return asyncio.run(self._call(ask, under))

    async def _call(self, ask: "Callable[[DisclosureServiceAsyncStub], Awaitable[R]]", under: str) -> R:
        import grpc

        from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import DisclosureServiceStub
        from jukinet.mesh.errors import reason_of

        async with channel_to(self.target) as channel:
            stub = DisclosureServiceStub(channel)
            try:
                return await ask(stub)
            except grpc.aio.AioRpcError as error:
                if reason_of(error) or not under:
                    fail_call(error, self.target.address)
            try:
                return await ask(stub)
            except grpc.aio.AioRpcError as error:
                shown = f"`jukinet disclosure requests` shows under {under}"
                then = f"Whether it was done all the same, {shown}: look there before you ask again."
                fail_call(error, self.target.address, then=then)


def id_of(signed: "SignedIdentityCheck") -> str:
    """The id of a check, which is the number of the request that is made with it."""
    from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import IdentityCheck

    return IdentityCheck.FromString(signed.check).id


def open_counter(mesh: Path | None, name: str | None, options: TlsOptions, check_key: Path | None) -> Counter:
    """Finds a counter by a mesh's folder and its name, or by its files.

    Raises:
        Failure: something is missing, or cannot be read.
    """
    from jukinet.mesh.identity import Identity, IdentityError

    if mesh is None:
        if check_key is None or options.certificate is None:
            raise Failure("Say --mesh DIR; or --to, --certificate, --key, --nodes-ca and --check-key.", Exit.USAGE)
        return Counter(by_files(options), _owner(options.certificate), check_key)
    found = Mesh.open(mesh)
    try:
        identity = Identity("counter", name or found.registers[-1].rpartition("-")[2])
    except IdentityError as error:
        raise Failure(f"--counter: {error}", Exit.USAGE) from None
    target = in_mesh(found, DISCLOSURE, identity)
    return Counter(target, identity, check_key or found.root / "clients" / folder_name(identity) / "check.key")


def _owner(certificate: Path) -> "Identity":
    from cryptography import x509

    from jukinet.mesh.identity import IdentityError, identity_in

    try:
        return identity_in(x509.load_pem_x509_certificate(certificate.read_bytes()))
    except (OSError, ValueError, x509.ExtensionNotFound, IdentityError) as error:
        raise Failure(
            f"{certificate} is no counter's certificate ({type(error).__name__}).", Exit.CONFIGURATION
        ) from None


def _read_code(source: Path) -> str:
    try:
        text = sys.stdin.read() if str(source) == "-" else source.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(
            f"{source}: {type(error).__name__}. A file with the resident code is wanted.", Exit.USAGE
        ) from None
    code = text.strip()
    if not (code.isascii() and code.isdecimal() and len(code) == 11):
        raise Failure(f"{source} does not hold eleven digits.", Exit.USAGE)
    return code
