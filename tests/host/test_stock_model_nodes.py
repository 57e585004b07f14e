"""Every stock node that takes one MODEL and returns one takes effect on FlowInOne's, or says why it cannot.

The nodes are those in /object_info. A new one fails the first test until NODES says what is expected of it.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from devtools.comfyui.client import ExecutionFailed
from devtools.comfyui.fixtures import LOADER, PHOTO
from devtools.comfyui.prompt import ksampler, node

MODEL = ["load", 0]
ENCODE = dict(seed=0, bypass=False, sample_posterior=False, time_grid="the authors'")
STEPS, GUIDANCE = 5, 7.0
ALL_OF_THE_WAY = dict(start_percent=0.0, end_percent=1.0)


class Expectation:
    """What a stock node is to do between loader and samplers: its inputs, and nodes that these are linked to."""

    def __init__(self, nodes=None, **inputs):
        self.nodes, self.inputs = nodes or {}, inputs


class Effect(Expectation):
    """What is sampled changes, with FlowInOne Sampler and with ComfyUI's samplers, and for both alike.

    `alike` is how far these may be apart, relative to their size.
    """

    def __init__(self, nodes=None, alike=1e-3, **inputs):
        super().__init__(nodes, **inputs)
        self.alike = alike


class Same(Expectation):
    """What is sampled stays. `why` says why nothing else is to be expected."""

    def __init__(self, why, nodes=None, **inputs):
        super().__init__(nodes, **inputs)
        self.why = why


class Refused(Expectation):
    """An error that holds `message`."""

    def __init__(self, message, nodes=None, **inputs):
        super().__init__(nodes, **inputs)
        self.message = message


class Foreign(Expectation):
    """Takes an input of a type that only other models have.

    `patch` is the kind of patch or option that it sets with one, which is refused with `message`.
    """

    def __init__(self, kind, patch=None, message=None):
        super().__init__()
        self.kind, self.patch, self.message = kind, patch, message


class Elsewhere(Expectation):
    """Has a test of its own, `test` in `module`."""

    def __init__(self, module, test):
        super().__init__()
        self.module, self.test = module, test


SCHEDULE = "gives the MODEL the noise schedule of a diffusion model, and FlowInOne is a flow"
WINDOWS = dict(
    context_length=16,
    context_overlap=4,
    context_schedule="standard_static",
    context_stride=1,
    closed_loop=False,
    fuse_method="pyramid",
    freenoise=False,
    split_conds_to_windows=False,
)
ADAPTER = "adds its own network to another model's blocks"
SCALES = dict(q=1.2, k=0.9, v=1.1, out=1.3)
NO_SUCH_WEIGHTS = "multiplies weights by their names in Stable Diffusion's U-Net"
LORA = dict(lora_name="stock_nodes.safetensors", strength_model=1.0)

NODES = {
    # Guidance
    "APG": Effect(eta=0.5, norm_threshold=5.0, momentum=0.0),
    "CFGNorm": Effect(strength=1.0, pre_cfg=False),
    "CFGOverride": Effect(cfg=1.0, **ALL_OF_THE_WAY),
    "CFGZeroStar": Effect(),
    "Epsilon Scaling": Effect(scaling_factor=1.05),
    "FreSca": Effect(scale_low=1.0, scale_high=2.0, freq_cutoff=4),
    "LatentApplyOperationCFG": Effect(
        {"operation": node("LatentOperationTonemapReinhard", multiplier=0.5)}, operation=["operation", 0]
    ),
    "Mahiro": Effect(),
    "NAGuidance": Effect(nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5),
    "PerpNeg": Effect(empty_conditioning=["encode", 0], neg_scale=0.5),
    "PerturbedAttentionGuidance": Effect(scale=3.0),
    "RenormCFG": Effect(cfg_trunc=100.0, renorm_cfg=0.5),
    "RescaleCFG": Effect(multiplier=0.7),
    "SelfAttentionGuidance": Effect(scale=0.5, blur_sigma=2.0),
    "SkipLayerGuidanceDiT": Effect(
        double_layers="1", single_layers="", scale=3.0, rescaling_scale=0.0, **ALL_OF_THE_WAY
    ),
    "SkipLayerGuidanceDiTSimple": Effect(double_layers="1, 2", single_layers="", **ALL_OF_THE_WAY),
    "SkipLayerGuidanceSD3": Effect(layers="3", scale=3.0, **ALL_OF_THE_WAY),
    "TCFG": Effect(),
    "TemporalScoreRescaling": Effect(tsr_k=0.8, tsr_sigma=1.0),
    "VideoLinearCFGGuidance": Effect(min_cfg=1.0),
    "VideoTriangleCFGGuidance": Effect(min_cfg=1.0),
    # Caches, attention and compilation
    "EasyCache": Effect(reuse_threshold=3.0, verbose=False, start_percent=0.0, end_percent=0.95),
    "LazyCache": Effect(reuse_threshold=3.0, verbose=False, start_percent=0.0, end_percent=0.95),
    "HyperTile": Effect(tile_size=64, swap_size=2, max_depth=0, scale_depth=False),
    "TomePatchModel": Effect(ratio=0.5, alike=1),  # it draws at random which tokens it keeps
    "TorchCompileModel": Elsewhere("test_native_model", "test_a_compiled_model_answers_as_the_plain_one"),
    # Weights and dtypes
    "LoraLoaderModelOnly": Effect(**LORA),
    "LoraLoaderBypassModelOnly": Effect(**LORA),
    "LoraModelLoader": Effect({"lora": node("InspectorMakeLora")}, lora=["lora", 0], strength_model=1.0, bypass=False),
    "LoraLoader": Foreign("CLIP"),
    "LoraLoaderBypass": Foreign("CLIP"),
    "ModelComputeDtype": Effect(dtype="bf16", alike=0.1),
    "UNetSelfAttentionMultiply": Refused(NO_SUCH_WEIGHTS, **SCALES),
    "UNetCrossAttentionMultiply": Refused(NO_SUCH_WEIGHTS, **SCALES),
    "UNetTemporalAttentionMultiply": Refused(
        NO_SUCH_WEIGHTS, self_structural=1.2, self_temporal=1.0, cross_structural=1.0, cross_temporal=1.0
    ),
    # Time grid and start
    "ModelNoiseScale": Effect(noise_scale=1.5),
    "ModelSamplingAuraFlow": Effect(shift=3.0),
    "ModelSamplingFlux": Effect(max_shift=1.15, base_shift=0.5, width=1024, height=1024),
    "ModelSamplingLTXV": Effect(max_shift=2.05, base_shift=0.95),
    "ModelSamplingSD3": Effect(shift=3.0),
    "ModelSamplingDiscrete": Refused(SCHEDULE, sampling="v_prediction", zsnr=False),
    "ModelSamplingContinuousEDM": Refused(SCHEDULE, sampling="edm", sigma_max=120.0, sigma_min=0.002),
    "ModelSamplingContinuousV": Refused(SCHEDULE, sampling="v_prediction", sigma_max=500.0, sigma_min=0.03),
    "ModelSamplingStableCascade": Refused(SCHEDULE, shift=2.0),
    "MiniMaxH3SigmaShift": Refused(
        "sets the schedules of MiniMax's video and audio", shift_video=12.0, shift_audio=3.0
    ),
    # Parts of the picture, of the batch and of the machine
    "DifferentialDiffusion": Elsewhere(
        "test_stock_model_nodes", "test_a_mask_keeps_a_part_of_the_picture_and_differential_diffusion_acts_on_it"
    ),
    "ContextWindowsManual": Same(
        "windows over the batch, whose pictures do not depend on each other",
        dim=0,
        cond_retain_index_list="",
        latent_retain_index_list="",
        causal_window_fix=True,
        **(WINDOWS | dict(context_length=1, context_overlap=0)),
    ),
    "LTXVContextWindows": Refused("cuts the latents of videos into windows", retain_first_frame=False, **WINDOWS),
    "WanContextWindowsManual": Refused(
        "cuts the latents of videos into windows", retain_first_frame=False, **(WINDOWS | dict(context_length=17))
    ),
    "MultiGPU_WorkUnits": Same("there is one device here; see inside.py for two", max_gpus=2),
    "SelectModelDevice": Same("there is one device here", device="cpu"),
    # Made for other networks
    "ARVideoI2V": Refused(
        "autoregressive video model",
        vae=["load", 2],
        start_image=["photo", 0],
        width=64,
        height=64,
        length=1,
        batch_size=1,
    ),
    "ChromaRadianceOptions": Refused(
        "pixel decoder of Chroma Radiance",
        preserve_wrapper=True,
        start_sigma=1.0,
        end_sigma=0.0,
        nerf_tile_size=16,
        force_sequential_txt_ids=False,
    ),
    "FluxKVCache": Refused("patches the tokens of Flux and models like it"),
    "FreeU": Refused("scales the skip connections", b1=1.1, b2=1.2, s1=0.9, s2=0.2),
    "FreeU_V2": Refused("scales the skip connections", b1=1.3, b2=1.4, s1=0.9, s2=0.2),
    "HiDreamO1PatchSeamSmoothing": Refused(
        "smooths the seams of patches of 32 pixels",
        pattern="single_shift",
        passes="2",
        blend="average",
        strength=1.0,
        **ALL_OF_THE_WAY,
    ),
    "HypernetworkLoader": Refused(
        "changes the cross-attention to a text", hypernetwork_name="stock_nodes.pt", strength=1.0
    ),
    "PatchModelAddDownscale": Refused(
        "patches a U-Net's downscaling blocks",
        block_number=3,
        downscale_factor=2.0,
        downscale_after_skip=True,
        downscale_method="bicubic",
        upscale_method="bicubic",
        **ALL_OF_THE_WAY,
    ),
    "ScaleROPE": Refused(
        "learned tables of positions", scale_x=2.0, shift_x=0.0, scale_y=1.0, shift_y=0.0, scale_t=1.0, shift_t=0.0
    ),
    "TripoSplatSamplingPreview": Refused(
        "shows Gaussian splats",
        vae=["load", 2],
        octree_level=5,
        num_gaussians=16384,
        yaw=90.0,
        pitch=15.0,
        point_size=3,
    ),
    "AnimaLLLiteApply": Foreign("MODEL_PATCH", "mlp_patch", "patches Anima's MLPs"),
    "LTXVReferenceAudio": Foreign("AUDIO"),
    "QwenImageDiffsynthControlnet": Foreign("MODEL_PATCH", "double_block", ADAPTER),
    "SUPIRApply": Foreign("MODEL_PATCH", "middle_block_after_patch", "patches a U-Net's middle block"),
    "USOStyleReference": Foreign("MODEL_PATCH", "post_input", "patches the tokens of Flux"),
    "WanInfiniteTalkToVideo": Foreign("MODEL_PATCH", "audio_embeds", "gives audio to a Wan video model"),
    "WanUni3CControlnetApply": Foreign("MODEL_PATCH", "double_block", ADAPTER),
    "ZImageFunControlnet": Foreign("MODEL_PATCH", "noise_refiner", "patches Z-Image's noise refiner"),
    "wanBlockSwap": Same("ComfyUI has made it do nothing, on any model"),
}


def inputs_of(info):
    return info["input"].get("required", {}) | info["input"].get("optional", {})


def of(kind):
    return sorted(name for name, expectation in NODES.items() if isinstance(expectation, kind))


@pytest.fixture(scope="module")
def stock_nodes(server):
    """Nodes of ComfyUI's own with one MODEL input and one MODEL output, from /object_info."""
    return {
        name: info
        for name, info in server.client().object_info().items()
        if not info["python_module"].startswith("custom_nodes.")
        and info["output"].count("MODEL") == 1
        and [kind for kind, *_ in inputs_of(info).values()].count("MODEL") == 1
    }


