"""AdamW for networks that begin from trained weights: a useful average of the weights, and slower backbones.

optimizer = averaging_adamw(K, 0.998, share_of=lambda variable: 0.1)(rate, weight_decay=1e-3)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def averaging_adamw(K: Any, decay: float, *, share_of: Callable[[Any], float] = lambda variable: 1.0) -> Any:
    """A class like K.optimizers.AdamW whose average decays by min(decay, (1 + t) / (10 + t)) at step t.

    Keras has `decay` throughout, and the weights at the start keep decay^t of the average: after 300 steps at 0.999,
    three quarters of it were still random, and an Xception that had learnt scored little. The warm-up is that of
    tf.train.ExponentialMovingAverage with num_updates.

    Args:
        K: Keras 3.
        decay: below 1; 0 keeps no average.
        share_of: of a trainable variable, the share of the rate at which it learns; AdamW divides gradients by their
            own size, so a factor on them would change nothing. Weight decay stays as it is.
    """

    class AveragingAdamW(K.optimizers.AdamW):  # type: ignore[misc]
        """AdamW with that average."""

        def __init__(self, *args: Any, **settings: Any) -> None:
            averages = {"use_ema": True, "ema_momentum": decay} if decay else {}
            super().__init__(*args, **averages, **settings)

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            ours = self._trainable_variables[self._get_variable_index(variable)]  # TensorFlow's comes without its path
            super().update_step(gradient, variable, learning_rate * share_of(ours))

        def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
            if not self.use_ema:
                return
            step = K.ops.cast(self.iterations, "float32")
            kept = K.ops.minimum(decay, (1.0 + step) / (10.0 + step))
            for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
                share = K.ops.cast(kept, variable.dtype)
                average.assign(share * average + (1 - share) * variable)

    return AveragingAdamW
