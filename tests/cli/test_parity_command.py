"""`edge-deeplab parity` on this machine's own kernel sets and on a delegate: figures, verdict, exit code."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.calibration.artifact import CalibrationSet
from edge_deeplab.calibration.recipe import SamplingRecipe
from edge_deeplab.calibration.sampling import Picture, choose_samples
from edge_deeplab.cli.main import main
from edge_deeplab.cli.parity_samples import BUILT_IN, find_samples
from edge_deeplab.cli.parity_sides import MAX_MEAN_STEPS, MIN_IOU, Limits
from edge_deeplab.evaluation.agreement import compare_classes, compare_outputs
from edge_deeplab.imaging.decode import write_image


def parity(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["parity", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def only_error(err: str) -> str:
    (line,) = [line for line in err.splitlines() if line.startswith("edge-deeplab: error: ")]
    return line


def test_the_same_kernels_give_the_same_bits(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = parity(["portrait", "--target", "local:xnnpack", "--limit", "2", "--max-steps", "0"], capsys)
    assert code == 0, err
    assert "Verdict: the same, bit-identical" in out
    assert "share of outputs" not in out  # no histogram of nothing


def test_other_kernels_are_near_and_every_figure_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "parity.json"
    code, out, err = parity(["portrait", "--target", "local:builtin", "--limit", "3", "--json", str(file)], capsys)
    assert code == 0, err
    document: dict[str, Any] = json.loads(file.read_text())
    steps, classes = document["steps"], document["classes"]
    assert 0 < steps["mean_steps"] < MAX_MEAN_STEPS and MIN_IOU < classes["person_iou"] < 1
    assert 1 <= steps["max_steps"] == max(steps["sample_max_steps"])
    assert sum(steps["shares"].values()) == pytest.approx(1)
    assert len(document["samples"]["names"]) == len(classes["sample_iou"]) == 3
    assert document["there"]["kernels"] == "builtin" and document["missed"] == []
    for words in ("difference, mean, steps", "person IoU", "share of outputs", "Verdict: the same"):
        assert words in out


def test_a_missed_limit_is_exit_code_3_after_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    gates = ["--max-steps", "0", "--max-mean-steps", "0.01", "--min-iou", "1"]
    code, out, err = parity(["portrait", "--target", "local:builtin", "--limit", "1", *gates], capsys)
    assert code == 3
    for words in ("steps in one output, at most 0", "steps in the mean, at most 0.01", "IoU 0.9"):
        assert words in only_error(err)
    assert "Verdict: not the same" in out


def test_each_limit_holds_by_itself() -> None:
    here = np.array([[0, 0, 0, 4]], np.uint8)
    steps = compare_outputs(here, np.array([[0, 0, 0, 0]], np.uint8))  # 1 in the mean, 4 at most
    classes = compare_classes([here > 2], [here > 5], classes=2, person=None)  # IoU (3/4 + 0) / 2
    loose = Limits(min_iou=0.3, max_mean_steps=1.0)
    assert loose.missed(steps, classes) == []
    for tight in ({"min_iou": 0.4}, {"max_mean_steps": 0.9}, {"max_steps": 3}):
        (missed,) = dataclasses.replace(loose, **tight).missed(steps, classes)
        assert "at " in missed
    assert dataclasses.replace(loose, max_steps=4).missed(steps, classes) == []


def test_zeros_of_another_sign_are_other_bits() -> None:
    here = np.array([[0.0, 1.0]], np.float32)
    steps = compare_outputs(here, np.array([[-0.0, 1.0]], np.float32))
    classes = compare_classes([here > 0.5], [here > 0.5], classes=2, person=1)
    assert Limits().missed(steps, classes) == []
    assert Limits(max_steps=0).missed(steps, classes) == ["other bits"]


def pictures_in(folder: Path, count: int = 5) -> list[np.ndarray]:
    generator = np.random.default_rng(3)
    pictures = [generator.integers(0, 256, (40 + 10 * index, 60, 3), np.uint8) for index in range(count)]
    folder.mkdir()
    for index, picture in enumerate(pictures):
        write_image(folder / f"{index}.png", picture)
    (folder / "notes.txt").write_text("no picture")
    return pictures


def test_samples_are_the_pictures_asked_for(tmp_path: Path) -> None:
    pictures = pictures_in(tmp_path / "pictures")
    source, samples = find_samples(tmp_path / "pictures", limit=2)
    assert (source, [name for name, _ in samples]) == ("pictures", ["0.png", "2.png"])
    assert np.array_equal(samples[1][1], pictures[2])
    _, (only,) = find_samples(tmp_path / "pictures" / "4.png", limit=9)
    assert np.array_equal(only[1], pictures[4])
    source, built_in = find_samples(None, limit=100)
    assert source == BUILT_IN and len({image.tobytes() for _, image in built_in}) == len(built_in) >= 10


def test_a_calibration_artifact_gives_its_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(1)
    pictures = [
        Picture(source="drawn", name=f"{index}.png", image=generator.integers(0, 256, (64, 64, 3)).astype(np.uint8))
        for index in range(4)
    ]
    artifact = CalibrationSet.of(choose_samples(pictures, SamplingRecipe(count=3, seed=7, size_hw=(32, 32))))
    artifact.save(tmp_path / "small.calib")
    source, samples = find_samples(tmp_path / "small.calib", limit=9)
    assert source == "small.calib"
    assert np.array_equal(np.stack([image for _, image in samples]), artifact.samples)
    where = ["--target", "local:xnnpack", "--samples", str(tmp_path / "small.calib")]
    code, out, err = parity(["portrait", *where, "--json", "-"], capsys)
    assert code == 0, err
    assert len(json.loads(out)["samples"]["names"]) == len(artifact)


def test_a_model_that_says_nothing_of_itself_needs_its_facts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "bare.tflite"
    model.write_bytes(bright_segmenter().to_bytes())
    code, _, err = parity([str(model), "--target", "local:reference"], capsys)
    assert code == 1 and "--labels" in only_error(err)
    facts = ["--labels", "dark,bright", "--input-range", "0", "1", "--activation", "softmax", "--person-class", "none"]
    code, out, err = parity([str(model), "--target", "local:reference", *facts, "--limit", "2"], capsys)
    assert code == 0, err
    assert "mean IoU of the classes" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["portrait"], 2, "--target is missing"),
        (["portrait", "--target", "local:fast"], 2, "unknown kernels"),
        (["portrait", "--target", "local:auto", "--target-kernels", "builtin"], 2, "is for ssh"),
        (["portrait", "--target", "adb:x"], 2, "writes no outputs"),
        (["nowhere.tflite", "--target", "local:auto"], 1, "nowhere.tflite"),
        (["portrait", "--target", "local:auto", "--samples", "{folder}"], 1, "no picture in this folder"),
        (["portrait", "--target", "local:auto", "--samples", "{folder}/x.calib"], 1, "no such calibration file"),
        (["portrait", "--target", "local:auto", "--samples", "{folder}/x.png"], 1, "no such file"),
        (["portrait", "--target", "local:auto", "--python", "/nowhere/python"], 2, "no such program"),
        (["portrait", "--target", "local:auto", "--python", "/bin/false"], 1, "the job failed there"),
        (["portrait", "--target", "local:auto", "--json", "{folder}/no/x.json"], 1, "no folder"),
        (["portrait", "--target", "local:auto", "--labels", "voc"], 2, "carry"),
        (["{folder}/x.keras", "--target", "local:auto"], 1, "x.keras"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    came, out, err = parity([word.format(folder=tmp_path) for word in arguments], capsys)
    assert (came, out) == (code, "")
    assert words in only_error(err)
    assert list(tmp_path.iterdir()) == []


DELEGATE = r"""
/* A delegate by TensorFlow Lite's C interface (core/c/common.h): takes no operator, or fails to prepare. */
#include <stdlib.h>
typedef struct TfLiteDelegate {
  void *data; int (*prepare)(void *, struct TfLiteDelegate *);
  void *copy_from, *copy_to, *free_handle; long flags; void *opaque;
} TfLiteDelegate;
static int prepare(void *context, TfLiteDelegate *self) { return RESULT; }
TfLiteDelegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  TfLiteDelegate *made = calloc(1, sizeof *made);
  made->prepare = prepare;
  return made;
}
void tflite_plugin_destroy_delegate(TfLiteDelegate *made) { free(made); }
"""


def build_delegate(folder: Path, result: int) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler, to build a delegate")
    source, library = folder / "delegate.c", folder / f"delegate{result}.so"
    source.write_text(DELEGATE)
    subprocess.run(
        [compiler, "-shared", "-fPIC", f"-DRESULT={result}", "-o", str(library), str(source)], check=True
    )  # fmt: skip
    return library


def test_a_delegate_is_asked_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = build_delegate(tmp_path, 0)
    code, out, err = parity(["portrait", "--target", f"local:{taken}", "--limit", "1", "--json", "-"], capsys)
    assert code == 0, err
    document = json.loads(out)
    assert document["there"]["kernels"] == "delegate0.so"
    assert document["steps"]["is_identical"], "it takes no operator, so the same kernels ran"
    code, _, err = parity(["portrait", "--target", f"local:{build_delegate(tmp_path, 1)}", "--limit", "1"], capsys)
    assert code == 1 and "portrait.tflite: does not load" in only_error(err)


def test_a_library_that_is_no_delegate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake = tmp_path / "fake.so"
    fake.write_bytes(b"no library")
    code, _, err = parity(["portrait", "--target", f"local:{fake}", "--limit", "1"], capsys)
    assert code == 2 and "is no delegate" in only_error(err)


def test_another_python_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named from here, though it runs elsewhere."""
    monkeypatch.chdir(tmp_path)
    wrapper = tmp_path / "bin" / "python"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\ntouch "{tmp_path}/was here"\nexec "{sys.executable}" "$@"\n')
    wrapper.chmod(0o755)
    where = ["--target", "local:xnnpack", "--python", "bin/python", "--limit", "1", "--json", "-"]
    code, out, err = parity(["portrait", *where], capsys)
    assert code == 0, err
    assert "bin/python" in json.loads(out)["there"]["place"]
    assert (tmp_path / "was here").exists()
