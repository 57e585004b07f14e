"""The exponential moving average of the trained weights: diffusers' `EMAModel`, with its state by parameter name.

Names, which snapshots store, survive a change in the order of modules; `EMAModel` alone stores a list.
"""

import contextlib
from collections.abc import Iterator, Mapping

from diffusers.training_utils import EMAModel
from torch import Tensor, nn


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require gradients, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


class WeightAverage:
    """The average of a module's trainable parameters; its decay warms up to `decay`, so that early steps fade."""

    def __init__(self, module: nn.Module, decay: float):
        self.names = list(trainable(module))
        self.parameters = list(trainable(module).values())
        self._ema = EMAModel(self.parameters, decay=decay, foreach=True)

    def update(self) -> None:
        """Take one optimizer step into account. The first update copies the weights."""
        self._ema.step(self.parameters)

    def state(self) -> dict[str, Tensor]:
        """The averaged values by parameter name."""
        return dict(zip(self.names, self._ema.shadow_params))

    def load_state(self, values: Mapping[str, Tensor], step: int) -> None:
        """Take over the averaged values after that many steps, moved to the parameters' devices.

        Raises KeyError for a missing one.
        """
        moved = (values[name].to(parameter) for name, parameter in zip(self.names, self.parameters))
        self._ema.shadow_params = list(moved)
        self._ema.optimization_step = step

    def to_parameters_device(self) -> None:
        """Move the average to where the parameters are now."""
        self.load_state(self.state(), self._ema.optimization_step)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within a `with` block the parameters have the averaged values."""
        kept = [parameter.data for parameter in self.parameters]
        # Not EMAModel's store, copy_to and restore: they copy every tensor twice, once through the CPU.
        for parameter, value in zip(self.parameters, self._ema.shadow_params):
            parameter.data = value
        try:
            yield
        finally:
            for parameter, value in zip(self.parameters, kept):
                parameter.data = value

    def copy_to_parameters(self) -> None:
        """Give the parameters the averaged values."""
        self._ema.copy_to(self.parameters)
