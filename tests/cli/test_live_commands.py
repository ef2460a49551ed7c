"""`blur`, `webcam` and `demo` as typed: exit codes, one line for each error, reports, defaults from the dataclasses."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.cli import live_program
from edge_deeplab.cli.blur_command import command as blur
from edge_deeplab.cli.demo_command import command as demo
from edge_deeplab.cli.main import main
from edge_deeplab.cli.webcam_command import command as webcam
from edge_deeplab.compositing.options import CompositingOptions, OverlayOptions
from edge_deeplab.demo_apps.options import DemoOptions, LiveOptions, PortraitOptions, QualityOptions, WebcamOptions
from edge_deeplab.imaging.decode import read_image, write_image
from edge_deeplab.labels import PORTRAIT, colour_map
from edge_deeplab.manifest import Manifest, append_manifest


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in with photo.png, bright.tflite (bright is person) and bare.tflite (no manifest)."""
    picture = np.full((90, 160, 3), 20, np.uint8)
    picture[30:70, 60:100] = 255
    write_image(tmp_path / "photo.png", picture)
    for name in ("bright", "bare"):
        (tmp_path / f"{name}.tflite").write_bytes(bright_segmenter((32, 32), io="uint8").to_bytes())
    manifest = Manifest(name="bright", labels=PORTRAIT, person_class=1, size_hw=(32, 32))
    append_manifest(tmp_path / "bright.tflite", manifest)
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


PHOTO = ["--model", "bright.tflite", "--source", "photo.png"]


def test_blur_writes_the_picture_and_prints_a_table(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["blur", *PHOTO, "--output", "out.png", "--background", "#0000ff"]) == 0
    assert (read_image(place / "out.png")[:10] == (0, 0, 255)).all()
    written = capfd.readouterr()
    assert "milliseconds per stage, 160x90" in written.out and "out.png" in written.out
    assert "picture photo.png" in written.err


def test_the_report_is_json_for_a_machine(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["blur", *PHOTO, "--output", "out.png", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["pipeline"]["frames"] == 1 and report["model"]["threads"] == LiveOptions().threads


def test_what_was_given_up_for_a_rate_is_said(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hold = ["--target-fps", "1", "--max-cpu", "5000", "--mask-every", "2", "--delay-frame"]
    assert main(["blur", *PHOTO, "--output", "out.png", *hold, "--small-model", "bright.tflite"]) == 0
    assert "100% of the frames: full" in capfd.readouterr().out
    assert main(["blur", *PHOTO, "--output", "out.png", "--force", "--json", *hold]) == 0
    assert json.loads(capfd.readouterr().out)["quality"] == {"full": 1.0}


def test_webcam_draws_classes_of_a_model_whose_facts_are_given(place: Path) -> None:
    facts = ["--labels", "dark,bright", "--input-range", "0", "1", "--activation", "softmax"]
    look = ["--opacity", "1", "--no-legend"]
    arguments = ["--model", "bare.tflite", "--source", "photo.png", "--output", "out.png", *facts, *look]
    assert main(["webcam", *arguments]) == 0
    picture = read_image(place / "out.png")
    assert (picture[45:55, 75:85] == colour_map(2)[1]).all() and (picture[:10] == colour_map(2)[0]).all()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["blur", "--model", "bare.tflite", "--source", "photo.png", "--output", "o.png"], 1, "--labels"),
        (["blur", *PHOTO, "--labels", "voc", "--output", "o.png"], 2, "carries one"),
        (["blur", *PHOTO], 1, "--output"),
        (["blur", *PHOTO, "--output", "photo.png", "--force"], 1, "source itself"),
        (["blur", *PHOTO, "--output", "bright.tflite"], 2, ".tflite"),
        (["blur", *PHOTO, "--output", "o.png", "--strength", "2"], 2, "--strength"),
        (["blur", *PHOTO, "--output", "o.png", "--background", "orang"], 2, "did you mean orange"),
        (["blur", *PHOTO, "--output", "o.png", "--camera-size", "12"], 2, "1280x720"),
        (["blur", *PHOTO, "--output", "o.png", "--strenght", "1"], 2, "--strength"),
        (["blur", *PHOTO, "--output", "o.png", "--max-cpu", "0"], 2, "--max-cpu"),
        (["blur", *PHOTO, "--output", "o.png", "--target-fps", "full"], 2, "--target-fps"),
        (["blur", *PHOTO, "--output", "o.png", "--mask-every", "9"], 2, "--mask-every"),
        (["blur", *PHOTO, "--output", "o.png", "--small-model", "bright.tflite"], 2, "--target-fps or --max-cpu"),
        (["blur", *PHOTO, "--output", "o.png", "--max-cpu", "50", "--small-model", "none"], 1, "no such model"),
        (["blur", "--model", "bright.tflite", "--source", "none.mp4", "--output", "o.png"], 1, "none.mp4"),
        (["webcam", "--model", "photo.png", "--source", "photo.png", "--output", "o.png"], 1, "photo.png"),
        (["demo", "--model", "bright.tflite", "--output", "photo.png"], 1, "photo.png"),
        (["demo", "--model", "bright.tflite", "--frames", "0"], 2, "--frames"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    place: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    assert main(arguments) == code
    written = capfd.readouterr()
    lines = [line for line in written.err.splitlines() if not line.startswith("INFO: ")]  # the engine's own greeting
    assert written.out == "" and len(lines) == 1
    assert lines[0].startswith("edge-deeplab: error: ") and says in lines[0]
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_a_written_output_is_replaced_only_when_forced(place: Path) -> None:
    arguments = ["blur", *PHOTO, "--output", "out.png"]
    assert [main(arguments), main(arguments), main([*arguments, "--force"])] == [0, 1, 0]


def test_listing_cameras_needs_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blur", "--list-cameras"]) == 0
    written = capsys.readouterr()
    assert written.out or "no camera found" in written.err


def test_defaults_are_those_of_the_dataclasses() -> None:
    homes = {
        blur: (LiveOptions, PortraitOptions, CompositingOptions, QualityOptions),
        webcam: (LiveOptions, WebcamOptions, OverlayOptions),
        demo: (DemoOptions, CompositingOptions),
    }
    for command, classes in homes.items():
        known: dict[str, object] = {}
        for cls in reversed(classes):
            known.update({name: getattr(cls(), name) for name in cls.__dataclass_fields__})
        checked = 0
        for parameter in command.params:
            if parameter.name in known and isinstance(parameter, click.Option):
                default = None if str(parameter.default) == "Sentinel.UNSET" else parameter.default
                assert default == known[parameter.name], f"{command.name} {parameter.opts}"
                checked += 1
        assert checked >= 6


def test_sizes_are_width_by_height() -> None:
    assert live_program.SizeWH().convert("1280X720", None, None) == (1280, 720)
    with pytest.raises(click.BadParameter, match="1280x720"):
        live_program.SizeWH().convert("1280", None, None)
