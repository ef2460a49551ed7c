"""The options of compositing on the command line: all of them, as they were given, and no others."""

from __future__ import annotations

import dataclasses

import click
import pytest
from click.testing import CliRunner

from edge_deeplab.cli.compositing_options import NAMES, compositing_options
from edge_deeplab.compositing.options import CompositingOptions

NOT_ON_THE_COMMAND_LINE = {"background", "working_side"}  # --background takes several; the governor sets the other


def parsed(*arguments: str) -> CompositingOptions:
    seen = []

    @click.command()
    @compositing_options
    def command(compositing: CompositingOptions) -> None:
        seen.append(compositing)

    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return seen[0]


def refusal(*arguments: str) -> str:
    @click.command()
    @compositing_options
    def command(compositing: CompositingOptions) -> None: ...

    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    return result.output.splitlines()[-1]


def test_every_field_has_its_option():
    assert set(NAMES) == {one.name for one in dataclasses.fields(CompositingOptions)} - NOT_ON_THE_COMMAND_LINE


def test_nothing_given_gives_the_defaults():
    assert parsed() == CompositingOptions()


def test_what_is_given_arrives():
    given = parsed(
        "--blur-style", "lens", "--aperture", "hexagon", "--highlights", "0.9", "--people", "largest", "--no-keep-held",
        "--despill", "0.4", "--light-wrap", "0.3", "--no-clean-edges", "--edge-level", "0.6",
    )  # fmt: skip
    assert given == CompositingOptions(
        blur_style="lens", aperture="hexagon", highlights=0.9, people="largest", keeps_held=False, despill=0.4,
        light_wrap=0.3, cleans_edges=False, edge_level=0.6,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--blur-style", "gaussian"), "'soft', 'lens'"),
        (("--people", "two"), "'all', 'largest'"),
        (("--aperture", "square"), "'disc', 'pentagon', 'hexagon', 'octagon'"),
        (("--light-wrap", "2"), "0.0<=x<=1.0"),
        (("--despill", "-0.1"), "0.0<=x<=1.0"),
    ],
)
def test_a_value_that_is_none_is_refused_in_one_line_that_says_what_is_allowed(arguments, said):
    line = refusal(*arguments)
    assert arguments[0] in line and said in line
