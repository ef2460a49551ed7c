"""The other end: what a device's Python runs to measure or to run a model. Needs numpy and a LiteRT interpreter alone.

Started by bundle.py's __main__ in a folder with model.tflite, request.json and what else the request speaks of. Leaves
result.zip: result.json, and outputs.npy where outputs were asked for. What fails in a way we know is a result too.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.errors import EdgeDeepLabError
from edge_deeplab.profiling.engine import describe_model, profile_engine
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.latency import MeasureOptions
from edge_deeplab.profiling.startup import measure_startup
from edge_deeplab.remote.vitals import read_vitals
from edge_deeplab.runtime.interpreter import Engine, engine_name

MODEL, REQUEST, SAMPLES, RESULT = "model.tflite", "request.json", "samples.npy", "result.zip"
RESULT_JSON, OUTPUTS = "result.json", "outputs.npy"
PROGRESS = "progress"


def main() -> int:
    """Does what request.json asks for. Returns 0 where a result was written, be it an error."""
    request = json.loads(Path(REQUEST).read_text())
    jobs = {"profile": _profile, "outputs": _outputs}
    outputs = None
    before = read_vitals()
    try:
        result, outputs = jobs[request["job"]](request)
    except EdgeDeepLabError as error:
        result = {"error": {"kind": type(error).__name__, "message": str(error)}}
    result |= {"vitals": {"before": before.to_dict(), "after": read_vitals().to_dict()}}
    part = Path(RESULT + ".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(RESULT_JSON, json.dumps(result))
        if outputs is not None:
            with archive.open(OUTPUTS, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(outputs), allow_pickle=False)
    part.replace(RESULT)
    return 0


def _profile(request: dict[str, Any]) -> tuple[dict[str, Any], None]:
    """Latency on each number of threads, start-up and memory, with the facts of model and machine."""
    model, kernels = Path(MODEL), request["kernels"]
    host = describe_host()
    facts = describe_model(model)
    options = MeasureOptions(runs=request["runs"], warmup=request["warmup"])
    counts = request["threads"] or list(dict.fromkeys((1, host.usable_cpus)))
    latency = []
    for count in counts:
        _progress(f"{options.runs} inferences on {count} thread(s)")
        latency.append(profile_engine(model, threads=count, kernels=kernels, options=options).to_dict())
    start = None
    if request["starts"]:
        _progress(f"{request['starts']} starts")
        words = ["-m", "edge_deeplab.profiling.child", MODEL, "--threads", str(counts[0]), "--kernels", kernels]
        start = measure_startup([sys.executable, *words], runs=request["starts"]).to_dict()
    return {
        "host": host.to_dict(),
        "engine": list(engine_name()),
        "model": facts.to_dict(),
        "latency": latency,
        "model_start": start,
    }, None


def _outputs(request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """Runs every sample through the model: (N, ...) raw inputs to (N, ...) raw outputs."""
    samples = np.load(SAMPLES, allow_pickle=False)
    delegate = Path(request["delegate"]) if request["delegate"] else None
    collected = []
    with Engine(Path(MODEL), threads=request["threads"], kernels=request["kernels"], delegate=delegate) as engine:
        if engine.inputs[0].shape != (1, *samples.shape[1:]):
            engine.resize_input((1, *samples.shape[1:]))
        for number, sample in enumerate(samples, start=1):
            _progress(f"sample {number} of {len(samples)}")
            collected.append(engine.run(sample[np.newaxis])[0][0])
    outputs = np.stack(collected)
    return {"host": describe_host().to_dict(), "engine": list(engine_name())}, outputs


def _progress(text: str) -> None:
    """Leaves a line for whoever looks; whole at any moment, and taken away when it was seen."""
    part = Path(PROGRESS + ".part")
    part.write_text(text)
    part.replace(PROGRESS)
