from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from edge_deeplab.cli.option_sections import REST, SectionedCommand


@click.command(cls=SectionedCommand, sections={"Second": ("last",), "First": ("first",)})
@click.argument("word")
@click.option("--first", help="The first.")
@click.option("--middle", help="In no section.")
@click.option("--last", help="The last.")
def command(**_: object) -> None:
    """Does nothing."""


def test_options_stand_under_their_headings_in_the_order_of_the_table() -> None:
    said = CliRunner().invoke(command, ["--help"]).output
    places = [said.index(words) for words in ("Second:", "--last", "First:", "--first", f"{REST}:", "--middle")]
    assert places == sorted(places)
    assert said.count("--last") == 1 and "--help" in said[places[-1] :]
    assert "WORD" in said and "[WORD]" not in said  # an argument is no option


def test_a_section_of_an_option_that_is_not_there_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match="nowhere"):
        click.command(cls=SectionedCommand, sections={"A": ("nowhere",)})(lambda: None)
