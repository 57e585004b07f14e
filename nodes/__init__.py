"""The pack's nodes."""

from .latent import FlowInOneVAEDecode
from .loading import FlowInOneLoader
from .sampling import FlowInOneSampler

NODES = [FlowInOneLoader, FlowInOneSampler, FlowInOneVAEDecode]
