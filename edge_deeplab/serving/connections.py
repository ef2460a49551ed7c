"""Connections that cannot be held for nothing: uvicorn's own protocol with a bound on their number and on silence.

uvicorn bounds a header's size, but neither the time until it is whole nor the number of idle connections, and it drops
the answer to a caller that closes its own side early. Ray Serve's proxy is uvicorn with the same gaps.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

BODY_CUT = "edge_deeplab.body_cut"
"""Set in a request's scope when the caller closed its side before the body was whole."""


def bounded_protocol(*, max_connections: int, header_timeout_s: float) -> type[H11Protocol]:
    """The protocol class for uvicorn's `http`.

    Args:
        max_connections: more are answered 503 at once and closed.
        header_timeout_s: from a connection's first moment, or a further request's first byte, to its whole header.
    """

    class BoundedConnection(H11Protocol):
        """One connection."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > max_connections:
                self._say_and_close(503, "too many connections", retry_after=True)
            else:
                self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before or (self.cycle is not None and not self.cycle.response_complete):
                self._disarm()  # a header is whole; from here on its body has a deadline of its own
            elif self._deadline is None and not self.transport.is_closing():
                self._arm()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.trailing_data[0] and self.cycle.response_complete and not self.transport.is_closing():
                self._arm()  # the beginning of a further request lies there already

        def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks for it, uvicorn says None
            """Keeps our side open until the answer is out. Returns: whether it stays open."""
            cycle = self.cycle
            if cycle is None or cycle.response_complete:
                return False
            if cycle.more_body:
                cycle.scope[BODY_CUT] = True  # type: ignore[literal-required]
                cycle.more_body = False
                cycle.message_event.set()
            cycle.keep_alive = False
            return True

        def _arm(self) -> None:
            self._deadline = self.loop.call_later(header_timeout_s, self._on_silence)

        def _disarm(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _on_silence(self) -> None:
            self._deadline = None
            self._say_and_close(408, f"no whole request header within {header_timeout_s:g} seconds")

        def _say_and_close(self, status: int, reason: str, *, retry_after: bool = False) -> None:
            if self.transport.is_closing():
                return
            body = json.dumps({"error": reason}).encode()
            words = {408: "Request Timeout", 503: "Service Unavailable"}[status]
            more = "retry-after: 1\r\n" if retry_after else ""
            self.transport.write(
                f"HTTP/1.1 {status} {words}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
                f"{more}connection: close\r\n\r\n".encode()
                + body
            )
            self.transport.close()

    return BoundedConnection