def test_the_table_has_every_stock_node_that_changes_a_model(stock_nodes):
    missing, gone = sorted(stock_nodes.keys() - NODES.keys()), sorted(NODES.keys() - stock_nodes.keys())
    assert not missing, (
        f"ComfyUI has {missing}, which take a MODEL and return one: try them between Load FlowInOne and a sampler, and "
        "add to NODES what they do (Effect), why they change nothing (Same), or the error that explains why they do "
        "not apply (Refused, from comfyui_flowinone/model_patches.py)."
    )
    assert not gone, f"ComfyUI has no {gone} any more; take them out of NODES if no supported version has them."


@pytest.fixture(scope="module")
def files(server):
    """A LoRA and a hypernetwork for the nodes that load one."""
    generator = torch.Generator().manual_seed(0)
    layer = "diffusion_model.coarse.blocks.2.self_attention.dense"
    lora = {
        f"{layer}.lora_A.weight": torch.randn(2, 64, generator=generator) / 4,
        f"{layer}.lora_B.weight": torch.randn(64, 2, generator=generator) / 4,
    }
    linear = {"linear.0.weight": torch.eye(64), "linear.0.bias": torch.zeros(64)}
    for folder in ("loras", "hypernetworks"):
        (server.base / "models" / folder).mkdir(exist_ok=True)
    save_file(lora, server.base / "models" / "loras" / LORA["lora_name"])
    torch.save({64: [linear, linear]}, server.base / "models" / "hypernetworks" / "stock_nodes.pt")


