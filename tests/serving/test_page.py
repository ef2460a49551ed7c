"""The page in a real browser: a dropped picture comes back with its classes; sliders and errors do what they say."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import Browser, open_browser
from serving_process import ServingProcess

CANVAS = "document.getElementById('canvas')"
STATUS = "document.getElementById('status')"
DROP = """
(async () => {
  const bytes = Uint8Array.from(atob('%s'), (character) => character.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], 'dropped.jpg'));
  document.getElementById('drop').dispatchEvent(new DragEvent('drop', { dataTransfer: data, cancelable: true }));
})()
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as tab:
        yield tab


def pixels(browser: Browser) -> np.ndarray:
    """(H, W, 4) uint8 RGBA: what the canvas shows."""
    text = browser.run(f"{CANVAS}.toDataURL('image/png').split(',')[1]")
    bgra = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED)
    return bgra if bgra.shape[2] == 3 else bgra[..., [2, 1, 0, 3]]


def set_slider(browser: Browser, percent: int) -> None:
    browser.run(
        f"(() => {{ const o = document.getElementById('opacity'); o.value = {percent};"
        "o.dispatchEvent(new Event('input')); })()"
    )


def test_a_dropped_picture_shows_its_person_and_the_slider_its_strength(
    server: ServingProcess, browser: Browser, photo: bytes, astronaut: np.ndarray, tmp_path: Path
) -> None:
    browser.open(server.url + "/")
    browser.wait("document.getElementById('model').textContent.includes('portrait, tflite, 2 classes')")
    browser.run(DROP % base64.b64encode(photo).decode())
    browser.wait(f"!{CANVAS}.hidden && {STATUS}.textContent === '512 x 512 pixels'")
    (tmp_path / "page.png").write_bytes(browser.picture())
    set_slider(browser, 0)
    plain = pixels(browser)[..., :3].astype(int)
    assert np.abs(plain - astronaut[..., :3]).mean() < 4  # the JPEG's loss
    set_slider(browser, 100)
    full = pixels(browser)[..., :3]
    face, corner = full[80:160, 190:260], np.abs(full[:60, 420:].astype(int) - plain[:60, 420:])
    assert (face == [128, 0, 0]).all(-1).mean() > 0.99  # the person's colour, over her face
    assert corner.mean() < 1  # the background is left alone
    rows = browser.run("[...document.querySelectorAll('#classes tr')].map((row) => row.textContent)")
    assert sorted(row.split()[0].rstrip("0123456789.") for row in rows) == ["background", "person"]
    assert "model" in browser.run("document.getElementById('timing').textContent")
    assert browser.notes == []


def test_the_person_alone_is_cut_out_by_the_matte(
    server: ServingProcess, browser: Browser, photo: bytes, tmp_path: Path
) -> None:
    browser.open(server.url + "/")
    browser.wait("document.getElementById('model').textContent.includes('portrait')")
    picture = tmp_path / "photo.jpg"
    picture.write_bytes(photo)
    browser.choose_file("#file", picture)
    browser.wait(f"!{CANVAS}.hidden && {STATUS}.textContent === '512 x 512 pixels'")
    browser.run("document.querySelector('input[value=cut]').click()")
    set_slider(browser, 100)
    (tmp_path / "cut.png").write_bytes(browser.picture())
    alpha = pixels(browser)[..., 3]
    assert alpha[80:160, 190:260].mean() > 250
    assert alpha[:60, 430:].mean() < 5


def test_what_is_no_picture_is_said_on_the_page(server: ServingProcess, browser: Browser, tmp_path: Path) -> None:
    browser.open(server.url + "/")
    browser.wait("document.getElementById('model').textContent.includes('portrait')")
    text = tmp_path / "notes.jpg"
    text.write_text("these are notes")
    browser.choose_file("#file", text)
    browser.wait(f"{STATUS}.classList.contains('error')")
    assert "allowed: JPEG, PNG, WebP (415)" in browser.run(f"{STATUS}.textContent")


def test_the_description_is_drawn_with_every_route(server: ServingProcess, browser: Browser, tmp_path: Path) -> None:
    browser.open(server.url + "/docs")
    browser.wait("document.querySelectorAll('article').length >= 9")
    (tmp_path / "docs.png").write_bytes(browser.picture())
    shown = browser.run("document.body.innerText")
    assert "POST /v1/segment\n" in shown
    assert f"curl --data-binary @photo.jpg -o result.png '{server.url}/v1/segment'" in shown
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
