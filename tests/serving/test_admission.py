"""What stands before the routes: token, draining, bounds, cross-origin calls. ASGI in this process, no Ray."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response

from edge_deeplab.serving.admission import Admission, Budget, RefusedError
from edge_deeplab.serving.front import Refusing
from edge_deeplab.serving.server import _with_cors

TOKEN = "a-long-secret"


@dataclass
class Came:
    """An answer."""

    status_code: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


class Client:
    """Speaks ASGI to an application, as uvicorn would."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def get(self, path: str) -> Came:
        return self.ask("GET", path)

    def post(self, path: str, *, content: bytes | Iterable[bytes] = b"", headers: dict[str, Any] | None = None) -> Came:
        """A body of bytes has its length declared, one of pieces has none."""
        return self.ask("POST", path, headers, content)

    def ask(self, method: str, path: str, headers: dict[str, Any] | None = None, content: Any = b"") -> Came:
        is_whole = isinstance(content, bytes)
        given = {"content-length": str(len(content))} if is_whole else {"transfer-encoding": "chunked"}
        raw = [
            (name.encode(), value if isinstance(value, bytes) else value.encode())
            for name, value in {**given, **(headers or {})}.items()
        ]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http", "headers": raw,
            "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "state": {},
        }  # fmt: skip
        pieces = iter([content] if is_whole else content)
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            piece = next(pieces, None)
            return {"type": "http.request", "body": piece or b"", "more_body": piece is not None and not is_whole}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self._app(scope, receive, send))
        start = sent[0]
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return Came(start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body)


def client(
    *, token: str | None = None, is_draining: bool = False, origins: tuple[str, ...] = ()
) -> tuple[Client, Budget, list[tuple[str, int]]]:
    """A small application behind the layer, its budget, and what was answered."""
    app = FastAPI()

    @app.exception_handler(RefusedError)
    async def on_refused(_: Request, refused: RefusedError) -> Response:
        return Refusing(refused)

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def take(request: Request, path: str) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    answered: list[tuple[str, int]] = []
    budget = Budget(150)
    admission = Admission(
        _with_cors(app, origins) if origins else app, token=token, max_body_bytes=100, max_upload_bytes=1000,
        upload_path="/v1/videos", body_timeout_s=5, budget=budget, is_draining=lambda: is_draining,
        on_answer=lambda scope, status, _: answered.append((scope["path"], status)),
    )  # fmt: skip
    return Client(admission), budget, answered


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": TOKEN}, {"authorization": f"Bearer {TOKEN}x"}, {"authorization": f"Basic {TOKEN}"},
     {"authorization": "Bearer "}, {"authorization": b"Bearer \xff\xfe"}],
)  # fmt: skip
def test_without_the_token_nothing_is_told(headers: dict[str, Any]) -> None:
    ask, _, answered = client(token=TOKEN)
    for path in ("/v1/segment", "/v1/model", "/metrics", "/v1/videos/0", "/v1/nothing"):
        came = ask.post(path, content=b"x", headers=headers)
        assert (came.status_code, came.headers["www-authenticate"]) == (401, "Bearer")
        assert list(came.json()) == ["error"]
    assert {status for _, status in answered} == {401}


def test_with_the_token_all_is_open_and_the_page_always() -> None:
    ask, _, _ = client(token=TOKEN)
    assert ask.post("/v1/segment", content=b"abc", headers={"authorization": f"Bearer {TOKEN}"}).json() == {"bytes": 3}
    for path in ("/", "/health", "/ready", "/docs", "/openapi.json", "/page/page.js"):
        assert ask.get(path).status_code == 200


@pytest.mark.parametrize("length", [101, 10**9, 10**30])
def test_a_body_that_says_it_is_too_large_is_not_read(length: int) -> None:
    ask, budget, _ = client()
    came = ask.post("/v1/segment", content=b"x", headers={"content-length": str(length)})
    assert came.status_code == 413
    assert came.headers["connection"] == "close"
    assert budget.held_bytes == 0


def test_a_body_is_counted_while_it_comes_and_given_back_after() -> None:
    ask, budget, _ = client()
    assert ask.post("/v1/segment", content=bytes(100)).json() == {"bytes": 100}
    assert ask.post("/v1/segment", content=(bytes(20) for _ in range(6))).status_code == 413
    assert budget.held_bytes == 0
    budget.take(100)  # someone else's
    came = ask.post("/v1/segment", content=bytes(60))
    assert (came.status_code, came.headers["retry-after"]) == (429, "1")
    assert budget.held_bytes == 100


def test_an_upload_may_be_larger_and_holds_no_memory() -> None:
    ask, budget, _ = client()
    budget.take(150)
    assert ask.post("/v1/videos", content=bytes(900)).json() == {"bytes": 900}
    assert ask.post("/v1/videos", content=bytes(1001)).status_code == 413


def test_while_draining_new_work_is_refused_and_questions_are_answered() -> None:
    ask, _, _ = client(is_draining=True)
    came = ask.post("/v1/segment", content=b"x")
    assert (came.status_code, came.headers["retry-after"], came.headers["connection"]) == (503, "5", "close")
    assert ask.get("/v1/videos/0").headers["connection"] == "close"
    assert ask.get("/health").status_code == 200


def test_pages_of_a_named_origin_may_call_and_no_others() -> None:
    ask, _, _ = client(token=TOKEN, origins=("https://ours.example",))
    wanted = {"origin": "https://ours.example", "access-control-request-method": "POST",
              "access-control-request-headers": "authorization"}  # fmt: skip
    allowed = ask.ask("OPTIONS", "/v1/segment", wanted)
    assert allowed.headers["access-control-allow-origin"] == "https://ours.example"
    refused = ask.ask("OPTIONS", "/v1/segment", {**wanted, "origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in refused.headers


def test_every_refusal_is_json_of_the_length_it_says() -> None:
    ask, _, _ = client(token=TOKEN)
    came = ask.get("/v1/model")
    assert int(came.headers["content-length"]) == len(came.content)
    assert json.loads(came.content)["error"].startswith("a token is needed")
