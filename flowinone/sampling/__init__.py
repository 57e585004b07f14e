"""Sampling: solvers, guidance, settings and noise, as pure functions over any velocity."""

from .guidance import Guidance, guided_velocity
from .noise import draw_noise, source_latent
from .settings import PRESETS, SamplerSettings
from .solvers import (
    FIXED_STEP_SOLVERS,
    SOLVERS,
    OnStep,
    Velocity,
    check_solver,
    euler,
    integrate,
    uniform_grid,
    upstream_euler,
    upstream_time,
    upstream_times,
)

__all__ = [
    "FIXED_STEP_SOLVERS",
    "PRESETS",
    "SOLVERS",
    "Guidance",
    "OnStep",
    "SamplerSettings",
    "Velocity",
    "check_solver",
    "draw_noise",
    "euler",
    "guided_velocity",
    "integrate",
    "source_latent",
    "uniform_grid",
    "upstream_euler",
    "upstream_time",
    "upstream_times",
]
