"""Operators of agencies (操作者) on the clients' side: every question of a journey is signed as it is sent."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.recall.v1 import recall_pb2 as recall
from jukinet._pb.jukinet.watch.v1 import watch_pb2 as watch
from jukinet.cli.layout import Mesh
from jukinet.mesh.clock import now
from jukinet.mesh.identity import Identity, IdentityError, identity_in
from jukinet.mesh.pki import load_signing_key
from jukinet.purpose.operator_proof import sign

OPERATOR = "op-8"
"""Who asks in a journey, beside the command line with its own certificate: there it is `op-7`."""
_QUESTIONS: dict[str, Any] = {
    "/jukinet.inquiry.v1.InquiryService/Inquire": inquiry.InquireRequest,
    "/jukinet.inquiry.v1.InquiryService/VerifyIdentity": inquiry.VerifyIdentityRequest,
    "/jukinet.inquiry.v1.InquiryService/InquireBatch": inquiry.InquireBatchRequest,
    "/jukinet.watch.v1.WatchService/Watch": watch.WatchRequest,
    "/jukinet.watch.v1.WatchService/EndWatch": watch.EndWatchRequest,
    "/jukinet.watch.v1.WatchService/WatchChanges": watch.WatchChangesRequest,
    "/jukinet.recall.v1.RecallService/TellRecalls": recall.TellRecallsRequest,
}


class Desk:
    """What an agency's clients sign with: one certificate, and the keys of all its operators.

    Args:
        mesh: where the keys lie; an operator who has none there signs by a key that nobody knows.
        certificate: PEM file.
    """

    def __init__(self, mesh: Mesh, certificate: Path) -> None:
        self._mesh = mesh
        self._unknown = Ed25519PrivateKey.generate()
        leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
        self.identity: Identity | None
        try:
            self.identity = identity_in(leaf)
        except (IdentityError, x509.ExtensionNotFound):
            self.identity = None
        self._certificate = leaf.fingerprint(hashes.SHA256())

    @property
    def interceptors(self) -> list[grpc.aio.ClientInterceptor]:
        """For a channel of the agency; none where somebody else calls."""
        if self.identity is None or self.identity.kind not in ("agency", "private"):
            return []
        return [_OneQuestion(self), _ManyQuestions(self)]

    def signed(self, question: Any) -> Any:
        """A copy of a question with the proof of its operator; one that has a proof stays as it is."""
        if question.context.HasField("operator_proof") or self.identity is None:
            return question
        copy = type(question)()
        copy.CopyFrom(question)
        name = question.context.operator
        path = self._mesh.operator_key(self.identity, name) if name.isascii() else None
        key = load_signing_key(path) if path and path.exists() else self._unknown
        return sign(copy, key, agency=self.identity.uri, certificate=self._certificate, now=now())

    def of_any_form(self, method: str | bytes, question: Any) -> Any:
        """The same for a question that is bytes already; what is no question stays as it is."""
        kind = _QUESTIONS.get(method.decode() if isinstance(method, bytes) else method)
        if kind is None:
            return question
        if not isinstance(question, bytes):
            return self.signed(question)
        try:
            parsed = kind.FromString(question)
        except DecodeError:
            return question
        return self.signed(parsed).SerializeToString() if parsed.HasField("context") else question


class _OneQuestion(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(client_call_details, self._desk.of_any_form(client_call_details.method, request))


class _ManyQuestions(grpc.aio.StreamStreamClientInterceptor):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        async def signed() -> AsyncIterator[Any]:
            if hasattr(request_iterator, "__aiter__"):
                async for request in request_iterator:
                    yield self._desk.of_any_form(client_call_details.method, request)
            else:
                for request in request_iterator:
                    yield self._desk.of_any_form(client_call_details.method, request)

        return await continuation(client_call_details, signed())
