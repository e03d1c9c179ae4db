"""Requests as they come off a connection: the head as received, the body as it arrives."""

from __future__ import annotations

from typing import cast

from aiohttp import ClientConnectionError, HttpVersion10, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError, TransferEncodingError
from aiohttp.web_request import BaseRequest

from gateway.connection import Connection
from gateway.errors import S3Error
from gateway.events import Trace
from gateway.messages import Headers, RequestHead


def read_head(request: BaseRequest) -> RequestHead:
    """The request as received: raw target, raw header bytes (S-T1, S-T5).

    An absolute-form target, as HAProxy passes it on, is taken apart; its authority must be the Host (S-T2, D21).
    """
    target = request.raw_path
    headers = Headers(
        [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.raw_headers]
    )
    if not target.startswith("/") and "://" in target:
        authority, slash, rest = target.partition("://")[2].partition("/")
        if (
            target.lower().startswith(("http://", "https://"))
            and authority.lower() == (headers.get("host") or "").lower()
        ):
            target = slash + rest or "/"
    path, _, query = target.encode("utf-8", "surrogateescape").decode("latin-1").partition("?")
    return RequestHead(
        method=request.method,
        path=path,
        query=query,
        headers=headers,
        http10=request.version <= HttpVersion10,
        peer=peer_of(cast(Connection, request.protocol)),
    )


def check_framing(head: RequestHead) -> None:
    """Refuse what the parser lets through although it has two readings (class HTP).

    Raises:
        S3Error: MethodNotAllowed for CONNECT and TRACE, BadRequest for a transfer coding that is not plain chunked.
    """
    if head.method in ("CONNECT", "TRACE"):
        raise S3Error("MethodNotAllowed", reason="malformed_http", Method=head.method, ResourceType="SERVICE")
    codings = head.headers.all("transfer-encoding")
    if codings and (head.http10 or [coding.strip(" \t").lower() for coding in codings] != ["chunked"]):
        raise S3Error("BadRequest", "The transfer coding is not supported.", reason="malformed_http")


def peer_of(connection: Connection) -> str:
    peer = connection.peername
    return str(peer[0]) if isinstance(peer, tuple) else str(peer or "")


class FrontBody:
    """`messages.Body` over aiohttp's payload stream."""

    def __init__(self, request: BaseRequest, head: RequestHead, trace: Trace, connection: Connection) -> None:
        self._content: StreamReader = request.content
        self._connection = connection
        self._trace = trace
        self.length = request.content_length
        self.chunked = "transfer-encoding" in head.headers
        self._wants_continue = not head.http10 and (head.headers.get("expect") or "").lower() == "100-continue"

    @property
    def waits_for_continue(self) -> bool:
        """Whether the client holds its body back for a "100 Continue" that it did not get."""
        return self._wants_continue and not self._content.is_eof()

    async def read(self) -> bytes:
        if self._wants_continue:
            # Only now: whoever reads has authenticated and authorized the request (HTP-227).
            self._wants_continue = False
            if not self._content.is_eof() and self._connection.transport is not None:
                self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._connection.expect_bytes()
        try:
            data = await self._content.readany()
        except TransferEncodingError:
            raise S3Error("IncompleteBody", "The request body is not well-formed.", reason="malformed_body") from None
        except (ClientConnectionError, HttpProcessingError, web.RequestPayloadError) as error:
            self._trace.disconnected = "request"
            raise S3Error(
                "IncompleteBody", reason="client_gone", detail=f"the body broke off: {type(error).__name__}"
            ) from None
        finally:
            self._connection.expect_nothing()
        self._trace.bytes_in += len(data)
        return data

    @property
    def unread(self) -> bool:
        """Whether bytes of the body are still to come."""
        return not self._content.at_eof()
