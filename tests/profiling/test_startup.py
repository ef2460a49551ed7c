from __future__ import annotations

import subprocess
import sys

import pytest

from edge_deeplab.errors import EdgeDeepLabError
from edge_deeplab.profiling.milestones import STARTED
from edge_deeplab.profiling.startup import measure_startup

MIB = 1024 * 1024
PROGRAM = """
import sys, time
from edge_deeplab.profiling.milestones import Milestones
milestones = Milestones()
print("chatter that programs print")
held = bytearray({held}); held[::512] = held[::512].replace(b"\\0", b"x")
milestones.reach("held", is_ready=True)
del held
milestones.reach("freed")
milestones.write(sys.stdout)
"""


def program(held_bytes: int) -> list[str]:
    return [sys.executable, "-c", PROGRAM.format(held=held_bytes)]


def test_steps_come_in_order_and_add_up() -> None:
    report = measure_startup(program(MIB), runs=3)
    assert [step.name for step in report.steps] == [STARTED, "held", "freed"]
    assert report.runs == 3
    at_ms = [step.at_ms for step in report.steps]
    assert at_ms == sorted(at_ms)
    assert at_ms[0] > 0
    assert report.ready_ms == report.step("held").at_ms


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="no peak memory on this system")
def test_peak_memory_is_the_childs_own_and_stays_after_freeing() -> None:
    """A large parent must not show in a small child, and the peak outlives what was freed."""
    ballast = bytearray(256 * MIB)
    ballast[::512] = b"x" * len(ballast[::512])
    small = measure_startup(program(MIB), runs=1).peak_memory_bytes
    large = measure_startup(program(128 * MIB), runs=1).peak_memory_bytes
    assert small is not None and large is not None
    assert small < 128 * MIB
    assert 100 * MIB < large - small < 160 * MIB
    assert len(ballast)


def test_milestones_import_nothing_heavy() -> None:
    code = "import sys, edge_deeplab.profiling.milestones; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit('the model is broken')", "the model is broken"),
        ("print('no json')", "no milestones"),
        ("pass", "no milestones"),
        ("print('[1]')", "no milestones"),
        ("import os; os.abort()", "exit -6"),
    ],
)
def test_a_program_that_fails_gives_one_line(code: str, words: str) -> None:
    with pytest.raises(EdgeDeepLabError, match=words) as caught:
        measure_startup([sys.executable, "-c", code], runs=1)
    assert "\n" not in str(caught.value)


def test_a_program_that_hangs_is_stopped() -> None:
    with pytest.raises(EdgeDeepLabError, match="hung"):
        measure_startup([sys.executable, "-c", "import threading; threading.Event().wait()"], runs=1, timeout_s=0.5)
