"""Having a model measured or run elsewhere, from here: on a device behind ssh, or in another process of this machine.

    with open_ssh(SshTarget("camera.local", "pi")) as place:
        measured = profile_there(place, Path("portrait.tflite"), ProfileRequest(threads=(1, 4)))
        outputs = outputs_there(place, Path("portrait.tflite"), samples)

What is sent is the model, the samples, and the few modules that run it; what comes back is checked before it is used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_deeplab import __version__
from edge_deeplab.errors import DeviceError, ModelError, UsageError
from edge_deeplab.profiling.engine import EngineProfile, ModelFacts
from edge_deeplab.profiling.host import Host
from edge_deeplab.profiling.report import ProfileReport, doubts
from edge_deeplab.profiling.startup import StartupReport
from edge_deeplab.remote import far_side
from edge_deeplab.remote.address import SshTarget
from edge_deeplab.remote.bundle import make_bundle
from edge_deeplab.remote.far_python import FarPython, find_python
from edge_deeplab.remote.job import Job
from edge_deeplab.remote.openssh import OpenSsh
from edge_deeplab.remote.shell import Say, Shell
from edge_deeplab.remote.vitals import Vitals, changes

ARCHIVE = "job.zip"


@dataclass(frozen=True, kw_only=True)
class ProfileRequest:
    """What is to be measured there; the fields mean what they mean in profiling.engine.

    Attributes:
        threads: None measures 1 and all of the device.
        starts: processes started to measure start-up and memory; 0 for none.
    """

    threads: tuple[int, ...] | None = None
    kernels: str = "auto"
    runs: int = 100
    warmup: int = 10
    starts: int = 5


@dataclass(frozen=True, kw_only=True)
class RemoteProfile:
    """A profile made elsewhere.

    Attributes:
        place: the address, and the Python that ran it.
        report: as a profile of this machine has it; its host is the device, its notes speak of the device.
        before, after: the device's clocks and temperatures around the measurement.
    """

    place: str
    report: ProfileReport
    before: Vitals
    after: Vitals

    def to_dict(self) -> dict[str, Any]:
        """The report's JSON with where it was made."""
        return {**self.report.to_dict(), "target": {"place": self.place}}


@dataclass(frozen=True, kw_only=True, eq=False)
class RemoteOutputs:
    """What a model gave elsewhere.

    Attributes:
        place: as RemoteProfile's.
        host: the device; engine: package and version of its interpreter.
        raw: (N, ...) the first output of each sample, as the interpreter gave it.
    """

    place: str
    host: Host
    engine: tuple[str, str]
    raw: np.ndarray
    before: Vitals
    after: Vitals


class Place(Protocol):
    """Somewhere a bundle can run: unpacked and started in a folder of its own, which is gone afterwards."""

    @property
    def name(self) -> str:
        """For a person: address and Python."""

    def run(self, bundle: bytes) -> bytes:
        """Runs a bundle and returns its result.zip. Raises DeviceError when it ends without one."""


class SshPlace:
    """A Python on a device behind a shell."""

    def __init__(self, shell: Shell, python: FarPython, *, say: Say) -> None:
        self._shell, self._python, self._say = shell, python, say
        self.name = f"{shell.address}, Python {python.version} at {python.path}"

    def run(self, bundle: bytes) -> bytes:
        """As Place.run; a connection lost on the way is taken up again."""
        with Job(self._shell, (self._python.path, ARCHIVE), say=self._say) as job:
            job.send(bundle, ARCHIVE)
            status = job.finish(on_progress=lambda text: self._say(f"{self._shell.address}: {text}"))
            if status != 0:
                raise _ended_badly(self._shell.address, status, job.complaint())
            return job.fetch(far_side.RESULT)


class LocalPlace:
    """A process of this machine: this Python, or another one that is named.

    Raises: UsageError when `python` is no program.
    """

    def __init__(self, python: str | None = None, *, say: Say = lambda _: None) -> None:
        program = shutil.which(python) if python else sys.executable
        if program is None:
            raise UsageError(f"--python {python}: no such program")
        self._program, self._say = str(Path(program).absolute()), say  # not resolved: a venv's python is a link
        self.name = "this machine" + (f", {program}" if python else "")

    def run(self, bundle: bytes) -> bytes:
        """As Place.run."""
        with tempfile.TemporaryDirectory(prefix="edge-deeplab-") as folder:
            place = Path(folder)
            (place / ARCHIVE).write_bytes(bundle)
            done = subprocess.run(
                [self._program, ARCHIVE], cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", check=False,
            )  # fmt: skip
            if done.returncode != 0:
                lines = done.stderr.strip().splitlines() or ["no message"]
                raise _ended_badly(self.name, done.returncode, lines[-1])
            return (place / far_side.RESULT).read_bytes()


