"""Nodes that stand in for files of other models: what these put on a MODEL, without their weights."""

import torch


class AdapterPatch:
    """A patch as ControlNets and adapters for other models set it: with a network of its own."""

    def __call__(self, given):
        return given

    def models(self):
        return []


class SetPatch:
    """Put a patch of some kind on a MODEL, or an option if the kind is one."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "kind": ("STRING",)}}

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patched"
    CATEGORY = "tests"

    def patched(self, model, kind):
        model = model.clone()
        if kind == "audio_embeds":
            model.model_options["transformer_options"][kind] = torch.zeros(1)
        else:
            model.set_model_patch(AdapterPatch(), kind)
        return (model,)


class MakeLora:
    """A trained LoRA, as Train LoRA hands it out."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("LORA_MODEL",)
    FUNCTION = "made"
    CATEGORY = "tests"

    def made(self):
        layer = "diffusion_model.coarse.blocks.0.self_attention.dense"
        generator = torch.Generator().manual_seed(0)
        down, up = torch.randn(2, 2, 64, generator=generator) / 4
        return ({f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up.T.contiguous()},)


NODES = {"InspectorSetPatch": SetPatch, "InspectorMakeLora": MakeLora}
