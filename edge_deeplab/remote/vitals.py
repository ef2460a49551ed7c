"""How a device felt while something was measured on it: clocks, governor, temperature, whether it was throttled.

    before = read_vitals()
    ...
    notes = changes(before, read_vitals())

Reads files of Linux's /sys, on Android through a shell; what a machine does not tell is left out, never guessed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What is read, as patterns under /. Sources: the kernel's Documentation/ABI (cpufreq, thermal, x86 thermal_throttle);
# get_throttled is the Raspberry Pi firmware's.
PATTERNS = (
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
    "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count",
    "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/package_throttle_count",
    "sys/class/thermal/thermal_zone[0-9]*/type",
    "sys/class/thermal/thermal_zone[0-9]*/temp",
    "sys/class/thermal/cooling_device[0-9]*/type",
    "sys/class/thermal/cooling_device[0-9]*/cur_state",
    "sys/devices/platform/soc/soc:firmware/get_throttled",
)
_PI_NOW = 0b1111  # under-voltage, frequency capped, throttled, soft temperature limit; higher bits: since the start
_COOLS_BY_CLOCK = re.compile(r"cpufreq|processor|cpu|gpu", re.IGNORECASE)
_POSSIBLE_C = (-40.0, 150.0)  # sensors that are not connected read -273 or some thousand degrees
WARM_RISE_C = 10.0


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """One look at a machine; empty where it does not tell.

    Attributes:
        governors: in use, sorted.
        current_mhz: clock of each processor.
        allowed_mhz, top_mhz: the highest clock that is allowed now and that the hardware has, of the fastest processor.
        temperatures_c: degrees Celsius by sensor.
        throttle_events: times a processor was slowed down for heat, counted since the start of the machine (x86).
        cooling: steps of slowing down in force now, by cooling device; those at 0 are left out.
        firmware_flags: Raspberry Pi's word on voltage and heat.
    """

    governors: tuple[str, ...] = ()
    current_mhz: tuple[int, ...] = ()
    allowed_mhz: int | None = None
    top_mhz: int | None = None
    temperatures_c: dict[str, float] = field(default_factory=dict)
    throttle_events: int | None = None
    cooling: dict[str, int] = field(default_factory=dict)
    firmware_flags: int | None = None

    @property
    def hottest_c(self) -> float | None:
        """The highest temperature, None where no sensor tells."""
        return max(self.temperatures_c.values(), default=None)

    @property
    def is_throttled(self) -> bool:
        """Whether the machine says that it is slowed down right now."""
        return bool(self.cooling) or bool((self.firmware_flags or 0) & _PI_NOW)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Vitals:
        """What to_dict gave. Raises TypeError or KeyError for anything else."""
        known = dict(document)
        known["governors"], known["current_mhz"] = tuple(known["governors"]), tuple(known["current_mhz"])
        return cls(**known)

    @classmethod
    def from_files(cls, files: Mapping[str, str]) -> Vitals:
        """Reads what files said; `files` maps paths such as "sys/class/thermal/thermal_zone0/temp" to their text."""
        clocks = {name: _numbers(files, name) for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq")}
        events = _numbers(files, "core_throttle_count") + _numbers(files, "package_throttle_count")
        flags = next((text for path, text in files.items() if path.endswith("get_throttled")), "")
        temperatures = {}
        for name, text in _devices(files, "temp").items():
            value = _number(text)
            celsius = None if value is None else value / 1000 if abs(value) > 200 else float(value)  # some old phones
            if celsius is not None and _POSSIBLE_C[0] < celsius < _POSSIBLE_C[1]:
                temperatures[name] = round(celsius, 1)
        cooling = {
            name: state
            for name, text in _devices(files, "cur_state").items()
            if (state := _number(text)) and _COOLS_BY_CLOCK.search(name)
        }
        return cls(
            governors=tuple(sorted({text.strip() for path, text in files.items() if path.endswith("_governor")})),
            current_mhz=tuple(value // 1000 for value in clocks["scaling_cur_freq"]),
            allowed_mhz=max(clocks["scaling_max_freq"], default=0) // 1000 or None,
            top_mhz=max(clocks["cpuinfo_max_freq"], default=0) // 1000 or None,
            temperatures_c=temperatures,
            throttle_events=sum(events) if events else None,
            cooling=cooling,
            firmware_flags=int(flags, 16) if re.fullmatch(r"\s*(0x)?[0-9a-fA-F]+\s*", flags) else None,
        )


def read_vitals(root: Path = Path("/")) -> Vitals:
    """Looks at this machine; `root` can hold a copy of another one's /sys."""
    files = {}
    for pattern in PATTERNS:
        for path in sorted(root.glob(pattern)):
            try:
                files[path.relative_to(root).as_posix()] = path.read_text(errors="replace")
            except OSError:  # a sensor may be listed and not answer
                continue
    return Vitals.from_files(files)


def changes(before: Vitals, after: Vitals) -> list[str]:
    """Reasons to distrust what was measured between two looks, one sentence each."""
    found = []
    if after.is_throttled or before.is_throttled:
        names = ", ".join(sorted({*before.cooling, *after.cooling})) or "by its firmware"
        found.append(f"The device was slowed down while it was measured ({names}): heat or voltage.")
    elif (after.throttle_events or 0) > (before.throttle_events or 0):
        times = (after.throttle_events or 0) - (before.throttle_events or 0)
        found.append(f"The device slowed down {times} times for heat while it was measured.")
    if after.allowed_mhz and after.top_mhz and after.allowed_mhz < after.top_mhz:
        found.append(f"The clock is limited to {after.allowed_mhz} of {after.top_mhz} MHz.")
    if before.hottest_c is not None and after.hottest_c is not None:
        rise_c = after.hottest_c - before.hottest_c
        if rise_c > WARM_RISE_C:
            found.append(f"It warmed up by {rise_c:.0f} to {after.hottest_c:.0f} degrees: later calls may be slower.")
    return found


def _numbers(files: Mapping[str, str], name: str) -> list[int]:
    values = (_number(text) for path, text in files.items() if path.endswith("/" + name))
    return [value for value in values if value is not None]


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\s*-?\d+\s*", text) else None


def _devices(files: Mapping[str, str], value: str) -> dict[str, str]:
    """The text of one file of each thermal zone or cooling device, by its type; a second of a type gets its number."""
    found: dict[str, str] = {}
    for path, text in files.items():
        folder, _, name = path.rpartition("/")
        if name == value:
            kind = files.get(f"{folder}/type", "").strip() or folder.rpartition("/")[2]
            found[kind if kind not in found else f"{kind} ({folder.rpartition('/')[2]})"] = text
    return found
