"""What nodes have patched on a MODEL and cannot take effect: errors that say so, in place of a picture without it.

Everything else that stock nodes patch takes effect: guidance and cache nodes through ComfyUI's sampling, attention
patches in `attention`, block patches and `DIFFUSION_MODEL` wrappers in `model_base`, weight patches in the patcher.
"""

import comfy.model_sampling

WEIGHT_MULTIPLIERS = ("UNetSelfAttentionMultiply", "UNetCrossAttentionMultiply", "UNetTemporalAttentionMultiply")
BLOCK_KINDS = ("double_block", "single_block")
SUPPORTED_PATCHES = {"attn1_patch", "attn1_output_patch", "attn2_patch", "attn2_output_patch", "double_block"}
# Kinds of patches that have no place in the network: what they are about, and the stock nodes that set them.
UNSUPPORTED_PATCHES = {
    "input_block_patch": ("a U-Net's downscaling blocks", "Kohya Deep Shrink (PatchModelAddDownscale)"),
    "input_block_patch_after_skip": ("a U-Net's downscaling blocks", "Kohya Deep Shrink (PatchModelAddDownscale)"),
    "output_block_patch": ("a U-Net's upscaling blocks", "FreeU, Kohya Deep Shrink or SUPIR"),
    "middle_block_after_patch": ("a U-Net's middle block", "SUPIR"),
    "forward_timestep_embed_patch": ("a U-Net's layers", "SUPIR or one for video models"),
    "emb_patch": ("a U-Net's time embedding", "one for Stable Diffusion"),
    "middle_patch": ("a U-Net's transformer blocks", "GLIGEN"),
    "post_input": ("the tokens of Flux and models like it", "Flux KV Cache, USO or Anima LLLite"),
    "noise_refiner": ("Z-Image's noise refiner", "a ControlNet for Z-Image"),
    "mlp_patch": ("Anima's MLPs", "Anima LLLite"),
}
# Options and wrappers of other models: the stock nodes that set them, and what they do.
FOREIGN_OPTIONS = {
    "ar_config": ("AR Video I2V", "prepares the key-value cache of an autoregressive video model"),
    "audio_embeds": ("Wan InfiniteTalk", "gives audio to a Wan video model"),
    "minimax_h3_sigma_shift_video": (
        "MiniMax H3 Sigma Shift",
        "sets the schedules of MiniMax's video and audio together",
    ),
}
FOREIGN_WRAPPERS = {
    "hidream_o1_patch_seam_smoothing": (
        "HiDream-O1 Patch Seam Smoothing",
        "smooths the seams of patches of 32 pixels, and leaves a margin as wide as FlowInOne's latents",
    ),
}


def require_supported_patches(patcher, model_options: dict, conditionings: list[dict]) -> None:
    """Raise ValueError, with node and remedy, for whatever on a MODEL or its conditioning cannot take effect."""
    transformer_options = model_options.get("transformer_options", {})
    sampling = patcher.get_model_object("model_sampling")
    flow = isinstance(sampling, comfy.model_sampling.CONST)
    if not flow or isinstance(sampling, comfy.model_sampling.IMG_TO_IMG_FLOW):
        raise _inapplicable(
            "a node such as ModelSamplingDiscrete, ModelSamplingContinuousEDM or ModelSamplingStableCascade",
            "gives the MODEL the noise schedule of a diffusion model, and FlowInOne is a flow; to shift its time "
            "grid, use ModelSamplingSD3 or ModelSamplingFlux",
        )
    for kind, patches in transformer_options.get("patches", {}).items():
        for patch in patches:
            _require_supported(kind, patch)
    for option, (node, reason) in FOREIGN_OPTIONS.items():
        if option in transformer_options:
            raise _inapplicable(node, reason)
    rope = transformer_options.get("rope_options", {})
    if any(value != (1.0 if name.startswith("scale") else 0.0) for name, value in rope.items()):
        raise _inapplicable(
            "ScaleROPE", "changes rotary position embeddings, and FlowInOne has learned tables of positions"
        )
    wrappers = transformer_options.get("wrappers", {})
    for key, (node, reason) in FOREIGN_WRAPPERS.items():
        if any(key in keys for keys in wrappers.values()):
            raise _inapplicable(node, reason)
    if getattr(model_options.get("context_handler"), "dim", 0) != 0:
        raise _inapplicable(
            "a context window node (Context Windows, Wan's or LTXV's)",
            "cuts the latents of videos into windows, and FlowInOne's have one size; only windows over the batch, dim "
            "0 of Context Windows (Manual), are possible",
        )
    if any("ref_audio" in entry for entry in conditionings):
        raise _inapplicable("LTXV Reference Audio", "adds a voice to the prompt of an LTXV model")


def require_applicable_nodes(nodes: list[dict]) -> None:
    """Raise ValueError for nodes of an API prompt that leave no trace on a MODEL without the weights they look for."""
    for node in nodes:
        if node["class_type"] in WEIGHT_MULTIPLIERS and any(
            value != 1 for value in node["inputs"].values() if isinstance(value, int | float)
        ):
            raise _inapplicable(
                node["class_type"],
                "multiplies weights by their names in Stable Diffusion's U-Net, none of which is here",
            )


def require_no_radiance_options(transformer_options: dict) -> None:
    """Raise ValueError if Chroma Radiance Options is set. It adds itself as late as in the call of the model."""
    if "chroma_radiance_options" in transformer_options:
        raise _inapplicable("Chroma Radiance Options", "sets up the pixel decoder of Chroma Radiance")


def require_known_blocks(transformer_options: dict, names: list[tuple[str, int]]) -> None:
    """Raise ValueError where a node replaces attention or blocks that a network with blocks of these names does not
    have.
    """
    for kind, replacements in transformer_options.get("patches_replace", {}).items():
        if kind in ("attn1", "attn2"):
            unknown = [place for place in replacements if tuple(place[:2]) not in names or place[2:] not in ((), (0,))]
            known = f"{names[0]} to {names[-1]}"
        elif kind == "dit":
            numbers = range(len(names))
            unknown = [place for place in replacements if place[0] not in BLOCK_KINDS or place[1] not in numbers]
            known = f"0 to {len(names) - 1}"
        else:
            raise _inapplicable("a node", f"replaces {kind}, which FlowInOne's network does not have")
        if unknown:
            raise ValueError(
                f"a node such as SkipLayerGuidance replaces {kind} of block {unknown[0]}, which this FlowInOne network "
                f"does not have: its blocks are {known}; choose layers among these (in SkipLayerGuidanceDiT both lists "
                "count)"
            )


def _require_supported(kind: str, patch) -> None:
    if type(patch).__name__ == "hypernetwork_patch":
        raise _inapplicable("Load Hypernetwork", "changes the cross-attention to a text, which FlowInOne does not have")
    if kind == "double_block" and hasattr(patch, "models"):
        raise _inapplicable(
            f"a ControlNet or adapter as a model patch ({type(patch).__name__})",
            "adds its own network to another model's blocks",
        )
    if kind in UNSUPPORTED_PATCHES:
        about, nodes = UNSUPPORTED_PATCHES[kind]
        raise _inapplicable(
            f"a node such as {nodes}", f"patches {about} ({kind}), which FlowInOne's network does not have"
        )
    if kind not in SUPPORTED_PATCHES:
        raise _inapplicable("a node", f"patches {kind}, which FlowInOne's network does not have")


def _inapplicable(node: str, reason: str) -> ValueError:
    return ValueError(
        f"{node} does not apply to FlowInOne: it {reason}; remove the node between Load FlowInOne and the sampler"
    )
