"""What a request must pass before anything reads it: token, size and time of its body, memory of all bodies together.

An ASGI layer around the application. A body is counted while it comes, whatever its header promised; a request that is
refused gets its answer at once, and what it still sends is thrown away for a moment, so that it can read the answer.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from edge_deeplab.serving.connections import BODY_CUT

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/", "/health", "/ready", "/openapi.json", "/docs"})
OPEN_PREFIX = "/page/"
BODY = "edge_deeplab.body"
LINGER_S, LINGER_BYTES = 1.0, 8_000_000


class RefusedError(Exception):
    """A request that goes no further. status: of HTTP; reason: one line for the caller."""

    def __init__(self, status: int, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Budget:
    """Bytes that all bodies together may hold."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.held_bytes = most_bytes, 0

    def take(self, count: int) -> None:
        """Raises RefusedError (429) where it would be too much."""
        if self.held_bytes + count > self.most_bytes:
            raise RefusedError(429, "the server holds as many bodies as it may; try again later", retry_after="1")
        self.held_bytes += count

    def give_back(self, count: int) -> None:
        """Frees what take took."""
        self.held_bytes -= count


class Admission:
    """The layer.

    Args:
        app: what is inside.
        token: asked of all but OPEN_PATHS and the page; None asks for none.
        max_body_bytes, max_upload_bytes: of a body, and of one to upload_path, which its receiver keeps on the disk.
        body_timeout_s: until it is whole; an upload has as much for every max_body_bytes of it.
        is_draining: whether the server is about to end.
        on_answer: called with path, status and seconds of every request.
    """

    def __init__(
        self, app: App, *, token: str | None, max_body_bytes: int, max_upload_bytes: int, upload_path: str,
        body_timeout_s: float, budget: Budget, is_draining: Callable[[], bool],
        on_answer: Callable[[Scope, int, float], None],
    ) -> None:  # fmt: skip
        self._app, self._token = app, token
        self._max_body_bytes, self._max_upload_bytes, self._upload_path = max_body_bytes, max_upload_bytes, upload_path
        self._body_timeout_s, self._budget, self._is_draining = body_timeout_s, budget, is_draining
        self._on_answer = on_answer
        self.running = 0
        """Requests that are being answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speaks ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_s = time.perf_counter()
        body = _Body(scope, receive, self._limits(scope), self._budget)
        answered = 0

        async def counted(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = message["status"]
                if self._is_draining() or body.is_left_over():
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        scope[BODY] = body
        self.running += 1
        try:
            self._check(scope)
            await self._app(scope, body.receive, counted)
        except RefusedError as refused:
            answered = refused.status
            await refuse(refused, scope, send)
        finally:
            self.running -= 1
            body.release()
            self._on_answer(scope, answered or 500, time.perf_counter() - start_s)

    def _limits(self, scope: Scope) -> tuple[int, float, bool]:
        """Most bytes, seconds, and whether the body stays in memory."""
        if scope["path"] == self._upload_path and scope["method"] == "POST":
            shares = max(1.0, self._max_upload_bytes / self._max_body_bytes)
            return self._max_upload_bytes, self._body_timeout_s * shares, False
        return self._max_body_bytes, self._body_timeout_s, True

    def _check(self, scope: Scope) -> None:
        path = scope["path"]
        is_open = path in OPEN_PATHS or path.startswith(OPEN_PREFIX)
        headers = dict(scope["headers"])
        is_preflight = scope["method"] == "OPTIONS" and b"access-control-request-method" in headers
        if self._token is not None and not is_open and not is_preflight:
            came = headers.get(b"authorization", b"")
            if not hmac.compare_digest(came, b"Bearer " + self._token.encode("ascii")):
                raise RefusedError(401, "a token is needed: Authorization: Bearer TOKEN", www_authenticate="Bearer")
        if self._is_draining() and not is_open and scope["method"] == "POST":
            raise RefusedError(503, "the server is about to stop", retry_after="5")
        length = headers.get(b"content-length")
        most_bytes, _, _ = self._limits(scope)
        if length is not None and length.isdigit() and int(length) > most_bytes:
            raise RefusedError(413, f"the body is too large: {int(length)} bytes; allowed: {most_bytes}")


class _Body:
    """The body of one request on its way in."""

    def __init__(self, scope: Scope, receive: Receive, limits: tuple[int, float, bool], budget: Budget) -> None:
        self._scope, self._receive, self._budget = scope, receive, budget
        self._most_bytes, self._timeout_s, self._is_held = limits
        self._came_bytes, self._ends_s, self._is_whole = 0, 0.0, False
        self._taken_bytes = 0

    async def receive(self) -> Message:
        """As ASGI's receive. Raises RefusedError for a body that is too large, too slow, too much now, or cut off."""
        if self._is_whole:
            return await self._receive()
        now_s = time.monotonic()
        self._ends_s = self._ends_s or now_s + self._timeout_s
        try:
            async with asyncio.timeout(max(0.0, self._ends_s - now_s)):
                message = await self._receive()
        except TimeoutError:
            raise RefusedError(408, f"the body was not whole within {self._timeout_s:g} seconds") from None
        if message["type"] != "http.request":
            self._is_whole = True
            return message
        count = len(message.get("body", b""))
        self._came_bytes += count
        if self._came_bytes > self._most_bytes:
            raise RefusedError(413, f"the body is too large; allowed: {self._most_bytes} bytes")
        if self._is_held:
            self._budget.take(count)
            self._taken_bytes += count
        if not message.get("more_body", False):
            self._is_whole = True
            if self._scope.get(BODY_CUT):
                raise RefusedError(400, f"the body ended after {self._came_bytes} bytes, before it was whole")
        return message

    def is_left_over(self) -> bool:
        """Whether the request has a body, or may have one, that was not read to its end."""
        if self._is_whole:
            return False
        headers = dict(self._scope["headers"])
        return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers

    async def throw_away(self) -> None:
        """Reads on for a moment and keeps nothing: closing at once would take the answer away from who still sends."""
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_S):
                while left > 0:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
        except TimeoutError:
            return

    def release(self) -> None:
        """Gives its bytes back to the budget."""
        self._budget.give_back(self._taken_bytes)
        self._taken_bytes = 0


async def refuse(refused: RefusedError, scope: Scope, send: Send) -> None:
    """Answers with what was refused and why, as JSON, and lets the caller finish sending."""
    body: _Body = scope[BODY]
    text = json.dumps({"error": refused.reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in refused.headers.items()]
    is_left_over = body.is_left_over()
    if is_left_over:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": text, "more_body": True})
    if is_left_over:
        await body.throw_away()
    await send({"type": "http.response.body", "body": b"", "more_body": False})