@pytest.fixture
def latents(server, client, files):
    """Run FlowInOne Sampler and the stock KSampler behind a node; what each of them gives, by "own" and "stock"."""
    photo = client.upload(PHOTO)

    def run(class_type=None, inputs=None, nodes=None, samplers=("own", "stock")):
        model = MODEL if class_type is None else ["node", 0]
        graph = {
            "photo": node("LoadImage", image=photo),
            "load": node("FlowInOneLoader", **LOADER),
            "encode": node("FlowInOneEncode", encoder=["load", 1], vae=["load", 2], image=["photo", 0], **ENCODE),
            "own": node(
                "FlowInOneSampler",
                model=model,
                encoder=["load", 1],
                vae=["load", 2],
                image=["photo", 0],
                seed=0,
                steps=STEPS,
                guidance_scale=GUIDANCE,
                solver="euler",
                bypass=False,
                sample_posterior=False,
            ),
            "stock": ksampler(model=model, steps=STEPS, cfg=GUIDANCE),
            **(nodes or {}),
        }
        if class_type is not None:
            graph["node"] = node(class_type, model=MODEL, **(inputs or {}))
        for name in ("own", "stock"):
            if name not in samplers:
                del graph[name]
                continue
            graph[f"{name} saved"] = node("SaveLatent", samples=[name, 0], filename_prefix=name)
        outputs = client.run(graph)["outputs"]

        def latent(name):
            (file,) = outputs[f"{name} saved"]["latents"]
            return load_file(server.base / "output" / file["subfolder"] / file["filename"])["latent_tensor"]

        return {name: latent(name) for name in samplers}

    return run


