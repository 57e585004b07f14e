"""Load FlowInOne."""

import os

import torch
from comfy_api.latest import io

from ..comfyui_flowinone import folders
from ..comfyui_flowinone.patcher import load_model_and_encoder
from ..comfyui_flowinone.vae import load_vae
from .sockets import CATEGORY, Encoder

NO_VAE = "none"


class FlowInOneLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlowInOneLoader",
            display_name="Load FlowInOne",
            category=CATEGORY,
            description="Loads the FlowInOne network, the vision encoder that reads prompt images, and the VAE.",
            search_aliases=["flowinone", "flow in one", "visual prompt", "janus", "load model", "checkpoint", "loader"],
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=folders.files(folders.NETWORKS),
                    default=folders.MINI,
                    tooltip=(
                        "The FlowInOne network. mini paints toy scenes of coloured shapes, offline, in seconds; the "
                        "released weights paint photographs: flowinone_256px.pth, as published or converted, in "
                        "models/flowinone."
                    ),
                ),
                io.Combo.Input(
                    "vision",
                    display_name="vision encoder",
                    options=folders.files(folders.VISION_ENCODERS),
                    default=folders.MINI,
                    tooltip=(
                        "Reads prompt images: mini for the checkpoint mini, Janus-Pro-1B for the released weights, "
                        "of which only vision tower and aligner are loaded. Files are in models/clip_vision."
                    ),
                ),
                io.Combo.Input(
                    "vae",
                    options=[*folders.files(folders.AUTOENCODERS), NO_VAE],
                    default=folders.MINI,
                    tooltip=(
                        "Decodes latents: mini for the checkpoint mini, a Stable Diffusion 1.x VAE for the released "
                        "weights. Files are in models/vae. Choose none to connect a Load VAE node instead."
                    ),
                ),
                io.Combo.Input(
                    "dtype",
                    options=["default", "float32", "bfloat16", "float16", "float8_e4m3fn"],
                    default="default",
                    tooltip="Precision of the network. default suits the device; float32 is the authors'; bfloat16 "
                    "takes half its memory and looks nearly the same; float8 takes a quarter and loses some accuracy.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.Model.Output(
                    tooltip=(
                        "The FlowInOne network, for FlowInOne Sampler, Motion, or ComfyUI's own samplers and model "
                        "patches."
                    )
                ),
                Encoder.Output(display_name="encoder", tooltip="Reads prompt images: vision tower and prompt encoder."),
                io.Vae.Output(tooltip="The VAE, unless vae is none."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, checkpoint, vision, vae, dtype):
        chosen = [(folders.NETWORKS, checkpoint), (folders.VISION_ENCODERS, vision), (folders.AUTOENCODERS, vae)]
        paths = [folders.path_of(folder, name) for folder, name in chosen if name != NO_VAE]
        return [(path, os.path.getmtime(path), os.path.getsize(path)) for path in paths]

    @classmethod
    def execute(cls, checkpoint, vision, vae, dtype) -> io.NodeOutput:
        _require_one_kind(checkpoint, vision, vae)
        chosen = None if dtype == "default" else getattr(torch, dtype)
        network = folders.path_of(folders.NETWORKS, checkpoint)
        model, encoder = load_model_and_encoder(network, folders.path_of(folders.VISION_ENCODERS, vision), chosen)
        autoencoder = None if vae == NO_VAE else load_vae(folders.path_of(folders.AUTOENCODERS, vae), chosen)
        return io.NodeOutput(model, encoder, autoencoder)


def _require_one_kind(checkpoint: str, vision: str, vae: str) -> None:
    """Raise ValueError for a mix of mini's parts and other files, naming the inputs."""
    mini = checkpoint == folders.MINI
    others = [("vision encoder", vision), ("vae", vae)]
    odd = [f"{name} is {chosen}" for name, chosen in others if chosen != NO_VAE and (chosen == folders.MINI) != mini]
    if odd:
        raise ValueError(
            f"checkpoint is {checkpoint} and {' and '.join(odd)}: mini's parts only fit one another; "
            f"choose {folders.MINI} for all three or for none of them (vae can be none with both)"
        )
