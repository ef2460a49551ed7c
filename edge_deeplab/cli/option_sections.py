"""Options under headings in a command's --help, for commands with more of them than a reader takes in at once.

@click.command(cls=SectionedCommand, sections={"What is written": ("json_file", "html_file")})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

REST = "Other"


class SectionedCommand(click.Command):
    """A command whose options stand in sections.

    Args:
        sections: heading to the names of its parameters; those that are in none come last.
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = {parameter.name for parameter in self.params}
        unknown = [name for names in sections.values() for name in names if name not in known]
        assert not unknown, f"no such parameters: {unknown}"
        self._sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes one list of options a section, in the order of the table."""
        records = {
            parameter.name: record
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None
        }
        placed = {name for names in self._sections.values() for name in names}
        rest = [name for name in records if name not in placed]
        for heading, names in {**self._sections, REST: rest}.items():
            rows = [records[name] for name in names if name in records]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)
