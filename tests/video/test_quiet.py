"""FFmpeg's own complaints about a broken file stay off the user's terminal: ours is the one line."""

import os
import subprocess
import sys

CODE = """
import sys
from pathlib import Path
from edge_deeplab.errors import InputError
from edge_deeplab.video.source import SourceOptions, open_source
try:
    open_source(sys.argv[1], SourceOptions(decoder=sys.argv[2]))
except InputError as error:
    print(error)
"""


def test_a_broken_file_says_nothing_but_our_line(tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    environment = {key: value for key, value in os.environ.items() if key != "OPENCV_FFMPEG_LOGLEVEL"}
    for decoder in ("opencv", "pyav"):
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(broken), decoder],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        assert done.stderr == ""
        assert done.stdout.count("\n") == 1
        assert "broken.mp4" in done.stdout
