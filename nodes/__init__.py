"""The pack's nodes."""

from .compose_prompt import FlowInOneCompose, FlowInOneTextPrompt
from .custom_sampling import FlowInOneGuiderNode, FlowInOneSolverNode
from .draw_canvas import FlowInOneCanvas
from .draw_marks import (
    FlowInOneDrawBox,
    FlowInOneDrawDoodle,
    FlowInOneDrawForce,
    FlowInOneDrawInstruction,
    FlowInOneDrawMarker,
    FlowInOneDrawTrajectory,
)
from .encode import FlowInOneEncode
from .loader import FlowInOneLoader
from .motion_frames import FlowInOneMotion
from .paste import FlowInOnePasteBack
from .sampler import FlowInOneSampler
from .vae_decode import FlowInOneVAEDecode

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
    FlowInOneSolverNode,
    FlowInOneGuiderNode,
    FlowInOneVAEDecode,
    FlowInOnePasteBack,
    FlowInOneMotion,
]
