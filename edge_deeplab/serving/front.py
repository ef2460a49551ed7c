"""The routes: pictures in, maps out, the page, and what a machine asks of a server, as one FastAPI application.

app = make_front(serving)       # serving: everything behind it, see Serving

Bodies are read by hand, within the bounds of admission.py; FastAPI checks the rest and describes it at /openapi.json.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from edge_deeplab import __version__
from edge_deeplab.errors import UsageError
from edge_deeplab.labels import colour_map
from edge_deeplab.serving.admission import Budget, RefusedError, refuse
from edge_deeplab.serving.answers import ANSWERS, MEDIA_TYPES, Ask
from edge_deeplab.serving.dispatch import BusyError, DeadlyError, Dispatcher, TooLateError
from edge_deeplab.serving.metrics import Metrics
from edge_deeplab.serving.options import MEGA, ServeOptions
from edge_deeplab.serving.pictures import PICTURES, has_too_many_scans, is_picture
from edge_deeplab.serving.replica import Answer, ModelFacts, Refusal

PAGE = Path(__file__).parent / "page"
PAGE_FILES = {
    "page.js": "text/javascript", "page.css": "text/css", "docs.js": "text/javascript",
}  # fmt: skip
POLICY = "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"
SAFE = {"content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
PNG_TYPE, NPZ_TYPE = MEDIA_TYPES["png"], MEDIA_TYPES["npz"]
PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp")
NAME_LENGTH = 200
LONGEST_RETRY_S = 30

AnswerQuery = Annotated[Literal["labels", "matte", "probabilities"], Query(description="What is wanted.")]
FormQuery = Annotated[
    Literal["png", "npz", "rle"] | None,
    Query(
        description="How: labels as png, npz or rle (COCO); matte as png or npz; probabilities as npz. Else the first."
    ),
]
ScaleQuery = Annotated[Literal["picture", "model"], Query(description="At the picture's own size, or the model's.")]


class Problem(BaseModel):
    """What every answer of 4xx and 5xx holds."""

    error: str


class RunLengths(BaseModel):
    """A mask as COCO writes it."""

    size: list[int]
    counts: str


class Segment(BaseModel):
    """One class of a picture."""

    model_config = ConfigDict(populate_by_name=True)

    index: int = Field(alias="class")
    label: str
    area: int
    segmentation: RunLengths


class Segments(BaseModel):
    """What form=rle gives: every class that is seen."""

    height: int
    width: int
    segments: list[Segment]


class ModelCard(BaseModel):
    """What the served model is, and what may be sent."""

    name: str
    kind: str
    labels: list[str]
    colours: list[list[int]]
    person_class: int | None
    sizes_hw: list[list[int]]
    pictures: str
    max_body_bytes: int
    max_pixels: int
    max_pictures: int
    max_video_bytes: int


@dataclass
class Serving:
    """What stands behind the routes.

    Attributes:
        is_draining: set once the server was asked to stop.
        replicas_running: how many copies answer, as far as is known.
    """

    options: ServeOptions
    facts: ModelFacts
    dispatcher: Dispatcher
    metrics: Metrics
    budget: Budget
    is_draining: bool = False
    replicas_running: int = 0
    refresh: Callable[[], None] = field(default=lambda: None)


def make_front(serving: Serving) -> FastAPI:
    """The application, without its admission layer."""
    app = FastAPI(
        title="edge-deeplab", version=__version__, docs_url=None, redoc_url=None,
        description=f'Semantic segmentation with {serving.facts.name}. Every error is JSON: {{"error": "one line"}}.',
    )  # fmt: skip
    _add_handlers(app)
    _add_machine_routes(app, serving)
    _add_picture_routes(app, serving)
    _add_page_routes(app)
    _describe_token(app, serving.options.token is not None)
    return app


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer so."""
    return {status: {"model": Problem} for status in statuses}


