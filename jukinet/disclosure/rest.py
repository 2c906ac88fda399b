"""The REST face of disclosure, for portals (ポータル): the three operations of a data tracker, as `openapi.json` says.

Rules:

1. Who calls is whom the client certificate names, over mutual TLS, by the same table of callers as gRPC: a counter. Who
   the resident is says the counter's signed check of identity, in the Authorization header, for ten minutes.
2. Nothing about a resident stands in an address: proxies and servers write addresses down. A parameter that
   `openapi.json` does not name is refused, a personal code first of all.
3. What is refused looks as over gRPC: a reason of the catalogue, its fixed text and an opaque id.
4. Whoever calls is known before anything is said, of an unknown path or method too, and nothing redirects: the address
   would come again in the answer.
5. An answer's length is a multiple of a page's, whatever it says.

Source: the operations findUsage, usagePeriod and heartbeat are those of Estonia's Data Tracker (Andmejälgija).
"""

import base64
import binascii
import json
import logging
import re
import secrets
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from importlib import resources
from typing import Any, Final

from cryptography import x509
from google.protobuf.message import DecodeError
from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.assembly.reading import read_for_caller
from jukinet.disclosure import mirror_store
from jukinet.disclosure.mirror import Mirror
from jukinet.disclosure.rest_server import REQUEST_SECONDS
from jukinet.disclosure.usage import PAGE_ROWS, PART_ROWS, ROW_BYTES, Period, first_of_longest
from jukinet.disclosure.usage_desk import UsageDesk
from jukinet.disclosure.usage_rows import contradicted, rows_of, until
from jukinet.mesh import clock
from jukinet.mesh.callers import network_callers
from jukinet.mesh.errors import Refused, facts_of, name_of
from jukinet.mesh.identity import Identity, IdentityError, Trust, identity_in

log = logging.getLogger(__name__)

OPENAPI: Final = resources.files(__package__).joinpath("openapi.json").read_bytes()
_RPC: Final = "/jukinet.disclosure.v1.DisclosureService/FindUsage"
_PAGE_BYTES: Final = PAGE_ROWS * ROW_BYTES
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOST: Final = 1000
_LAST: Final = 999_999
_HTTP: Final = {3: 400, 5: 404, 7: 403, 8: 429, 9: 409, 14: 503, 16: 401}
"""HTTP status by gRPC code; 500 for any other."""
_FULL: Final = {errors.ERROR_REASON_OVERLOADED: 503, errors.ERROR_REASON_CALLER_AT_LIMIT: 429}
"""HTTP status where there is no place for the connection: it is the node's limit, or the caller's share of it."""
_PARAMETERS: Final = {"first_day": "periodStart", "last_day": "periodEnd"}
"""What a field of the call over gRPC is called here."""
_HEADERS: Final = {"Cache-Control": "no-store"}

Handler = Callable[[Request, str], Awaitable[Response]]


