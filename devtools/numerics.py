"""How far tensors are apart."""

from torch import Tensor


def relative_error(value: Tensor, reference: Tensor) -> float:
    """Norm of the difference over the reference's norm, in float64."""
    value, reference = value.double(), reference.double()
    return float((value - reference).norm() / reference.norm())
