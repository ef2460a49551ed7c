"""Starting TensorFlow without the lines its C++ parts write before any log level holds.

with quiet_native_stderr():
    import tensorflow
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Holds back what is written to the process's stderr; it is shown after all when the block fails.

    Absl's "before InitializeLog" lines and CUDA's probing ignore TF_CPP_MIN_LOG_LEVEL, so the file descriptor itself
    is turned aside.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            os.dup2(kept, 2)
            aside.seek(0)
            if logging.getLogger("edge_deeplab").isEnabledFor(logging.DEBUG):
                os.write(2, aside.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def start_tensorflow() -> None:
    """Imports TensorFlow and tf_keras and runs one operator, in silence. Raises MissingExtraError without them."""
    from edge_deeplab.models.keras_api import keras_namespace

    with quiet_native_stderr():
        keras_namespace("tf_keras")
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        tf.constant(0.0) + 1.0
