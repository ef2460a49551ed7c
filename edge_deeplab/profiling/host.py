"""What the machine is on which something was measured: processor, the instructions int8 lives on, versions.

Reads /proc and /sys, starts nothing, and never fails for want of a file: what a machine does not tell is None.

    host = describe_host()
    host.cpu_name, host.int8_flags, host.has_int8_dot_product
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Instructions that decide whether int8 beats float (DESIGN.md, "Speed"): the dot products of four bytes at once.
DOT_PRODUCT_FLAGS = ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm")
# The wider set a reader of a latency wants to see: vector widths and half floats too.
FLAGS_THAT_MATTER = (
    "sse4_2", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_bf16", "avx512_fp16", "amx_bf16",
    "asimd", "asimdhp", "fphp", "sve", "sve2", "bf16",
    *DOT_PRODUCT_FLAGS,
)  # fmt: skip

# Arm cores do not name themselves; the kernel gives implementer 0x41 and a part (arch/arm64/include/asm/cputype.h).
ARM_PARTS = {
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72", "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77", "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1", "0xd46": "Cortex-A510", "0xd47": "Cortex-A710", "0xd48": "Cortex-X2",
    "0xd49": "Neoverse-N2", "0xd4d": "Cortex-A715", "0xd4e": "Cortex-X3", "0xd4f": "Neoverse-V2",
    "0xd80": "Cortex-A520", "0xd81": "Cortex-A720",
}  # fmt: skip

PACKAGES = ("numpy", "opencv-python", "opencv-python-headless", "ai-edge-litert", "tflite-runtime")


@dataclass(frozen=True, kw_only=True)
class Host:
    """The facts about a machine without which a latency is worthless.

    Attributes:
        cpu_name: as the processor calls itself; on Arm the board and the core types.
        machine: instruction set, e.g. "x86_64", "aarch64".
        cpus: logical processors of the machine.
        usable_cpus: those this process may run on.
        flags: of FLAGS_THAT_MATTER, those the processor has.
        governors: the frequency governors in use, empty where the machine does not tell (most virtual ones).
        load_1min: runnable processes over the last minute, before measuring began.
        memory_bytes: main memory, None where unknown.
        system: kernel and release.
        python: version of the interpreter.
        packages: installed version by distribution, of PACKAGES.
    """

    cpu_name: str
    machine: str
    cpus: int
    usable_cpus: int
    flags: tuple[str, ...]
    governors: tuple[str, ...]
    load_1min: float | None
    memory_bytes: int | None
    system: str
    python: str
    packages: dict[str, str]

    @property
    def int8_flags(self) -> tuple[str, ...]:
        """The int8 dot-product instructions this processor has."""
        return tuple(flag for flag in self.flags if flag in DOT_PRODUCT_FLAGS)

    @property
    def has_int8_dot_product(self) -> bool:
        """Whether int8 can be expected to be faster than float here."""
        return bool(self.int8_flags)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name with int8_flags added, ready for JSON."""
        return dataclasses.asdict(self) | {"int8_flags": list(self.int8_flags)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Host:
        """The host that to_dict wrote. Raises KeyError or TypeError for anything else."""
        known = {field.name: fields[field.name] for field in dataclasses.fields(cls)}
        return cls(**{**known, "flags": tuple(known["flags"]), "governors": tuple(known["governors"])})


def describe_host(*, proc: Path = Path("/proc"), sys_fs: Path = Path("/sys")) -> Host:
    """Reads the facts of the machine this runs on; `proc` and `sys_fs` can be a copy of another machine's."""
    blocks = parse_cpuinfo(_text(proc / "cpuinfo"))
    present = {flag for block in blocks for key in ("flags", "features") for flag in block.get(key, "").split()}
    return Host(
        cpu_name=_cpu_name(blocks, proc),
        machine=platform.machine(),
        cpus=os.cpu_count() or 1,
        usable_cpus=usable_cpus(),
        flags=tuple(flag for flag in FLAGS_THAT_MATTER if flag in present),
        governors=_governors(sys_fs),
        load_1min=_load(),
        memory_bytes=_memory_bytes(_text(proc / "meminfo")),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages=_versions(),
    )


def usable_cpus() -> int:
    """Logical processors this process may run on; all of them where the system does not say."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_cpuinfo(text: str) -> list[dict[str, str]]:
    """The blocks of a /proc/cpuinfo, one dictionary a processor, keys in lower case."""
    blocks = []
    for chunk in text.split("\n\n"):
        pairs = (line.split(":", 1) for line in chunk.splitlines() if ":" in line)
        if block := {key.strip().lower(): value.strip() for key, value in pairs}:
            blocks.append(block)
    return blocks


def _cpu_name(blocks: list[dict[str, str]], proc: Path) -> str:
    names = list(dict.fromkeys(block["model name"] for block in blocks if block.get("model name")))
    cores = list(dict.fromkeys(ARM_PARTS.get(b["cpu part"], b["cpu part"]) for b in blocks if "cpu part" in b))
    board = _text(proc / "device-tree" / "model").strip("\0 \n")
    if board and cores:
        return f"{board} ({', '.join(cores)})"
    return ", ".join(names or cores) or platform.processor() or "unknown"


def _governors(sys_fs: Path) -> tuple[str, ...]:
    files = (sys_fs / "devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return tuple(sorted({text for file in files if (text := _text(file).strip())}))


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _memory_bytes(meminfo: str) -> int | None:
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
