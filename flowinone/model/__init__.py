"""The FlowInOne network: prompt encoder and velocity network."""

from .flowinone_model import FlowInOneModel
from .prompt_encoder import PromptEncoder
from .velocity import VelocityNetwork, activation_bytes

__all__ = ["FlowInOneModel", "PromptEncoder", "VelocityNetwork", "activation_bytes"]