def error_response(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A Problem as an answer."""
    return JSONResponse({"error": reason}, status, headers=headers)


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(RefusedError)
    async def on_refused(request: Request, refused: RefusedError) -> Response:
        return Refusing(refused)

    @app.exception_handler(UsageError)
    async def on_usage(_: Request, error: UsageError) -> Response:
        return error_response(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return error_response(422, f"{where}: {first['msg']}")

    @app.exception_handler(ClientDisconnect)
    async def on_hung_up(_: Request, gone: ClientDisconnect) -> Response:
        return error_response(400, "the caller hung up before the body was whole")  # for the counters: nobody reads it

    @app.exception_handler(Exception)
    async def on_bug(_: Request, error: Exception) -> Response:
        return error_response(500, f"a fault of the server: {type(error).__name__}")  # uvicorn logs where

    @app.exception_handler(HTTPException)
    async def on_http(_: Request, error: HTTPException) -> Response:
        return error_response(error.status_code, str(error.detail), dict(error.headers or {}))


class Refusing(Response):
    """A refusal as an answer that first lets the caller finish sending."""

    def __init__(self, refused: RefusedError) -> None:
        super().__init__(status_code=refused.status)
        self._refused = refused

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Speaks ASGI."""
        await refuse(self._refused, scope, send)


def _add_machine_routes(app: FastAPI, serving: Serving) -> None:
    @app.get("/health", tags=["machine"], summary="Whether the server runs")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", tags=["machine"], summary="Whether it takes pictures", responses=problems(503))
    async def ready() -> Response:
        if serving.is_draining:
            return error_response(503, "the server is about to stop")
        if serving.replicas_running < 1:
            return error_response(503, "no copy of the model runs yet")
        return JSONResponse({"status": "ready", "replicas": serving.replicas_running})

    @app.get(
        "/metrics", tags=["machine"], summary="Counters for Prometheus", response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **problems(401)},
    )  # fmt: skip
    async def metrics() -> Response:
        serving.refresh()
        return Response(serving.metrics.render(), headers={"content-type": serving.metrics.content_type})

    @app.get("/v1/model", tags=["pictures"], summary="The model and the bounds", responses=problems(401))
    async def model() -> ModelCard:
        facts, options = serving.facts, serving.options
        return ModelCard(
            name=facts.name, kind=facts.kind, labels=list(facts.labels), person_class=facts.person_class,
            colours=colour_map(len(facts.labels)).tolist(), sizes_hw=[list(size) for size in facts.sizes_hw],
            pictures=PICTURES, max_body_bytes=int(options.max_body_mb * MEGA),
            max_pixels=int(options.max_megapixels * MEGA), max_pictures=options.max_pictures,
            max_video_bytes=int(options.max_video_mb * MEGA),
        )  # fmt: skip


def _add_picture_routes(app: FastAPI, serving: Serving) -> None:
    binary = {"schema": {"type": "string", "format": "binary"}}
    one = {**dict.fromkeys(PICTURE_TYPES, binary), "multipart/form-data": {"schema": _form_schema("picture")}}
    many = {"multipart/form-data": {"schema": _form_schema("pictures", most=serving.options.max_pictures)}}
    usual = problems(400, 401, 408, 413, 415, 422, 429, 500, 503, 504)

    @app.post(
        "/v1/segment", tags=["pictures"], summary="Segment one picture", response_class=Response,
        responses={200: {"model": Segments, "content": dict.fromkeys((PNG_TYPE, NPZ_TYPE), binary)}, **usual},
        openapi_extra={"requestBody": {"required": True, "content": one}},
    )  # fmt: skip
    async def segment(
        request: Request, answer: AnswerQuery = "labels", form: FormQuery = None, scale: ScaleQuery = "picture"
    ) -> Response:
        ask = _ask(serving, answer, form, scale)
        pictures = await read_pictures(request, most=1)
        _check_picture(pictures[0][1])
        came = await _answered(serving, pictures[0][1], ask)
        if isinstance(came, Refusal):
            raise RefusedError(came.status, came.reason)
        return Response(came.body, media_type=came.media_type, headers=timing_headers(came))

    @app.post(
        "/v1/segment/batch", tags=["pictures"], summary="Segment several pictures", response_class=Response,
        description="Answers with a zip: NUMBER.FORM for each picture that came through, in the order they were sent, "
        "and report.json, which says of each number its name and its error, if any.",
        responses={200: {"content": {"application/zip": binary}}, **usual},
        openapi_extra={"requestBody": {"required": True, "content": many}},
    )  # fmt: skip
    async def segment_batch(
        request: Request, answer: AnswerQuery = "labels", form: FormQuery = None, scale: ScaleQuery = "picture"
    ) -> Response:
        ask = _ask(serving, answer, form, scale)
        pictures = await read_pictures(request, most=serving.options.max_pictures)
        room = asyncio.Semaphore(2 * serving.options.max_batch)  # so that one caller does not fill the queue

        async def work(data: bytes) -> Answer | Refusal:
            try:
                _check_picture(data)
            except RefusedError as refused:
                return Refusal(refused.status, refused.reason)
            async with room:
                return await _answered(serving, data, ask, waits_for_room=True)

        came = await asyncio.gather(*(work(data) for _, data in pictures))
        return Response(
            await asyncio.to_thread(_zipped, [name for name, _ in pictures], came, ask.form),
            media_type="application/zip",
        )


