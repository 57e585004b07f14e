"""The pack's nodes."""

from .canvas import FlowInOneCanvas
from .composing import FlowInOneCompose, FlowInOneTextPrompt
from .drawing import (
    FlowInOneDrawBox,
    FlowInOneDrawDoodle,
    FlowInOneDrawForce,
    FlowInOneDrawInstruction,
    FlowInOneDrawMarker,
    FlowInOneDrawTrajectory,
)
from .encoding import FlowInOneEncode
from .latent import FlowInOneVAEDecode
from .loading import FlowInOneLoader
from .motion import FlowInOneMotion
from .placing import FlowInOnePasteBack
from .sampling import FlowInOneSampler

NODES = [
    FlowInOneLoader,
    FlowInOneTextPrompt,
    FlowInOneDrawBox,
    FlowInOneDrawMarker,
    FlowInOneDrawDoodle,
    FlowInOneDrawForce,
    FlowInOneDrawTrajectory,
    FlowInOneDrawInstruction,
    FlowInOneCompose,
    FlowInOneCanvas,
    FlowInOneSampler,
    FlowInOneEncode,
    FlowInOneVAEDecode,
    FlowInOnePasteBack,
    FlowInOneMotion,
]
