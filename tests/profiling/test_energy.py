"""Energy from files as the kernel lays them out; the virtual machines of CI have none of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_deeplab.profiling.energy import (
    CounterMeter,
    EnergyReport,
    PowerMeter,
    find_meter,
    measure_energy,
    why_no_meter,
)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


PACKAGE = "class/powercap/intel-rapl:0"
LAPTOP = {
    f"{PACKAGE}/name": "package-0",
    f"{PACKAGE}/energy_uj": "5000000",
    f"{PACKAGE}/max_energy_range_uj": "262143328850",
    "class/powercap/intel-rapl:0:0/name": "core",
    "class/powercap/intel-rapl:0:0/energy_uj": "1000000",
    "class/powercap/intel-rapl-mmio:0/name": "package-0",
    "class/powercap/intel-rapl-mmio:0/energy_uj": "5000000",
}


def test_a_package_is_counted_once_and_its_parts_not_at_all(tmp_path: Path) -> None:
    meter = find_meter(write(tmp_path, LAPTOP))
    assert meter is not None and meter.source == "powercap package-0"
    (tmp_path / PACKAGE / "energy_uj").write_text("7500000\n")
    assert meter.joules() == pytest.approx(2.5)


def test_the_whole_board_is_taken_before_its_packages(tmp_path: Path) -> None:
    board = {"class/powercap/intel-rapl:1/name": "psys", "class/powercap/intel-rapl:1/energy_uj": "0"}
    meter = find_meter(write(tmp_path, LAPTOP | board))
    assert meter is not None and meter.source == "powercap psys"


def test_a_counter_that_wraps_around_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path, {"counter": "90"}) / "counter"
    meter = CounterMeter("test", {path: 100})
    path.write_text("20")
    meter.tick()
    path.write_text("50")
    assert meter.joules() == pytest.approx(60e-6)


def test_a_power_sensor_is_integrated_over_time() -> None:
    now, power_w = 0.0, 2.0
    meter = PowerMeter("test", lambda: power_w, clock=lambda: now)
    now = 1.0
    meter.tick()  # 2 W for a second
    now, power_w = 2.0, 4.0
    assert meter.joules() == pytest.approx(2.0 + 3.0)  # then rising to 4 W for another


@pytest.mark.parametrize(
    ("files", "source", "watts"),
    [
        ({"class/hwmon/hwmon1/power1_input": "3500000", "class/hwmon/hwmon1/name": "ina219"}, "hwmon ina219", 3.5),
        (
            {"class/power_supply/BAT0/type": "Battery", "class/power_supply/BAT0/status": "Discharging",
             "class/power_supply/BAT0/power_now": "9000000"},
            "battery BAT0", 9.0,
        ),
        (
            {"class/power_supply/battery/type": "Battery", "class/power_supply/battery/status": "Discharging",
             "class/power_supply/battery/current_now": "-500000", "class/power_supply/battery/voltage_now": "4000000"},
            "battery battery", 2.0,
        ),
    ],
)  # fmt: skip
def test_boards_and_batteries_tell_their_power(
    tmp_path: Path, files: dict[str, str], source: str, watts: float
) -> None:
    meter = find_meter(write(tmp_path, files))
    assert isinstance(meter, PowerMeter) and meter.source == source
    assert meter._read_w() == pytest.approx(watts)


def test_a_boards_counter_of_energy_is_taken_before_its_power(tmp_path: Path) -> None:
    files = {f"class/hwmon/hwmon0/{name}": "100" for name in ("energy1_input", "power1_input")}
    meter = find_meter(write(tmp_path, files | {"class/hwmon/hwmon0/name": "scpi_sensors"}))
    assert isinstance(meter, CounterMeter) and meter.source == "hwmon scpi_sensors"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "reports none"),
        ({f"{PACKAGE}/energy_uj": "no number, as unreadable as a forbidden one"}, "chmod a+r"),
        (
            {"class/power_supply/BAT0/type": "Battery", "class/power_supply/BAT0/status": "Charging",
             "class/power_supply/BAT0/power_now": "1"},
            "unplug",
        ),
    ],
)  # fmt: skip
def test_where_nothing_tells_the_reason_is_said(tmp_path: Path, files: dict[str, str], words: str) -> None:
    write(tmp_path, files)
    assert find_meter(tmp_path) is None
    assert words in why_no_meter(tmp_path)


def test_an_inference_costs_what_the_counter_moves_less_what_idling_takes(tmp_path: Path) -> None:
    """Each call adds 5 mJ to the counter; nothing else does."""
    path = write(tmp_path, {"counter": "0"}) / "counter"

    def run() -> None:
        path.write_text(str(int(path.read_text()) + 5000))

    report = measure_energy(run, CounterMeter("test", {path: None}), idle_s=0.02, busy_s=0.05)
    assert report.gross_mj == pytest.approx(5.0)
    assert (report.idle_w, report.net_mj) == (0.0, pytest.approx(5.0))
    assert report.busy_w == pytest.approx(5e-3 * report.inferences / report.duration_s)
    assert EnergyReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_a_call_longer_than_the_time_given_is_still_measured(tmp_path: Path) -> None:
    path = write(tmp_path, {"counter": "0"}) / "counter"
    assert measure_energy(lambda: None, CounterMeter("test", {path: None}), idle_s=0.0, busy_s=0.0).inferences == 1
