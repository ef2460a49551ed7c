"""What an inference costs in energy, where the kernel tells: joules of the whole package, board or battery.

    meter = find_meter()
    if meter is None:
        print(why_no_meter())
    else:
        print(measure_energy(lambda: engine.run(image), meter).net_mj)

Three sources, the first that answers: running averages of the processor (powercap: Intel and AMD), energy counters and
power sensors of boards (hwmon: INA219 and its like), and the gauge of a battery that is being drained. None of them
sees one process: so the same machine is measured idle first, and the difference is what the inferences cost.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

SYS = Path("/sys")
IDLE_S, BUSY_S = 1.0, 3.0
SAMPLE_EVERY_S = 0.05  # of a power sensor: boards refresh theirs a few to some hundred times a second
UNIT = 1e6  # the kernel counts in micro: uJ, uW, uV, uA


@dataclass(frozen=True, kw_only=True)
class EnergyReport:
    """The energy of one inference.

    Attributes:
        source: what was read, e.g. "powercap package-0".
        idle_w, busy_w: mean power before, and while inferences ran one after the other.
        gross_mj: millijoules an inference, all that the source sees.
        net_mj: less what the machine takes when idle for as long; negative when something else ran in the idle time.
        inferences, duration_s: of the busy time.
    """

    source: str
    idle_w: float
    busy_w: float
    gross_mj: float
    net_mj: float
    inferences: int
    duration_s: float

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> EnergyReport:
        """The report that to_dict wrote. Raises KeyError for anything else."""
        return cls(**{field.name: fields[field.name] for field in dataclasses.fields(cls)})


class EnergyMeter(Protocol):
    """Something that knows how much energy has gone since it was reset."""

    source: str

    def reset(self) -> None:
        """Begins anew."""

    def tick(self) -> None:
        """To be called often: a power sensor is read here, a counter does nothing."""

    def joules(self) -> float:
        """Since the reset."""


class CounterMeter:
    """Counters of microjoules, added; each may wrap around at its range.

    Args:
        counters: path of each counter and the value after which it starts from 0, None where unknown.
    """

    def __init__(self, source: str, counters: Mapping[Path, int | None]) -> None:
        self.source, self._counters = source, counters
        self._last: dict[Path, int] = {}
        self._gone_uj = 0
        self.reset()

    def reset(self) -> None:
        """As EnergyMeter."""
        self._last, self._gone_uj = {path: _read(path) for path in self._counters}, 0

    def tick(self) -> None:
        """Adds what has gone since the last look, so that a counter may wrap around between two of them."""
        for path, range_uj in self._counters.items():
            now = _read(path)
            step = now - self._last[path]
            self._gone_uj += step if step >= 0 else step + (range_uj or -step)
            self._last[path] = now

    def joules(self) -> float:
        """As EnergyMeter."""
        self.tick()
        return self._gone_uj / UNIT


class PowerMeter:
    """Power sensors, added, and integrated over time: trapezoids between looks.

    Args:
        read_w: the power now, watts.
    """

    def __init__(
        self, source: str, read_w: Callable[[], float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.source, self._read_w, self._clock = source, read_w, clock
        self.reset()

    def reset(self) -> None:
        """As EnergyMeter."""
        self._joules, self._at, self._last_w = 0.0, self._clock(), self._read_w()

    def tick(self) -> None:
        """As EnergyMeter."""
        now = self._clock()
        if now - self._at >= SAMPLE_EVERY_S:
            self._add(now)

    def joules(self) -> float:
        """As EnergyMeter."""
        self._add(self._clock())
        return self._joules

    def _add(self, now: float) -> None:
        power_w = self._read_w()
        self._joules += (power_w + self._last_w) / 2 * (now - self._at)
        self._at, self._last_w = now, power_w


def find_meter(sys_fs: Path = SYS) -> EnergyMeter | None:
    """The first source that this process may read, None where there is none."""
    zones = {path: _text(path.with_name("name")) for path in _powercap(sys_fs)}
    readable = {path: name for path, name in zones.items() if _can_read(path)}
    if readable:
        whole = {path: name for path, name in readable.items() if name == "psys"}  # the board, packages included
        chosen = whole or readable
        ranges = {path: _number(path.with_name("max_energy_range_uj")) for path in chosen}
        return CounterMeter(f"powercap {', '.join(sorted(chosen.values()))}", ranges)
    counters = [path for path in sorted((sys_fs / "class/hwmon").glob("hwmon*/energy*_input")) if _can_read(path)]
    if counters:
        return CounterMeter(f"hwmon {_names(counters)}", dict.fromkeys(counters))
    sensors = [path for path in sorted((sys_fs / "class/hwmon").glob("hwmon*/power*_input")) if _can_read(path)]
    if sensors:
        return PowerMeter(f"hwmon {_names(sensors)}", lambda: sum(_read(path) for path in sensors) / UNIT)
    batteries = [folder for folder in sorted((sys_fs / "class/power_supply").glob("*")) if _is_drained(folder)]
    if batteries:
        names = ", ".join(folder.name for folder in batteries)
        return PowerMeter(f"battery {names}", lambda: sum(_battery_w(folder) for folder in batteries))
    return None


def why_no_meter(sys_fs: Path = SYS) -> str:
    """One sentence on why find_meter finds none, with what would help."""
    forbidden = [path for path in _powercap(sys_fs) if not _can_read(path)]
    if forbidden:
        return f"Energy: {forbidden[0]} is for root alone; sudo chmod a+r {forbidden[0]} opens it until a reboot."
    if any(_text(folder / "type") == "Battery" for folder in (sys_fs / "class/power_supply").glob("*")):
        return "Energy: the battery tells its power only while it is drained: unplug the device."
    return "Energy: this kernel reports none: no powercap, power sensor or battery, as usual in virtual machines."


def measure_energy(
    run: Callable[[], object], meter: EnergyMeter, *, idle_s: float = IDLE_S, busy_s: float = BUSY_S
) -> EnergyReport:
    """Measures an idle while, then runs without a pause for `busy_s` seconds.

    Raises: OSError when the meter stops answering.
    """
    meter.reset()
    start = time.monotonic()
    while (waited_s := time.monotonic() - start) < idle_s:
        time.sleep(min(SAMPLE_EVERY_S, idle_s - waited_s))
        meter.tick()
    idle_w = meter.joules() / max(time.monotonic() - start, 1e-9)
    meter.reset()
    start, inferences = time.monotonic(), 0
    while time.monotonic() - start < busy_s or not inferences:
        run()
        inferences += 1
        meter.tick()
    joules, duration_s = meter.joules(), time.monotonic() - start
    return EnergyReport(
        source=meter.source,
        idle_w=idle_w,
        busy_w=joules / duration_s,
        gross_mj=1000 * joules / inferences,
        net_mj=1000 * (joules - idle_w * duration_s) / inferences,
        inferences=inferences,
        duration_s=duration_s,
    )


def _powercap(sys_fs: Path) -> list[Path]:
    """The counters of whole zones: parts (intel-rapl:0:0) and the second door to the same ones (-mmio) left out."""
    zones = sorted((sys_fs / "class/powercap").glob("*-rapl*:*/energy_uj"))
    return [path for path in zones if path.parent.name.count(":") == 1 and "-mmio" not in path.parent.name]


def _is_drained(folder: Path) -> bool:
    has_gauge = (folder / "power_now").exists() or (folder / "current_now").exists()
    return _text(folder / "type") == "Battery" and _text(folder / "status") == "Discharging" and has_gauge


def _battery_w(folder: Path) -> float:
    if (folder / "power_now").exists():
        return abs(_read(folder / "power_now")) / UNIT
    return abs(_read(folder / "voltage_now") * _read(folder / "current_now")) / UNIT**2  # phones give current below 0


def _names(paths: list[Path]) -> str:
    return ", ".join(dict.fromkeys(_text(path.with_name("name")) or path.parent.name for path in paths))


def _read(path: Path) -> int:
    return int(path.read_text())


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _can_read(path: Path) -> bool:
    try:
        _read(path)
    except (OSError, ValueError):
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
