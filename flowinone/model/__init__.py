"""The FlowInOne network: prompt encoder and velocity network.

The terms of the paper (arXiv 2604.06757), and of the public implementation in brackets, with their places here:

=================================================  =======================================================
paper (public implementation)                      here
=================================================  =======================================================
visual prompt encoder (adapter, token_compressor,  prompt_encoder.PromptEncoder, behind
context_encoder), text-image VAE                   flowinone.vision.VisionEncoder
source distribution, z0                            PromptEncoder's mean and logvar; sampling.source_latent
DiMR, multi-resolution network (stages)            velocity.VelocityNetwork
first resolution: transformer (stages.0)           coarse.CoarseStage, of coarse.CoarseBlock
second resolution: ConvNeXt (stages.1)             fine.FineStage, of fine.FineBlock
feature cascade between them (upsample)            coarse.FeatureMaps, fine.Upsample
TD-RMSNorm, time-dependent RMS norm                time.TimeRMSNorm, time.TimeDependentParameter
time-dependent layer norm                          time.TimeLayerNorm
dual-path block (block1, block1_cross)             coarse.SelfAttention, coarse.GatedCrossAttention
gate of the dual path (weight_mlp)                 coarse.GatedCrossAttention.gate
skip cross attention                               condition.Condition.bypass
null indicator (tensor_true, tensor_false)         condition.Condition.null, coarse.Indicator
gated GELU feed-forward (block2)                   layers.GatedMLP
long skip connections of the U (skip_denses)       layers.SkipConnections
log-SNR input of the network                       time.network_time
=================================================  =======================================================
"""

from .condition import Condition
from .flowinone_model import FlowInOneModel
from .prompt_encoder import PromptEncoder
from .velocity import VelocityNetwork, activation_bytes

__all__ = ["Condition", "FlowInOneModel", "PromptEncoder", "VelocityNetwork", "activation_bytes"]
