"""A real server, asked as callers ask it: pictures, batches, what machines ask, and what is refused with which word."""

from __future__ import annotations

import io
import json
import zipfile

import cv2
import numpy as np
import pytest
import requests
from pycocotools import mask as coco
from serving_process import ServingProcess

from edge_deeplab.imaging.decode import decode_image
from edge_deeplab.imaging.resize import Placement
from edge_deeplab.runtime.segmenter import Segmenter

TIMEOUT_S = 60
QUANTUM = 1 / 255 + 1e-6  # the bundled model's output is uint8


@pytest.fixture(scope="module")
def expected(photo: bytes) -> np.ndarray:
    """(512, 512, 2): what the model says of the photo, computed here, without a server."""
    image = decode_image(photo, name="photo")
    with Segmenter("portrait", precision="int8") as segmenter:
        maps = segmenter.probabilities(image)
        return Placement.plan((512, 512), segmenter.size_hw, segmenter.manifest.fit).restore(maps)


def ask(server: ServingProcess, query: str, data: bytes) -> requests.Response:
    return requests.post(f"{server.url}/v1/segment?{query}", data=data, timeout=TIMEOUT_S)


def test_labels_matte_and_probabilities_are_those_of_the_model(
    server: ServingProcess, photo: bytes, expected: np.ndarray
) -> None:
    came = ask(server, "answer=probabilities", photo)
    assert came.headers["content-type"] == "application/x-npz"
    assert np.abs(np.load(io.BytesIO(came.content))["probabilities"] - expected).max() <= QUANTUM
    labels = cv2.imdecode(np.frombuffer(ask(server, "", photo).content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (labels != expected.argmax(-1)).mean() < 1e-3  # ties at the border alone
    matte = cv2.imdecode(np.frombuffer(ask(server, "answer=matte", photo).content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.abs(matte / 255 - expected[..., 1]).max() <= 2 * QUANTUM
    document = ask(server, "form=rle", photo).json()
    person = next(one for one in document["segments"] if one["label"] == "person")
    assert np.array_equal(coco.decode(person["segmentation"]), labels == 1)


def test_an_answer_says_where_its_time_went(server: ServingProcess, photo: bytes) -> None:
    came = ask(server, "", photo)
    stages = {part.partition(";")[0] for part in came.headers["server-timing"].split(", ")}
    assert stages == {"decode", "wait", "model", "encode"}
    assert int(came.headers["x-replica"]) in server.replicas()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_form_and_every_format_give_the_same_as_bytes(
    server: ServingProcess, astronaut: np.ndarray, suffix: str
) -> None:
    data = cv2.imencode(suffix, astronaut[..., ::-1])[1].tobytes()
    plain = ask(server, "answer=matte", data)
    assert plain.status_code == 200
    form = requests.post(
        f"{server.url}/v1/segment?answer=matte", files={"picture": ("a" + suffix, data)}, timeout=TIMEOUT_S
    )
    assert form.content == plain.content


def test_a_batch_answers_each_picture_in_order_and_names_what_failed(server: ServingProcess, photo: bytes) -> None:
    """Names go to the report and nowhere else: an entry of the zip is numbered."""
    small = cv2.imencode(".png", np.zeros((30, 20, 3), np.uint8))[1].tobytes()
    names = ["../../etc/passwd", "C:\\\\evil\\..\\x.png", "ünï.jpg", "0002.png"]
    files = [("pictures", (name, data)) for name, data in zip(names, [photo, small, b"no picture", small], strict=True)]
    came = requests.post(f"{server.url}/v1/segment/batch?answer=matte", files=files, timeout=TIMEOUT_S)
    assert came.status_code == 200, came.text
    with zipfile.ZipFile(io.BytesIO(came.content)) as archive:
        assert archive.namelist() == ["0000.png", "0001.png", "0003.png", "report.json"]
        report = json.loads(archive.read("report.json"))
        assert archive.read("0000.png") == ask(server, "answer=matte", photo).content
    assert [row["status"] for row in report] == [200, 200, 415, 200]
    assert report[0]["name"] == names[0]
    assert "allowed: JPEG, PNG, WebP" in report[2]["error"]


@pytest.mark.parametrize(
    ("query", "data", "status", "says"),
    [
        ("", b"", 400, "the body is empty"),
        ("", b"GIF89a" + bytes(99), 415, "allowed: JPEG, PNG, WebP"),
        ("", b"\xff\xd8\xff\xe0" + bytes(99), 422, "no picture, or a damaged one"),
        ("answer=edges", b"x", 422, "answer: "),
        ("answer=matte&form=rle", b"x", 422, "allowed: png, npz"),
        ("scale=big", b"x", 422, "scale: "),
    ],
)
def test_a_wrong_request_gets_one_line_of_json(
    server: ServingProcess, query: str, data: bytes, status: int, says: str
) -> None:
    came = ask(server, query, data)
    assert came.status_code == status
    assert list(came.json()) == ["error"]
    assert says in came.json()["error"]
    assert "\n" not in came.json()["error"]


def test_unknown_places_and_methods_are_said_as_json(server: ServingProcess) -> None:
    lost = requests.get(f"{server.url}/v1/nothing", timeout=TIMEOUT_S)
    assert (lost.status_code, list(lost.json())) == (404, ["error"])
    wrong = requests.get(f"{server.url}/v1/segment", timeout=TIMEOUT_S)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    for path in ("/page/../server.py", "/page/%2e%2e%2fserver.py", "/page/..%2f..%2f..%2fetc%2fpasswd"):
        came = requests.Request("GET", server.url).prepare()
        came.url = server.url + path  # as typed: requests would tidy it
        assert requests.Session().send(came, timeout=TIMEOUT_S).status_code == 404


def test_machines_can_ask_how_it_is(server: ServingProcess, photo: bytes) -> None:
    assert requests.get(f"{server.url}/health", timeout=TIMEOUT_S).json() == {"status": "ok"}
    assert requests.get(f"{server.url}/ready", timeout=TIMEOUT_S).json()["status"] == "ready"
    ask(server, "", photo)
    ask(server, "", b"no picture")
    text = requests.get(f"{server.url}/metrics", timeout=TIMEOUT_S).text
    assert 'edge_deeplab_requests_total{route="/v1/segment",status="200"}' in text
    assert 'edge_deeplab_requests_total{route="/v1/segment",status="415"}' in text
    assert 'edge_deeplab_batch_pictures_count{size="224x224"}' in text
    assert "python_info" not in text


def test_the_model_says_what_it_is_and_what_may_be_sent(server: ServingProcess) -> None:
    card = requests.get(f"{server.url}/v1/model", timeout=TIMEOUT_S).json()
    assert card["labels"] == ["background", "person"]
    assert card["sizes_hw"] == [[224, 224]]
    assert (card["max_body_bytes"], card["max_pixels"]) == (2_000_000, 2_000_000)


def test_pages_from_elsewhere_may_not_call(server: ServingProcess, photo: bytes) -> None:
    came = requests.post(
        f"{server.url}/v1/segment", data=photo, headers={"origin": "https://elsewhere.example"}, timeout=TIMEOUT_S
    )
    assert not [name for name in came.headers if name.lower().startswith("access-control")]


def test_every_route_is_described_and_nothing_comes_from_other_servers(server: ServingProcess) -> None:
    described = requests.get(f"{server.url}/openapi.json", timeout=TIMEOUT_S).json()
    assert set(described["paths"]) == {
        "/health", "/ready", "/metrics", "/v1/model", "/v1/segment", "/v1/segment/batch", "/v1/videos",
        "/v1/videos/{job_id}", "/v1/videos/{job_id}/result",
    }  # fmt: skip
    for path in ("/", "/docs", "/page/page.js", "/page/docs.js", "/page/page.css"):
        came = requests.get(server.url + path, timeout=TIMEOUT_S)
        assert came.status_code == 200
        assert "default-src 'self'" in came.headers["content-security-policy"]
        assert "http://" not in came.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in came.text


def test_only_this_machine_can_reach_the_front(server: ServingProcess) -> None:
    """Of the listening sockets of the front's own port there is one, on 127.0.0.1."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/net/{name}").read().splitlines()[1:]]  # noqa: SIM115, PTH123
    found = [words[1] for words in lines if words[3] == "0A" and words[1].endswith(f":{server.port:04X}")]
    assert found == [f"0100007F:{server.port:04X}"]
