"""The velocity network as the public implementation runs it: the reference that this engine's optimisations are
measured against.
"""

import torch
from torch import Tensor

from flowinone.model import Condition, FlowInOneModel, VelocityNetwork
from flowinone.model.coarse import CoarseStage
from flowinone.model.fine import Upsample
from flowinone.model.layers import SkipConnections
from flowinone.model.time import Times, layer_norm, network_time


class ReferenceVelocityNetwork(VelocityNetwork):
    """Keeps every feature map, concatenates them all, and norms them all at once."""

    def forward(self, x: Tensor, t: Tensor, condition: Condition, transformer_options=None) -> Tensor:
        times = Times(network_time(t), self.time_dependent)
        _, maps = reference_coarse(self.coarse, x, times, condition)
        return self.fine(x, times, reference_upsample(self.fine.upsample, maps, times))

    def both_velocities(self, x: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        times = Times(network_time(t), self.time_dependent)
        features, maps = reference_coarse(self.coarse, x, times, condition)
        velocity = self.fine(x, times, reference_upsample(self.fine.upsample, maps, times))
        return velocity, self.coarse.velocity(features, times)


def reference_coarse(stage: CoarseStage, x: Tensor, times: Times, condition: Condition) -> tuple[Tensor, Tensor]:
    """`CoarseStage.forward`, with all feature maps kept as they are until they are concatenated."""
    tokens = stage.input_layer(x)  # [B, h, w, D]
    grid = tokens.shape[1:3]
    indicator = stage.indicator(condition.null, tokens.dtype)  # [B, 1, D]
    tokens = torch.cat([indicator, tokens.flatten(1, 2)], dim=1)  # [B, 1 + h·w, D]
    image_tokens = None
    if condition.dual:
        image_tokens = stage.image_latent_layer(condition.image_latent).flatten(1, 2)
        image_tokens = torch.cat([indicator, image_tokens], dim=1)
    maps, skips = [tokens], SkipConnections(stage.skip_denses, len(stage.blocks))
    for number, block in enumerate(stage.blocks):
        tokens = block(skips.merge(number, tokens), times, image_tokens, condition.bypass, {})
        maps.append(tokens)
        skips.store(number, tokens)
    joined = torch.cat([features[:, 1:].transpose(0, 1) for features in maps], dim=-1)  # [h·w, B, (n + 1) · D]
    return tokens[:, 1:].unflatten(1, grid), joined.unflatten(0, grid)


def reference_upsample(upsample: Upsample, maps: Tensor, times: Times) -> Tensor:
    """`Upsample.forward` with one norm of all cells."""
    normed = layer_norm(maps, upsample.norm_in.weight(times), upsample.norm_in.bias(times))
    cells = upsample.projection(normed).unflatten(-1, (upsample.patch, upsample.patch, -1))  # [h, w, B, p, p, d]
    return upsample.norm_out(cells.permute(2, 0, 3, 1, 4, 5).flatten(3, 4).flatten(1, 2), times)


def as_reference(model: FlowInOneModel) -> FlowInOneModel:
    """A model with the same tensors (no copy) and the reference velocity network."""
    return twin(model, ReferenceVelocityNetwork)


def twin(model: FlowInOneModel, kind: type[VelocityNetwork] = VelocityNetwork) -> FlowInOneModel:
    """Another model with the same tensors (no copy), its velocity network of that class."""
    other = FlowInOneModel.without_memory(model.velocity_network.config)
    other.velocity_network = kind(model.velocity_network.config, device="meta")
    other.load_state_dict(model.state_dict(), assign=True)
    return other.eval().requires_grad_(False)