def _add_page_routes(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html", headers=SAFE)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return FileResponse(PAGE / "docs.html", headers=SAFE)

    @app.get("/page/{name}", include_in_schema=False)
    async def page_file(name: str) -> Response:
        if name not in PAGE_FILES:
            return error_response(404, "no such file")
        return FileResponse(PAGE / name, media_type=PAGE_FILES[name], headers=SAFE)


def _describe_token(app: FastAPI, is_asked: bool) -> None:
    """Says in the description that a token is needed, where one is; admission.py asks for it."""
    if not is_asked:
        return
    plain = app.openapi

    def with_token() -> dict[str, Any]:
        described = plain()
        described.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
        return described

    app.openapi = with_token  # type: ignore[method-assign]


def _form_schema(field_name: str, *, most: int | None = None) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "string", "format": "binary"}
    if most is not None:
        part = {"type": "array", "items": part, "minItems": 1, "maxItems": most}
    return {"type": "object", "properties": {field_name: part}, "required": [field_name]}


def _ask(serving: Serving, answer: str, form: str | None, scale: str) -> Ask:
    ask = Ask(answer=answer, form=form or ANSWERS[answer][0], scale=scale)
    if answer == "matte" and serving.facts.person_class is None:
        raise UsageError("answer: this model knows no person", came="matte", allowed="labels, probabilities")
    return ask


async def read_pictures(request: Request, *, most: int) -> list[tuple[str, bytes]]:
    """The files of a body as (name, bytes): the body itself, or every file of a form, at most `most`.

    Raises: RefusedError for a form that is none, or holds no file or too many.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        if most > 1:
            raise RefusedError(415, "the body is no form", accept="multipart/form-data")
        data = await request.body()
        if not data:
            raise RefusedError(400, "the body is empty; send a picture")
        return [("", data)]
    try:
        form = await request.form(max_files=most, max_fields=8, max_part_size=1024)
    except (MultiPartException, HTTPException, KeyError, UnicodeDecodeError) as error:
        reason = getattr(error, "message", None) or getattr(error, "detail", None) or "it cannot be read"
        raise RefusedError(400, f"the form is damaged, or not as allowed (at most {most} files): {reason}") from None
    try:
        files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        if not files:
            raise RefusedError(400, "the form holds no file; send pictures as files")
        return [((part.filename or "")[:NAME_LENGTH], await part.read()) for part in files]
    finally:
        await form.close()


def _check_picture(data: bytes) -> None:
    if not is_picture(data):
        raise RefusedError(415, f"this is no picture that is known; allowed: {PICTURES}")
    if has_too_many_scans(data):
        raise RefusedError(422, "the picture is a JPEG of too many scans")


async def _answered(serving: Serving, data: bytes, ask: Ask, *, waits_for_room: bool = False) -> Answer | Refusal:
    try:
        came = await serving.dispatcher.segment(data, ask, waits_for_room=waits_for_room)
    except BusyError as error:
        raise RefusedError(429, str(error), retry_after=str(_retry_after_s(serving))) from None
    except TooLateError as error:
        raise RefusedError(504, str(error)) from None
    except DeadlyError as error:
        raise RefusedError(500, str(error)) from None
    if isinstance(came, Answer):
        serving.metrics.worked(came)
    return came


def _retry_after_s(serving: Serving) -> int:
    """Seconds until a queue as long as ours is through, by the recent pace; whole, as HTTP wants it."""
    waiting_s = serving.options.max_queue * serving.metrics.recent_seconds_each / max(1, serving.replicas_running)
    return max(1, min(LONGEST_RETRY_S, math.ceil(waiting_s)))


def timing_headers(answer: Answer) -> dict[str, str]:
    """Where a picture's time went, as browsers' developer tools read it."""
    stages = ", ".join(f"{stage};dur={stage_ms:.2f}" for stage, stage_ms in answer.stage_ms.items())
    return {"server-timing": stages, "x-batch": str(answer.batch), "x-replica": str(answer.replica)}


def _zipped(names: list[str], came: list[Answer | Refusal], form: str) -> bytes:
    """Entries are numbered; the caller's names stand in the report alone, where they can do no harm."""
    suffix = "json" if form == "rle" else form
    report, stream = [], io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for number, (name, one) in enumerate(zip(names, came, strict=True)):
            row: dict[str, Any] = {"number": number, "name": name}
            if isinstance(one, Refusal):
                row |= {"status": one.status, "error": one.reason}
            else:
                row |= {"status": 200, "entry": f"{number:04d}.{suffix}"}
                archive.writestr(row["entry"], one.body)
            report.append(row)
        archive.writestr("report.json", json.dumps(report, ensure_ascii=False, indent=1))
    return stream.getvalue()
