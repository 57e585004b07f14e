"""The FlowInOne network: prompt encoder and velocity network.

The paper's terms (arXiv 2604.06757), those of the public implementation in brackets, and where they are here:

======================================================  ==============================================================
paper                                                   here
======================================================  ==============================================================
visual prompt encoder, text-image VAE                   `prompt_encoder.PromptEncoder`, behind
(`context_encoder`, `adapter`, `token_compressor`)      `flowinone.vision.VisionEncoder` (SigLIP tower and aligner)
source distribution, z0                                 `PromptEncoder`'s mean and log-variance; `sampling.source_latent`
DiMR, multi-resolution network (`stages`)               `velocity.VelocityNetwork`
first resolution: transformer (`stages.0`)              `coarse.CoarseStage`, of `coarse.CoarseBlock`
second resolution: ConvNeXt (`stages.1`)                `fine.FineStage`, of `fine.FineBlock`
feature cascade between resolutions (`upsample`)        `coarse.FeatureMaps`, `fine.Upsample`
TD-RMSNorm, time-dependent RMS norm                     `time.TimeRMSNorm`; its parameters: `time.TimeDependentParameter`
time-dependent layer norm                               `time.TimeLayerNorm`
dual-path block (`block1`, `block1_cross`)              `coarse.SelfAttention`, `coarse.GatedCrossAttention`
gate of the dual path (`weight_mlp`)                    `coarse.GatedCrossAttention.gate`
skip cross attention                                    `condition.Condition.bypass`
null indicator (`tensor_true`, `tensor_false`)          `condition.Condition.null`, `coarse.Indicator`
GEGLU feed-forward (`block2`)                           `layers.GatedMLP`
U-shaped long skips (`skip_denses`)                     `layers.SkipConnections`
log-SNR input of the network                            `time.network_time`
======================================================  ==============================================================
"""

from .condition import Condition
from .flowinone_model import FlowInOneModel
from .prompt_encoder import PromptEncoder
from .velocity import VelocityNetwork, activation_bytes

__all__ = ["Condition", "FlowInOneModel", "PromptEncoder", "VelocityNetwork", "activation_bytes"]