@pytest.fixture(scope="module")
def plain():
    """The latents without a node in between; filled by the first test that asks."""
    return {}


def without_a_node(latents, plain):
    if not plain:
        plain.update(latents())
    return plain


def distance(found, expected):
    """Mean difference, relative to the mean size of what is expected."""
    return float((found - expected).abs().mean() / expected.abs().mean())


@pytest.mark.parametrize("name", of(Effect))
def test_it_changes_what_both_samplers_give_and_alike(latents, plain, name):
    expected = without_a_node(latents, plain)
    found = latents(name, NODES[name].inputs, NODES[name].nodes)
    for sampler, latent in found.items():
        # Without an effect they are equal, bit for bit.
        assert 1e-4 < distance(latent, expected[sampler]) < 10, sampler
    assert distance(found["own"], found["stock"]) < NODES[name].alike


@pytest.mark.parametrize("name", of(Same))
def test_it_runs_and_has_nothing_to_change(latents, plain, name):
    expected = without_a_node(latents, plain)
    for sampler, latent in latents(name, NODES[name].inputs, NODES[name].nodes).items():
        assert distance(latent, expected[sampler]) < 1e-5, (sampler, NODES[name].why)


@pytest.mark.parametrize("sampler", ["own", "stock"])
@pytest.mark.parametrize("name", of(Refused))
def test_it_is_refused_with_the_reason(latents, name, sampler):
    with pytest.raises(ExecutionFailed, match=NODES[name].message) as refused:
        latents(name, NODES[name].inputs, NODES[name].nodes, [sampler])
    assert "does not apply to FlowInOne" in str(refused.value)
    assert "remove the node" in str(refused.value)


