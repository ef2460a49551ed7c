"""Reading how a device feels, from copies of what real kernels' files look like."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_deeplab.remote.vitals import Vitals, changes, read_vitals


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


PI = {
    "devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
    "devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "2400000\n",
    "devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2400000\n",
    "devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
    "devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "2400000\n",
    "class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "class/thermal/thermal_zone0/temp": "61350\n",
    "class/thermal/thermal_zone1/type": "cpu-thermal\n",
    "class/thermal/thermal_zone1/temp": "45\n",
    "class/thermal/thermal_zone2/type": "modem\n",
    "class/thermal/thermal_zone2/temp": "-273000\n",
    "class/thermal/cooling_device0/type": "pwm-fan\n",
    "class/thermal/cooling_device0/cur_state": "3\n",
    "class/thermal/cooling_device1/type": "cpufreq-cpu0\n",
    "class/thermal/cooling_device1/cur_state": "0\n",
    "devices/platform/soc/soc:firmware/get_throttled": "50000\n",
}


def test_a_board_tells_clocks_temperatures_and_its_firmware(tmp_path: Path) -> None:
    vitals = read_vitals(machine(tmp_path, PI))
    assert vitals.governors == ("ondemand", "performance")
    assert vitals.current_mhz == (1500, 2400)
    assert (vitals.allowed_mhz, vitals.top_mhz) == (2400, 2400)
    assert vitals.temperatures_c == {"cpu-thermal": 61.4, "cpu-thermal (thermal_zone1)": 45.0}
    assert vitals.hottest_c == 61.4
    assert vitals.firmware_flags == 0x50000 and not vitals.is_throttled  # in the past, not now
    assert vitals.cooling == {}  # a fan turning slows nothing down
    assert Vitals.from_dict(vitals.to_dict()) == vitals


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"devices/platform/soc/soc:firmware/get_throttled": "50005\n"}, "by its firmware"),
        ({"class/thermal/cooling_device1/cur_state": "2\n"}, "cpufreq-cpu0"),
        ({"devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1200000\n"}, "limited to 1200 of 2400 MHz"),
        ({"class/thermal/thermal_zone0/temp": "79000\n"}, "warmed up by 18 to 79 degrees"),
    ],
)
def test_what_slowed_the_device_down_is_said(tmp_path: Path, files: dict[str, str], words: str) -> None:
    before = read_vitals(machine(tmp_path / "before", PI))
    (note,) = changes(before, read_vitals(machine(tmp_path / "after", {**PI, **files})))
    assert words in note
    assert changes(before, before) == []


def test_a_pc_counts_how_often_it_was_too_hot(tmp_path: Path) -> None:
    counter = "devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    before = read_vitals(machine(tmp_path / "before", {counter.format(0): "5\n", counter.format(1): "7\n"}))
    after = read_vitals(machine(tmp_path / "after", {counter.format(0): "5\n", counter.format(1): "10\n"}))
    assert (before.throttle_events, after.throttle_events) == (12, 15)
    assert changes(before, after) == ["The device slowed down 3 times for heat while it was measured."]


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    vitals = read_vitals(tmp_path)
    assert vitals == Vitals()
    assert changes(vitals, vitals) == [] and vitals.hottest_c is None and not vitals.is_throttled


def test_nonsense_in_the_files_is_left_out(tmp_path: Path) -> None:
    broken = {name: "\x00?\n" for name in PI if not name.endswith(("type", "governor"))}
    vitals = read_vitals(machine(tmp_path, {**PI, **broken}))
    assert (vitals.current_mhz, vitals.temperatures_c, vitals.firmware_flags) == ((), {}, None)