class _HttpRefused(Refused):
    """A refusal that HTTP has a status of its own for, with a header that belongs to it (RFC 9110 section 15.5)."""

    def __init__(
        self, reason: "errors.ErrorReason.ValueType", status: int, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or {}


class Face:
    """Answers portals.

    Args:
        node: this node.
        usage: tells who received a record.
        mirrors: of all ledgers.
        reader: engine of the node's database.
        trust: gives the CAs and the deny list in force.
    """

    def __init__(
        self,
        *,
        node: Identity,
        usage: UsageDesk,
        mirrors: Sequence[Mirror],
        reader: Engine,
        trust: Callable[[], Trust],
    ) -> None:
        self._node = node
        self._usage = usage
        self._mirrors = mirrors
        self._reader = reader
        self._trust = trust

    def app(self) -> ASGIApp:
        """The application.

        Each request's state holds the client's `certificate` in DER, and as `no_place` the refusal of the connection
        that it came on; None where that has a place.
        """
        handlers: dict[str, Handler] = {
            "/v2/findUsage": self._find_usage,
            "/v2/usagePeriod": self._usage_period,
            "/v2/heartbeat": self._heartbeat,
            "/openapi.json": self._openapi,
        }

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await self._answer(Request(scope, receive), handlers)
            await response(scope, receive, send)

        return answer

    async def _answer(self, request: Request, handlers: Mapping[str, Handler]) -> Response:
        """What anybody hears. A router would answer, and redirect, in words of its own before it is known who calls."""
        closing = {"Connection": "close"}
        try:
            counter = self._caller(request)
            closing = {}
            handler = handlers.get(request.scope["path"])
            if handler is None:
                raise _HttpRefused(errors.ERROR_REASON_NOT_IMPLEMENTED, 404)
            # HEAD neither: it would be the resident's question of the day, and tell nothing.
            if request.method != "GET":
                raise _HttpRefused(errors.ERROR_REASON_NOT_IMPLEMENTED, 405, {"Allow": "GET"})
            return await handler(request, counter)
        except Refused as refused:
            return _problem(refused, closing)
        except Exception as failure:  # its text may hold personal data
            log.error("a request failed", extra={"error_type": type(failure).__name__})
            return _problem(Refused(errors.ERROR_REASON_UNSPECIFIED), closing)

    def _caller(self, request: Request) -> str:
        """SPIFFE ID of the counter that calls.

        Raises Refused: IDENTITY_UNCLEAR, CALLER_NOT_ALLOWED, OVERLOADED, CALLER_AT_LIMIT.
        """
        try:
            leaf = ssl.DER_cert_to_PEM_cert(request.state.certificate).encode()
            identity = identity_in(x509.load_pem_x509_certificate(leaf))
        except (AttributeError, ValueError, IdentityError, x509.ExtensionNotFound):
            raise Refused(errors.ERROR_REASON_IDENTITY_UNCLEAR) from None
        peer = self._trust().peer_of(leaf, identity.uri)
        peer.require_valid(clock.now())
        if not network_callers().allows(_RPC, peer.identity, self._node):
            raise Refused(errors.ERROR_REASON_CALLER_NOT_ALLOWED)
        if request.state.no_place:
            raise request.state.no_place
        return peer.identity.uri

    async def _find_usage(self, request: Request, counter: str) -> Response:
        asked = _parameters(request, "periodStart", "periodEnd", "offset", "limit")
        signed = _check(request)
        last = _day(asked, "periodEnd", _day_of(signed))
        period = Period(_day(asked, "periodStart", first_of_longest(last)), last)
        offset = _number(asked, "offset", 0, least=0, most=_LAST)
        limit = _number(asked, "limit", _MOST, least=1, most=_MOST)
        first_row = offset - offset % PART_ROWS
        answer = await self._usage.find(counter, signed, period, first_row)
        usage = disclosure.Usage.FromString(answer.usage)
        rows = rows_of(usage)
        return _json(
            {
                "usages": [_tracked(row) for row in rows[offset - first_row :][:limit]],
                "offset": offset,
                "limit": limit,
                "total": usage.total_rows,
                "sealed": sum(each.sealed for each in usage.ledgers),
                "verifiedUntil": until(usage),
                "contradicted": contradicted(usage),
                "notice": usage.notice,
                "answer": {
                    "usage": base64.b64encode(answer.usage).decode(),
                    "signature": base64.b64encode(answer.signature).decode(),
                },
            }
        )

    async def _usage_period(self, request: Request, _counter: str) -> Response:
        _parameters(request)
        first = await read_for_caller(self._reader, mirror_store.first_moment)
        begin = first.astimezone(clock.JAPAN).date().isoformat() if first else None
        return _json({"periodStart": begin, "periodEnd": clock.today_in_japan().isoformat()})

    async def _heartbeat(self, request: Request, _counter: str) -> Response:
        _parameters(request)
        ledgers = []
        for mirror in self._mirrors:
            status = admin.MirrorStatus()
            mirror.describe(status)
            state = admin.MirrorState.Name(status.state).removeprefix("MIRROR_STATE_")
            ledgers.append({"ledger": mirror.origin, "state": state, "entries": status.entries})
        sound = all(each["state"] == "VERIFIED" for each in ledgers)
        return _json({"status": "OK" if sound else "DEGRADED", "ledgers": ledgers})

    async def _openapi(self, request: Request, _counter: str) -> Response:
        _parameters(request)
        return Response(OPENAPI, 200, _HEADERS, "application/json")


def _check(request: Request) -> disclosure.SignedIdentityCheck:
    """The counter's word about the resident, out of the header. Raises Refused: IDENTITY_CHECK_INVALID."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip(" ")
    padded = token + "=" * (-len(token) % 4)
    try:
        if scheme.lower() != "bearer":
            raise ValueError
        return disclosure.SignedIdentityCheck.FromString(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, DecodeError):
        raise Refused(errors.ERROR_REASON_IDENTITY_CHECK_INVALID, detail="no check in the header") from None


def _day_of(signed: disclosure.SignedIdentityCheck) -> date:
    """Day in Japan of a check that may be refused yet: it is the same one for all parts of an answer over midnight."""
    today = clock.today_in_japan()
    try:
        made = disclosure.IdentityCheck.FromString(signed.check).checked_at
        return min(made.ToDatetime(clock.JAPAN).date(), today)
    except (DecodeError, ValueError, OverflowError):
        return today


def _parameters(request: Request, *known: str) -> dict[str, str]:
    asked = request.query_params.multi_items()
    if len(dict(asked)) < len(asked) or not {name for name, _ in asked} <= set(known):
        raise Refused(errors.ERROR_REASON_INVALID_MESSAGE, field="query")
    return dict(asked)


def _day(asked: dict[str, str], name: str, otherwise: date) -> date:
    text = asked.get(name)
    if text is None:
        return otherwise
    try:
        if _DAY.fullmatch(text):  # fromisoformat reads weeks too
            return date.fromisoformat(text)
    except ValueError:
        pass  # such as 30 February
    raise Refused(errors.ERROR_REASON_INVALID_MESSAGE, field=name)


def _number(asked: dict[str, str], name: str, otherwise: int, *, least: int, most: int) -> int:
    text = asked.get(name)
    if text is None:
        return otherwise
    if text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    raise Refused(errors.ERROR_REASON_INVALID_MESSAGE, field=name)


def _tracked(row: dict[str, Any]) -> dict[str, Any]:
    """One provision in the names of a data tracker, and what it says more here."""
    return {
        "logtime": row["time"],
        "action": f"{row['affair_ja'] or row['purpose']}（{row['function_ja']}、{row['outcome_ja']}）",
        "receiverCode": row["recipient"],
        "receiverName": row["recipient_ja"] or row["recipient"],
        "receiverSystem": row["ledger"],
        "provider": row["provider"],
        "purpose": row["purpose"],
        "article": row["article"],
        "items": row["items"],
        "index": row["index"],
    }


def _json(content: dict[str, Any]) -> Response:
    body = json.dumps(content, ensure_ascii=False).encode()
    # White space at the end is nothing to JSON.
    return Response(body + b" " * (-len(body) % _PAGE_BYTES), 200, _HEADERS, "application/json")


def _problem(refused: Refused, closing: Mapping[str, str]) -> Response:
    facts, error_id = facts_of(refused.reason), secrets.token_hex(8)
    log.info("refused over REST", extra={"reason": name_of(refused.reason), "error_id": error_id})
    field = _PARAMETERS.get(refused.field, refused.field)
    problem = {"reason": name_of(refused.reason), "message": facts.message, "field": field, "errorId": error_id}
    body = json.dumps(problem, ensure_ascii=False).encode()
    status, more = _HTTP.get(facts.code, 500), {}
    if isinstance(refused, _HttpRefused):
        status, more = refused.status, dict(refused.headers)
    elif refused.reason == errors.ERROR_REASON_IDENTITY_CHECK_INVALID:
        status = 401  # the check is the credential here: over gRPC, where it is a field, the caller is known already
    elif refused.reason in _FULL:
        status, more = _FULL[refused.reason], {"Retry-After": f"{REQUEST_SECONDS:.0f}"}
    if status == 401:
        more = {"WWW-Authenticate": "Bearer"}
    return Response(body, status, {**_HEADERS, **closing, **more}, "application/json")
