"""Does MediaPipe's ImageSegmenter load a published model as it is, and see the same person as our Segmenter?

    python benchmarks/mediapipe_loads.py --peer-python PEER/bin/python --model portrait --pictures FOLDER

PEER is a virtual environment of its own with mediapipe==0.10.21 (it wants numpy < 2). Both sides get the same decoded
pictures; a person is where the probability, at the picture's own size, is above 0.5. Prints one line a picture with
--verbose, then the table; exit code 3 when the mean person IoU between the two, on pictures brought to the model's size
beforehand, is below --gate.

What difference remains at the pictures' own size is mostly MediaPipe's, and grows as a model shrinks: on a CPU it
shrinks a picture without the half-pixel offset, so that its mask lies (1 - model / picture) / 2 model pixels to the
right and below (measured on a disk: 0.42 pixels of a 32 x 32 model for a picture 200 wide).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PICTURES = (".jpg", ".jpeg", ".png")
THRESHOLD = 0.5
OWN, FITTED = "own", "fitted"


def run_peer(model: str, folder: str, person_class: str) -> None:
    """The peer's side, run by its own Python: every NAME.npy picture in the folder becomes NAME.mask.npy."""
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=model), output_confidence_masks=True, output_category_mask=False
    )
    with vision.ImageSegmenter.create_from_options(options) as segmenter:
        print(json.dumps({"mediapipe": mp.__version__, "labels": list(segmenter.labels)}))
        for path in sorted(Path(folder).glob("*.picture.npy")):
            picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.load(path))
            masks = segmenter.segment(picture).confidence_masks
            # a model of one channel gives the person's probability alone
            mask = masks[int(person_class) if len(masks) > 1 else 0].numpy_view()
            np.save(path.with_name(path.name.replace(".picture.", ".mask.")), np.squeeze(mask) > THRESHOLD)


def choose(folder: Path, count: int) -> list[Path]:
    """`count` pictures of a folder (or of its images/), evenly spaced in name order."""
    root = folder / "images" if (folder / "images").is_dir() else folder
    found = sorted(path for path in root.iterdir() if path.suffix.lower() in PICTURES)
    if not found:
        raise SystemExit(f"{root}: holds no pictures ({', '.join(PICTURES)})")
    places = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
    return [found[place] for place in places]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def compare(model: Path, peer_python: Path, pictures: list[Path]) -> tuple[dict[str, object], dict[str, list[float]]]:
    """What the peer says of the model, and the person IoU between the two, in the pictures' order.

    OWN: of the pictures at their own size; FITTED: of those brought to the model's.
    """
    from edge_deeplab.imaging.decode import read_image
    from edge_deeplab.imaging.resize import resize_bilinear, resize_image
    from edge_deeplab.runtime.segmenter import Segmenter

    ours: dict[str, list[tuple[Path, np.ndarray]]] = {OWN: [], FITTED: []}
    with tempfile.TemporaryDirectory() as folder, Segmenter(model) as segmenter:
        for path in pictures:
            whole = read_image(path)
            for form, image in ((OWN, whole), (FITTED, resize_image(whole, segmenter.size_hw))):
                name = Path(folder) / f"{path.stem}.{form}"
                np.save(f"{name}.picture.npy", image)
                ours[form].append((name, resize_bilinear(segmenter.matte(image), image.shape[:2]) > THRESHOLD))
        person_class = segmenter.manifest.person_class
        command = [str(peer_python), __file__, "--as-peer", str(model), folder, str(person_class)]
        peer = subprocess.run(command, capture_output=True, text=True, check=False)
        if peer.returncode != 0:
            reason = (peer.stderr.strip().splitlines() or ["no message"])[-1]
            raise SystemExit(f"MediaPipe does not load {model}: {reason}")
        said = json.loads(peer.stdout.strip().splitlines()[-1])
        scores = {form: [iou(mask, np.load(f"{name}.mask.npy")) for name, mask in ours[form]] for form in ours}
    return said, scores


def main() -> int:
    if sys.argv[1:2] == ["--as-peer"]:
        run_peer(*sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, required=True, help="the Python of an environment with mediapipe")
    parser.add_argument("--model", required=True, help="a published .tflite, or the name of a bundled model")
    parser.add_argument("--pictures", type=Path, required=True, help="a folder of pictures, or of images/ and masks/")
    parser.add_argument("--count", type=int, default=50, help="how many pictures, evenly spaced (default 50)")
    parser.add_argument("--gate", type=float, default=0.99, help="least mean person IoU (default 0.99)")
    parser.add_argument("--verbose", action="store_true", help="one line a picture")
    arguments = parser.parse_args()

    from edge_deeplab.errors import EdgeDeepLabError
    from edge_deeplab.runtime.bundled import bundled_model

    if not arguments.peer_python.is_file():
        parser.error(f"--peer-python {arguments.peer_python}: no such file; allowed: PEER/bin/python with mediapipe")
    if not arguments.pictures.is_dir():
        parser.error(f"--pictures {arguments.pictures}: no such folder")
    try:
        model = bundled_model(arguments.model)
        pictures = choose(arguments.pictures, arguments.count)
        said, scores = compare(model, arguments.peer_python, pictures)
    except EdgeDeepLabError as error:
        raise SystemExit(str(error)) from error
    if arguments.verbose:
        for score, name in sorted(zip(scores[OWN], (path.stem for path in pictures), strict=True)):
            print(f"{score:.4f}  {name}")
    print(f"model      {model.name}, labels {', '.join(map(str, said['labels']))}")  # type: ignore[arg-type]
    print(f"peer       mediapipe {said['mediapipe']}, ImageSegmenter")
    print(f"pictures   {len(pictures)}")
    for title, values in (("person IoU", scores[OWN]), ("at the model's size", scores[FITTED])):
        print(f"{title} mean {np.mean(values):.4f}, median {np.median(values):.4f}, least {min(values):.4f}")
    is_met = bool(np.mean(scores[FITTED]) >= arguments.gate)
    print(f"gate       {arguments.gate}: {'met' if is_met else 'missed'}")
    return 0 if is_met else 3


if __name__ == "__main__":
    sys.exit(main())
