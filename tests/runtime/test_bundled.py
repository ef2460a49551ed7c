"""What a model argument means."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_deeplab.errors import ModelError
from edge_deeplab.runtime import bundled
from edge_deeplab.runtime.bundled import assets_folder, bundled_model, bundled_names


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in ("portrait.tflite", "portrait.float16.tflite", "portrait.md"):
        (folder / name).write_bytes(b"")
    monkeypatch.setattr(bundled, "assets_folder", lambda: folder)
    return folder


def test_assets_lie_in_the_package() -> None:
    assert (assets_folder() / "__init__.py").is_file()


def test_a_name_means_the_bundled_file(assets: Path) -> None:
    assert bundled_names() == ("portrait", "portrait.float16")
    assert bundled_model("portrait") == assets / "portrait.tflite"
    assert bundled_model("portrait.float16") == assets / "portrait.float16.tflite"


def test_a_file_that_exists_wins(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "portrait").write_bytes(b"mine")
    assert bundled_model("portrait") == Path("portrait")
    assert bundled_model(tmp_path / "portrait") == tmp_path / "portrait"


def test_neither_lists_the_names_and_the_nearest(assets: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"portait: no such model file.*portrait\.float16 \(did you mean portrait\?\)"):
        bundled_model("portait")
    with pytest.raises(ModelError, match=r"missing\.tflite: no such model file"):
        bundled_model(tmp_path / "missing.tflite")
    with pytest.raises(ModelError, match="is a folder"):
        bundled_model(tmp_path)


def test_an_installation_without_models_says_so(assets: Path) -> None:
    for path in assets.iterdir():
        path.unlink()
    with pytest.raises(ModelError, match="none in this installation"):
        bundled_model("portrait")
