"""Mass segmentation: the journal's promises, names that never meet, what is read and what is written."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.errors import InputError, OutputError, UsageError
from edge_deeplab.imaging.decode import read_image, read_mask
from edge_deeplab.serving.bulk.inputs import find_pictures
from edge_deeplab.serving.bulk.job import Progress, run_job
from edge_deeplab.serving.bulk.journal import Journal, Outcome
from edge_deeplab.serving.bulk.options import KINDS, BulkOptions
from edge_deeplab.serving.bulk.ray_data import shard_size
from edge_deeplab.serving.bulk.worker import BEGUN, output_path
from edge_deeplab.serving.segmentation import Segmentation

FACTS = {"model": "m"}


@pytest.fixture
def photos(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """Pictures in folders: names that meet, a broken one, one that is no picture, a hidden one."""
    root = tmp_path / "photos"
    (root / "a" / "b").mkdir(parents=True)
    small = np.ascontiguousarray(astronaut[::4, ::2, ::-1])
    for name in ("1.jpg", "a/1.jpg", "a/1.png", "a/b/1.jpg", "a/b/2.JPG", "a/.hidden.jpg"):
        cv2.imwrite(str(root / name), small)
    whole = (root / "1.jpg").read_bytes()
    (root / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "a" / "notes.txt").write_text("no picture")
    return root


def outputs(folder: Path, kind: str = "labels") -> list[str]:
    return sorted(path.relative_to(folder / kind).as_posix() for path in (folder / kind).rglob("*") if path.is_file())


def test_every_picture_gets_one_output_and_the_tree_is_kept(
    photos: Path, tmp_path: Path, astronaut: np.ndarray
) -> None:
    seen: list[Progress] = []
    out = tmp_path / "out"
    end = run_job([photos], out, BulkOptions(kinds=tuple(KINDS), workers=2), on_progress=seen.append)
    assert (end.total, end.done, end.bad, end.now) == (6, 5, 1, 6)
    stems = ["1", "a/1", "a/1.png", "a/b/1", "a/b/2"]
    for kind, suffix in KINDS.items():
        assert outputs(out, kind) == sorted(f"{stem}{suffix}" for stem in stems)
    assert [(one.done, one.bad) for one in seen][-1] == (5, 1)
    rows = list(csv.reader((out / "bad.csv").open()))
    assert len(rows) == 2
    assert rows[1][0] == str(photos / "a" / "cut.jpg")
    assert "truncated" in rows[1][1]
    assert len(list(csv.reader((out / "done.csv").open()))) == 6
    assert not (out / BEGUN).exists()

    labels = read_mask(out / "labels" / "1.png")
    assert labels.shape == (128, 256)
    assert set(np.unique(labels)) == {0, 1}
    held = np.load(out / "npz" / "1.npz")
    assert np.array_equal(held["labels"], labels)
    assert list(held["names"]) == ["background", "person"]
    assert np.abs(held["probabilities"].sum(-1) - 1).max() < 0.01
    matte = read_mask(out / "matte" / "1.png")
    assert ((matte > 140) <= (labels == 1)).all()
    assert read_image(out / "overlay" / "1.jpg").shape == (128, 256, 3)
    segments = json.loads((out / "rle" / "1.json").read_text())["segments"]
    assert [one["label"] for one in segments] == ["background", "person"]
    assert segments[1]["area"] == int((labels == 1).sum())


def test_a_run_is_gone_on_with_and_bad_pictures_get_another_try(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, options = tmp_path / "out", BulkOptions(workers=1, batch=1)
    calls: list[int] = []

    def stop(progress: Progress) -> None:
        calls.append(progress.done)
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job([photos], out, options, on_progress=stop)
    before = {name: (out / "labels" / name).stat().st_mtime_ns for name in outputs(out)}
    assert 2 <= len(before) < 5
    with pytest.raises(OutputError, match="--resume continues it"):
        run_job([photos], out, options)
    with pytest.raises(UsageError, match="was begun otherwise"):
        run_job([photos], out, BulkOptions(kinds=("matte",)), resumes=True)
    (out / BEGUN).mkdir(exist_ok=True)
    (out / BEGUN / "leftover").write_bytes(b"of a killed run")
    (photos / "a" / "cut.jpg").write_bytes((photos / "1.jpg").read_bytes())
    cv2.imwrite(str(photos / "new.png"), np.zeros((8, 8, 3), np.uint8))
    end = run_job([photos], out, options, resumes=True)
    assert (end.total, end.done, end.bad) == (7, 7, 0)
    assert len(outputs(out)) == 7
    kept = [name for name, stamp in before.items() if (out / "labels" / name).stat().st_mtime_ns == stamp]
    assert len(kept) >= 2, "what was noted as done was done again"
    assert not (out / BEGUN).exists()
    again = run_job([photos], out, options, resumes=True)
    assert (again.total, again.done, again.now) == (7, 7, 0)


def test_two_runs_never_write_into_one_folder(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with (
        Journal.open(out, FACTS, resumes=False) as journal,
        pytest.raises(OutputError, match="another run writes there"),
    ):
        journal.add([("/x.jpg", "x")])
        Journal.open(out, FACTS, resumes=True)


def test_a_list_is_taken_line_by_line_and_its_outputs_stay_apart(photos: Path, tmp_path: Path) -> None:
    listed = tmp_path / "some.txt"
    listed.write_text(f"# a comment\nphotos/1.jpg\n\n{photos}/a/b/1.jpg\nphotos/a/b/1.jpg\nphotos/missing.jpg\n")
    out = tmp_path / "out"
    end = run_job([listed], out, BulkOptions())
    assert (end.done, end.bad) == (2, 1)
    assert outputs(out) == ["1.png", "a/b/1.png"]
    assert "no such file" in (out / "bad.csv").read_text()


def test_the_output_folder_inside_the_input_is_not_taken_for_pictures(photos: Path) -> None:
    out = photos / "out"
    assert run_job([photos], out, BulkOptions(kinds=("overlay",))).total == 6
    assert run_job([photos], out, BulkOptions(kinds=("overlay",)), resumes=True).total == 6


def test_names_no_text_can_hold_are_kept(tmp_path: Path, photos: Path) -> None:
    odd = os.fsdecode(b"caf\xe9 \xf0\x9f\x90\x88, 1.jpg")
    (photos / "a" / "b" / odd).write_bytes((photos / "1.jpg").read_bytes())
    out = tmp_path / "out"
    assert run_job([photos / "a" / "b"], out, BulkOptions()).done == 3
    assert (out / "labels" / odd).with_suffix(".png").is_file()


@pytest.mark.parametrize(
    ("inputs", "error", "said"),
    [
        (["nowhere"], InputError, "no such file or folder"),
        (["a/notes.doc"], InputError, "is no folder, list or picture"),
        (["empty"], InputError, "no picture found"),
        (["a/cut.jpg"], InputError, "all 1 pictures are bad"),
    ],
)
def test_bad_inputs_are_one_line(
    photos: Path, tmp_path: Path, inputs: list[str], error: type[Exception], said: str
) -> None:
    (photos / "empty").mkdir()
    (photos / "a" / "notes.doc").write_text("")
    with pytest.raises(error, match=said):
        run_job([photos / name for name in inputs], tmp_path / "out", BulkOptions())


def test_a_folder_of_something_else_is_kept(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something else"):
        run_job([photos], out, BulkOptions())
    (out / "mine.txt").unlink()
    (out / "journal.sqlite").write_bytes(b"not a data base, but long enough to be read as one" * 100)
    with pytest.raises(InputError, match="is no journal"):
        run_job([photos], out, BulkOptions(), resumes=True)


def test_a_full_disk_ends_the_run_and_what_is_taken_does_not(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that a folder has is one picture's trouble; a disk that is full is everyone's."""
    import errno

    from edge_deeplab.serving.bulk import worker

    out = tmp_path / "out"
    real, put = worker._put, []

    def full(path: Path, data: bytes, *, begun: Path) -> None:
        put.append(path)
        if len(put) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data, begun=begun)

    monkeypatch.setattr(worker, "_put", full)
    with pytest.raises(OutputError, match="No space left"):
        run_job([photos], out, BulkOptions(workers=1, batch=1))
    monkeypatch.undo()
    output_path(out, "labels", "a/b/2").mkdir(parents=True)
    end = run_job([photos], out, BulkOptions(workers=1, batch=1), resumes=True)
    assert (end.done, end.bad) == (4, 2)
    assert "Is a directory" in (out / "bad.csv").read_text()


