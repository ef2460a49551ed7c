"""How a data set is named on the command line: one metavar, one help text, and what it opens.

    @click.command()
    @click.option("--data", metavar=SPEC, required=True, help=DATA_HELP)
    def command(data: str) -> None:
        opened = open_data(data)      # edge_deeplab.data.catalogue

The signs are explained once, in `edge-deeplab doctor --help`; no picture library is imported for a help text.
"""

from __future__ import annotations

SPEC = "[NAME:]FOLDER[@SPLIT]"  # as data.catalogue.SPEC; a test holds them equal
DATA_HELP = (
    "A folder with images/ and masks/ of the same names, or a data set in its owners' layout (CamVid, VOC, Cityscapes, "
    "ADE20K ...; see `edge-deeplab doctor --list`)."
)