def _ended_badly(place: str, status: int, last_line: str) -> DeviceError:
    number = -status if status < 0 else status - 128 if status > 128 else 0  # a shell's way to say: ended by a signal
    if number:
        with contextlib.suppress(ValueError):
            last_line = f"{signal.Signals(number).name}, {last_line}"
    if "No space left" in last_line:
        return DeviceError(f"{place}: the disk is full there", came=last_line)
    missing = "ModuleNotFoundError" in last_line or "ImportError" in last_line
    hint = "check that numpy and ai-edge-litert work in that Python" if missing else None
    return DeviceError(f"{place}: the job failed there", came=last_line, next_step=hint)


@contextlib.contextmanager
def open_ssh(
    target: SshTarget, *, python: str | None = None, config: Path | None = None, say: Say = lambda _: None
) -> Iterator[SshPlace]:
    """Connects and finds a Python there. say: told of progress and of lost connections, one sentence each.

    Raises: DeviceError when the machine cannot be reached, does not let us in, or has no Python that will do.
    """
    with contextlib.closing(OpenSsh(target, config=config)) as shell:
        yield SshPlace(shell, find_python(shell, python), say=say)


def profile_there(place: Place, model: Path, request: ProfileRequest) -> RemoteProfile:
    """Measures a model file there. Raises: DeviceError; ModelError when the model does not work there."""
    document, _ = _run(place, model, {"job": "profile", **dataclasses.asdict(request)}, None)
    with _checked(place):
        host, before, after = Host.from_dict(document["host"]), *_vitals(document)
        latency = tuple(EngineProfile.from_dict(row) for row in document["latency"])
        start = document["model_start"]
        noise = {f"{row.threads} thread(s)": row.latency for row in latency}
        report = ProfileReport(
            host=host,
            engine=(document["engine"][0], document["engine"][1]),
            model=dataclasses.replace(ModelFacts.from_dict(document["model"]), file=model.name),
            latency=latency,
            model_start=StartupReport.from_dict(start) if start else None,
            vitals=document["vitals"],
            measured_at=datetime.now().astimezone().isoformat(timespec="seconds"),
            edge_deeplab=__version__,
            notes=(*doubts(host, noise), *changes(before, after)),
        )
    return RemoteProfile(place=place.name, report=report, before=before, after=after)


def outputs_there(
    place: Place,
    model: Path,
    samples: np.ndarray,
    *,
    threads: int = 1,
    kernels: str = "auto",
    delegate: Path | None = None,
) -> RemoteOutputs:
    """Runs a model there.

    samples: (N, h, w, 3) in the raw dtype of the model's input.
    Raises: as profile_there.
    """
    request = {"job": "outputs", "threads": threads, "kernels": kernels}
    request["delegate"] = str(delegate) if delegate else None
    document, outputs = _run(place, model, request, samples)
    with _checked(place):
        if outputs is None or len(outputs) != len(samples):
            raise ValueError("not as many outputs as samples")
        before, after = _vitals(document)
        return RemoteOutputs(
            place=place.name, host=Host.from_dict(document["host"]), raw=outputs, before=before, after=after,
            engine=(document["engine"][0], document["engine"][1]),
        )  # fmt: skip


def _run(
    place: Place, model: Path, request: dict[str, Any], samples: np.ndarray | None
) -> tuple[dict[str, Any], np.ndarray | None]:
    files = {far_side.MODEL: model.read_bytes(), far_side.REQUEST: json.dumps(request).encode()}
    if samples is not None:
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.ascontiguousarray(samples), allow_pickle=False)
        files[far_side.SAMPLES] = stream.getvalue()
    data = place.run(make_bundle(files))
    with _checked(place), zipfile.ZipFile(io.BytesIO(data)) as archive:
        document: dict[str, Any] = json.loads(archive.read(far_side.RESULT_JSON))
        has_outputs = far_side.OUTPUTS in archive.namelist()
        raw = np.load(io.BytesIO(archive.read(far_side.OUTPUTS)), allow_pickle=False) if has_outputs else None
        error = document.get("error")
    if error:
        message = str(error["message"]).replace(far_side.MODEL, model.name)
        kinds = {"ModelError": ModelError, "UsageError": UsageError}
        raise kinds.get(str(error["kind"]), DeviceError)(f"{place.name}: {message}")
    return document, raw


@contextlib.contextmanager
def _checked(place: Place) -> Iterator[None]:
    """What comes from elsewhere may be anything: what does not fit becomes one line."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        EOFError,
        OSError,
    ) as error:
        raise DeviceError(
            f"{place.name}: its result cannot be read", came=f"{type(error).__name__}: {error}"
        ) from error


def _vitals(document: dict[str, Any]) -> tuple[Vitals, Vitals]:
    looks = document["vitals"]
    return Vitals.from_dict(looks["before"]), Vitals.from_dict(looks["after"])