PATHS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "a/b"]), st.sampled_from(["1", "2", "1.png", "1.png~2"]),
              st.sampled_from([".png", ".jpg", ".PNG"])),
    max_size=30,
)  # fmt: skip


@given(PATHS)
@settings(max_examples=40, deadline=None)
def test_no_two_pictures_share_a_name(
    tmp_path_factory: pytest.TempPathFactory, paths: list[tuple[str, str, str]]
) -> None:
    sources = [(f"/data/{folder}/{stem}{suffix}", f"{folder}/{stem}") for folder, stem, suffix in paths]
    with Journal.open(tmp_path_factory.mktemp("names") / "out", FACTS, resumes=False) as journal:
        added = journal.add(sources)
        assert journal.add(sources) == 0
        items = [item for batch in journal.waiting(batch=7) for item in batch]
    assert added == len(items) == len({source for source, _ in sources}) == len({item.name for item in items})


def test_what_is_waiting_comes_once_while_outcomes_are_noted(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "out", FACTS, resumes=False) as journal:
        journal.add((f"/{number}.jpg", str(number)) for number in range(100))
        seen = []
        for items in journal.waiting(batch=8):
            seen += [item.source for item in items]
            journal.record([Outcome(item.number, "bad" * (item.number % 10 == 0)) for item in items])
        assert seen == [f"/{number}.jpg" for number in range(100)]
        assert journal.counts() == (0, 90, 10)
    with Journal.open(tmp_path / "out", FACTS, resumes=True) as journal:
        assert journal.counts() == (10, 90, 0)


def test_folders_are_walked_in_the_same_order(photos: Path, tmp_path: Path) -> None:
    found = list(find_pictures([photos], leave_out=tmp_path / "out"))
    assert found == list(find_pictures([photos], leave_out=tmp_path / "out"))
    assert [name for _, name in found] == ["1", "a/1", "a/1", "a/cut", "a/b/1", "a/b/2"]


@pytest.mark.parametrize(("waiting", "workers", "expected"), [(3, 2, 8), (400, 2, 50), (10**6, 4, 256), (10, 100, 8)])
def test_blocks_leave_no_worker_without_pictures(waiting: int, workers: int, expected: int) -> None:
    assert shard_size(waiting, workers=workers, batch=8) == expected


def test_a_model_without_a_person_gives_no_matte() -> None:
    from edge_deeplab.errors import ModelError
    from edge_deeplab.imaging.resize import Placement

    placement = Placement.plan((4, 4), (4, 4), "stretch")
    result = Segmentation(
        np.zeros((4, 4, 3), np.uint8), ("sky", "road"), np.zeros((4, 4, 2), np.float32), placement, None
    )
    with pytest.raises(ModelError, match="no person"):
        _ = result.matte