@pytest.mark.parametrize("name", of(Foreign))
def test_it_needs_what_only_other_models_have(stock_nodes, latents, name):
    expectation = NODES[name]
    assert expectation.kind in [kind for kind, *_ in inputs_of(stock_nodes[name]).values()]
    if expectation.patch is not None:
        with pytest.raises(ExecutionFailed, match=expectation.message):
            latents("InspectorSetPatch", {"kind": expectation.patch}, samplers=["stock"])


@pytest.mark.parametrize("name", of(Elsewhere))
def test_its_own_test_exists(name):
    module = Path(__file__).with_name(f"{NODES[name].module}.py")
    assert f"def {NODES[name].test}(" in module.read_text(encoding="utf-8")


def test_layers_that_there_are_not_are_named(latents):
    layers = dict(double_layers="7, 8, 9", single_layers="7, 8, 9", scale=3.0, rescaling_scale=0.0, **ALL_OF_THE_WAY)
    with pytest.raises(ExecutionFailed, match="'double_block', 7.*its blocks are 0 to 4"):
        latents("SkipLayerGuidanceDiT", layers, samplers=["stock"])


def test_weights_multiplied_by_one_are_let_through(latents, plain):
    expected = without_a_node(latents, plain)
    found = latents("UNetSelfAttentionMultiply", dict(q=1.0, k=1.0, v=1.0, out=1.0), samplers=["stock"])
    assert distance(found["stock"], expected["stock"]) < 1e-5


def test_a_mask_keeps_a_part_of_the_picture_and_differential_diffusion_acts_on_it(latents):
    def masked(model):
        return {
            "first": ksampler(steps=STEPS),
            "half": node("SolidMask", value=0.5, width=256, height=256),
            "black": node("SolidMask", value=0.0, width=128, height=256),
            "mask": node("MaskComposite", destination=["half", 0], source=["black", 0], x=0, y=0, operation="multiply"),
            "latent": node("SetLatentNoiseMask", samples=["first", 0], mask=["mask", 0]),
            "stock": ksampler(steps=STEPS, latent_image=["latent", 0], model=model, denoise=0.8),
        }

    first = latents(samplers=["stock"])["stock"]
    without = latents(nodes=masked(MODEL), samplers=["stock"])["stock"]
    with_it = latents("DifferentialDiffusion", {"strength": 1.0}, masked(["node", 0]), ["stock"])["stock"]
    left, right = (..., slice(0, 16)), (..., slice(16, 32))
    assert distance(without[left], first[left]) < 1e-4 and distance(with_it[left], first[left]) < 1e-4
    assert distance(without[right], first[right]) > 0.01
    assert distance(with_it[right], without[right]) > 0.01
