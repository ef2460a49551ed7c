from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edge_deeplab.profiling.host import describe_host, parse_cpuinfo

RASPBERRY_PI_5 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

processor\t: 1
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""
LAPTOP = """processor\t: 0
model name\t: 12th Gen Intel(R) Core(TM) i7-1260P
flags\t\t: fpu sse4_2 avx2 fma f16c avx_vnni

"""
OLD_SERVER = LAPTOP.replace(" avx_vnni", "").replace(
    "12th Gen Intel(R) Core(TM) i7-1260P", "Intel(R) Xeon(R) Gold 6130"
)


def fake_machine(folder: Path, cpuinfo: str) -> Path:
    (folder / "proc").mkdir()
    (folder / "proc" / "cpuinfo").write_text(cpuinfo)
    (folder / "proc" / "meminfo").write_text("MemTotal:        8000000 kB\nMemFree: 1 kB\n")
    for cpu in (0, 1):
        governor = folder / "sys" / "devices/system/cpu" / f"cpu{cpu}" / "cpufreq" / "scaling_governor"
        governor.parent.mkdir(parents=True)
        governor.write_text("ondemand\n")
    return folder


@pytest.mark.parametrize(
    ("cpuinfo", "name", "int8_flags"),
    [
        (RASPBERRY_PI_5, "Raspberry Pi 5 (Cortex-A76)", ("asimddp",)),
        (LAPTOP, "12th Gen Intel(R) Core(TM) i7-1260P", ("avx_vnni",)),
        (OLD_SERVER, "Intel(R) Xeon(R) Gold 6130", ()),
    ],
)
def test_a_machine_is_described_from_its_files(
    tmp_path: Path, cpuinfo: str, name: str, int8_flags: tuple[str, ...]
) -> None:
    machine = fake_machine(tmp_path, cpuinfo)
    if "0xd0b" in cpuinfo:
        (machine / "proc" / "device-tree").mkdir()
        (machine / "proc" / "device-tree" / "model").write_text("Raspberry Pi 5\0")
    host = describe_host(proc=machine / "proc", sys_fs=machine / "sys")
    assert host.cpu_name == name
    assert host.int8_flags == int8_flags
    assert host.has_int8_dot_product is bool(int8_flags)
    assert host.governors == ("ondemand",)
    assert host.memory_bytes == 8_000_000 * 1024


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    host = describe_host(proc=tmp_path, sys_fs=tmp_path)
    assert host.cpu_name
    assert (host.flags, host.governors, host.memory_bytes) == ((), (), None)


def test_this_machine_is_described_and_fits_json() -> None:
    host = describe_host()
    assert host.cpu_name != ""
    assert 1 <= host.usable_cpus <= (os.cpu_count() or 1)
    assert "numpy" in host.packages
    assert json.loads(json.dumps(host.to_dict()))["machine"] == host.machine


def test_cpuinfo_blocks_are_one_a_processor() -> None:
    assert [block["processor"] for block in parse_cpuinfo(RASPBERRY_PI_5)] == ["0", "1"]
