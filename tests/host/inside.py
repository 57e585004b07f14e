"""Examines the native MODEL inside a ComfyUI process, where no server's route reaches: simulated low memory and 8 bits.

    python inside.py <ComfyUI folder> <models folder> <exchange folder>

prints its findings as one JSON object and leaves tensors in the exchange folder. A separate program, because ComfyUI's
Python need not have pytest.
"""

import importlib.util
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from devtools.comfyui import launch  # noqa: E402

COMFYUI, MODELS, EXCHANGE = sys.argv[1:]
launch.prepare(Path(COMFYUI), ["--cpu"])

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.ldm.modules.attention  # noqa: E402
import comfy.model_management as memory  # noqa: E402
import comfy.samplers  # noqa: E402
import torch  # noqa: E402
from comfy.cli_args import args  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402


def pack(module: str):
    """A module of the pack, which is loaded as ComfyUI loads it: under a name that is not its own."""
    if "pack" not in sys.modules:
        root = HERE.parents[1]
        spec = importlib.util.spec_from_file_location(
            "pack", root / "__init__.py", submodule_search_locations=[str(root)]
        )
        sys.modules["pack"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["pack"])
    return importlib.import_module(f"pack.{module}")


CHECKPOINT = str(Path(MODELS, "flowinone", "flowinone_tiny.safetensors"))


def model(dtype=torch.float32):
    return pack("comfyui_flowinone.patcher").load_model(CHECKPOINT, dtype)


def start(batch):
    """Source and image latents of a made-up batch."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, batch, 4, 32, 32, generator=generator)


def own_answer(model, batch, **changes):
    source, image_latent = start(batch)
    settings = pack("flowinone.sampling").SamplerSettings(**(dict(steps=2, guidance_scale=3.0) | changes))
    latent = pack("comfyui_flowinone.samplers").sample(model, source, image_latent, [False] * batch, settings)
    return model.model.process_latent_in(latent["samples"])


def native_answer(model, batch):
    source, image_latent = start(batch)
    stock = pack("comfyui_flowinone.conditioning")
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*(stock.conditioning(source, image_latent, [False] * batch, null, True) for null in (False, True)))
    guider.set_cfg(3.0)
    sigmas = torch.linspace(1, 0, 3)
    answer = guider.sample(source, source * 0, comfy.samplers.sampler_object("euler"), sigmas, seed=0)
    return model.model.process_latent_in(answer)


def velocity_of(network, source, image_latent):
    """The network's velocity at two times, without ComfyUI's sampling."""
    prompt = dict(image_latent=image_latent, null=torch.zeros(2), bypass=torch.zeros(2), dual=True)
    with torch.inference_mode():
        return network(source, torch.tensor([0.7, 0.3]), speed=1.0, samples_at_once=2, **prompt)


def low_vram() -> dict:
    """Weights that stay behind and come a layer at a time, with a LoRA on top, against weights that are all there."""
    patched = model()
    # A matrix, and what is in no layer of ComfyUI's: a table of positions and what follows time.
    names = (
        "coarse.blocks.0.mlp.w0.weight",
        "fine.input_layer.positions.table",
        "coarse.blocks.0.mlp.norm.scale.param0",
    )
    stored = {
        name: tensor
        for name, tensor in patched.model.state_dict().items()
        if name.removeprefix("diffusion_model.") in names
    }
    assert len(stored) == len(names), stored.keys()
    patched.add_patches({key: ("diff", (torch.full_like(tensor, 0.02),)) for key, tensor in stored.items()}, 0.5)
    network = patched.model.diffusion_model
    device = patched.load_device
    source, image_latent = start(2)

    def velocity():
        return velocity_of(network, source, image_latent)

    plain = velocity()
    patched.patch_model(device, lowvram_model_memory=0)
    whole = velocity()
    patched.unpatch_model(device)
    restored = velocity()
    patched.patch_model(device, lowvram_model_memory=1)
    streamed = [module for module in network.modules() if getattr(module, "comfy_cast_weights", False)]
    low = velocity()
    matrices = [module for module in network.modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)]
    return {
        "streamed": len(streamed),
        "matrices": len(matrices),
        "patch": float((whole - plain).abs().max()),
        "difference": float((low - whole).abs().max()),
        "left_behind": float((restored - plain).abs().max()),
    }


def eight_bit_flag() -> dict:
    """ComfyUI's own switch for 8-bit weights."""
    whole = own_answer(model(), 1)
    args.fp8_e4m3fn_unet = True
    small = model(None)
    args.fp8_e4m3fn_unet = False
    dtypes = {str(tensor.dtype) for name, tensor in small.model.state_dict().items() if tensor.ndim > 1}
    difference = (own_answer(small, 1) - whole).abs().mean() / whole.abs().mean()
    return {"dtypes": sorted(dtypes), "relative difference": float(difference)}


def eight_bit_files() -> dict:
    """Networks in ComfyUI's 8-bit format: content and answers, whole and layer by layer, with and without a LoRA."""
    expected = own_answer(model(), 2)
    key = "diffusion_model.coarse.blocks.0.mlp.w0.weight"
    update = torch.randn(128, 64, generator=torch.Generator().manual_seed(2)) / 8
    patched = model()
    patched.add_patches({key: ("diff", (update,))}, 2.0)
    expected_patched = own_answer(patched, 2)

    def error(answer, expected):
        return float((answer - expected).norm() / expected.norm())

    def velocity(network):
        return velocity_of(network, *start(2))

    found = {"lora": error(expected_patched, expected)}
    for kind in ("fp8", "int8"):
        path = str(Path(EXCHANGE, f"network_{kind}.safetensors"))
        load = pack("comfyui_flowinone.patcher").load_model
        small = load(path, None)
        network, device = small.model.diffusion_model, small.load_device
        layer = network.coarse.blocks[0].mlp.w0
        found[kind] = {
            "dtype": str(layer.weight._qdata.dtype),
            "operations": type(layer).__qualname__,
            "bytes": memory.module_size(network),
            "promised": small.model.weight_bytes,
            "difference": error(own_answer(small, 2), expected),
            "native": error(native_answer(small, 2), expected),
            "float8 asked for": error(own_answer(load(path, torch.float8_e4m3fn), 2), expected),
        }
        small.add_patches({key: ("diff", (update,))}, 2.0)
        found[kind]["patched"] = error(own_answer(small, 2), expected_patched)
        small.unpatch_model(device)
        small.patch_model(device, lowvram_model_memory=0)
        whole = velocity(network)
        small.unpatch_model(device)
        small.patch_model(device, lowvram_model_memory=1)
        found[kind]["streamed"] = error(velocity(network), whole)
    return found


def parts() -> dict:
    """Batches that are larger than the free memory, which is made up."""
    whole = model()
    expected = {"own": own_answer(whole, 5), "native": native_answer(whole, 5)}
    sizes = []
    whole.model.diffusion_model.coarse.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    free_memory = memory.get_free_memory
    memory.get_free_memory = lambda *_, **__: 3.5 * whole.model.activation_bytes
    found = {}
    for name, answer in (("own", own_answer), ("native", native_answer)):
        sizes.clear()
        difference = float((answer(whole, 5) - expected[name]).abs().max())
        found[name] = {"difference": difference, "largest": max(sizes), "samples": sum(sizes)}
    memory.get_free_memory = free_memory
    found["sampling_paths"] = float((expected["own"] - expected["native"]).abs().max())
    return found


def promises() -> dict:
    """What ComfyUI is asked to free for batches, on a card that is made up: room for the weights and ten samples."""
    whole = model()
    total_memory = memory.get_total_memory
    memory.get_total_memory = lambda *_, **__: whole.model.weight_bytes + 10 * whole.model.activation_bytes
    asked = {batch: whole.memory_required([batch, 4, 32, 32]) / whole.model.activation_bytes for batch in (1, 4, 1000)}
    memory.get_total_memory = total_memory
    return asked


def offloading() -> dict:
    """Another model needs all the room."""
    whole = model()
    memory.load_models_gpu([whole])
    before = len(memory.loaded_models())
    memory.free_memory(1e30, whole.load_device)
    return {"before": before, "after": len(memory.loaded_models())}


def autoencoders() -> dict:
    """What the exchange folder's VAEs make of its pixels and latents."""
    given, found = load_file(Path(EXCHANGE, "given.safetensors")), {}
    for path in Path(EXCHANGE).glob("vae_*.safetensors"):
        vae = pack("comfyui_flowinone.vae").load_vae(str(path), torch.float32)
        made = {"latents": vae.encode(given["pixels"].movedim(1, -1)), "pictures": vae.decode(given["latents"])}
        save_file({name: tensor.contiguous() for name, tensor in made.items()}, Path(EXCHANGE, f"of_{path.name}"))
        found[path.stem] = [vae.latent_channels, vae.downscale_ratio, vae.upscale_ratio]
    return found


def library() -> dict:
    """How far FlowInOne Sampler is from the library's own solvers and guidance on the same network, per setting."""
    sampling, network = pack("flowinone.sampling"), pack("flowinone.model")
    ours = model()
    source, image_latent = start(2)
    condition = network.Condition.prompt(image_latent, torch.zeros(2, dtype=torch.bool))

    def plain(x, t, condition):
        return network.VelocityNetwork.forward(ours.model.diffusion_model, x, t, condition)

    found = {}
    for changes in (
        dict(solver="euler", steps=5),
        dict(solver="heun", steps=3, guidance_interval=(0.0, 0.5)),
        dict(solver="rk4", guidance_interval=(0.2, 0.9)),
        dict(solver="adams_bashforth2", steps=6, guidance_every=2),
        dict(solver="euler", steps=6, guidance_every=3),
    ):
        settings = sampling.SamplerSettings(**(dict(steps=2, guidance_scale=3.0) | changes))
        with torch.inference_mode():
            guided = sampling.guided_velocity(plain, condition, settings.guidance)
            expected = sampling.integrate(guided, source, settings.solver, settings.steps)
        found[str(settings)] = float((own_answer(ours, 2, **changes) - expected).abs().max())
    return found


def patches() -> dict:
    """Patches of every supported kind that change nothing: how far the latents move, and which were called."""
    ours, called = model(), set()
    expected = own_answer(ours, 2)
    patched = ours.clone()

    def attention(query, key, value, options):
        return comfy.ldm.modules.attention.optimized_attention(query, key, value, options["n_heads"])

    def seen(kind, answer):
        def patch(*given, **settings):
            called.add(kind)
            return answer(*given, **settings)

        return patch

    patched.set_model_attn1_patch(seen("attn1_patch", lambda query, key, value, options: (query, key, value)))
    patched.set_model_attn2_patch(seen("attn2_patch", lambda query, key, value, options: (query, key, value)))
    patched.set_model_attn1_output_patch(seen("attn1_output_patch", lambda out, options: out))
    patched.set_model_attn2_output_patch(seen("attn2_output_patch", lambda out, options: out))
    patched.set_model_attn1_replace(seen("attn1", attention), "middle", 0)
    patched.set_model_attn2_replace(seen("attn2", attention), "input", 1, 0)
    patched.set_model_patch_replace(
        seen("dit", lambda given, extra: extra["original_block"](given)), "dit", "single_block", 3
    )
    patched.set_model_double_block_patch(seen("double_block", lambda given: given))
    patched.add_wrapper("diffusion_model", seen("wrapper", lambda run, *given, **conds: run(*given, **conds)))
    options = patched.model_options["transformer_options"]
    options["optimized_attention_override"] = seen("override", lambda run, *given, **settings: run(*given, **settings))
    return {"difference": float((own_answer(patched, 2) - expected).abs().max()), "called": sorted(called)}


def patched_parts() -> dict:
    """A patch that compares both branches of a sample, on batches larger than the free memory."""
    ours, sizes = model(), []
    nag = importlib.import_module("comfy_extras.nodes_nag").NAGuidance
    patched = nag.execute(model=ours, nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5).result[0]
    expected = own_answer(patched, 5)
    effect = float((own_answer(ours, 5) - expected).abs().mean())
    ours.model.diffusion_model.coarse.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    # ComfyUI batches both branches, and only the network finds that they do not fit.
    ours.model.memory_required = lambda *_, **__: 0
    free_memory = memory.get_free_memory
    memory.get_free_memory = lambda *_, **__: 3.5 * ours.model.activation_bytes
    difference = float((own_answer(patched, 5) - expected).abs().max())
    memory.get_free_memory = free_memory
    return {"difference": difference, "effect": effect, "sizes": sorted(set(sizes))}


def two_devices() -> dict:
    """MultiGPU CFG Split over two devices that are made up: both are this CPU."""
    ours = model()
    expected = own_answer(ours, 2)
    all_devices = memory.get_all_torch_devices
    memory.get_all_torch_devices = lambda *_, **__: [torch.device("cpu"), torch.device("cpu", 0)]
    split = importlib.import_module("comfy_extras.nodes_multigpu").MultiGPUCFGSplitNode
    both = split.execute(model=ours, max_gpus=2).result[0]
    memory.get_all_torch_devices = all_devices
    evaluations = {"first": [], "second": []}
    for name, patcher in zip(evaluations, (both, *both.get_additional_models_with_key("multigpu"))):
        patcher.model.diffusion_model.coarse.register_forward_pre_hook(
            lambda module, inputs, name=name: evaluations[name].append(len(inputs[0]))
        )
    return {"difference": float((own_answer(both, 2) - expected).abs().max()), "evaluations": evaluations}


def compiled() -> dict:
    """A compiled network over several steps, traced but not turned into machine code, which would take minutes."""
    import torch._dynamo
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    ours, difference = model(), []
    traced = ours.clone()
    set_torch_compile_wrapper(model=traced, backend="eager")
    for answer in (own_answer, native_answer):
        difference.append(float((answer(traced, 2) - answer(ours, 2)).abs().max()))
    counters = torch._dynamo.utils.counters
    return {
        "difference": max(difference),
        "compilations": counters["frames"]["total"],
        "breaks": sum(counters["graph_break"].values()),
    }


def opened() -> dict:
    """How often Load FlowInOne opens each file, and on which devices it constructs the two networks."""
    weightfile, model = pack("flowinone.weights.weightfile"), pack("flowinone.model")
    counts, devices = {}, []
    open_file, constructors = weightfile._open_file, {}

    def counted(path):
        counts[path.name] = counts.get(path.name, 0) + 1
        return open_file(path)

    def watched(construct):
        def constructed(self, *arguments, **settings):
            devices.append([type(self).__name__, str(settings.get("device"))])
            construct(self, *arguments, **settings)

        return constructed

    weightfile._open_file = counted
    for kind in (model.PromptEncoder, model.VelocityNetwork):
        constructors[kind] = kind.__init__
        kind.__init__ = watched(kind.__init__)
    mini = pack("flowinone.mini")
    pack("comfyui_flowinone.patcher").load_model_and_encoder(str(mini.NETWORK), str(mini.VISION), torch.float32)
    weightfile._open_file = open_file
    for kind, construct in constructors.items():
        kind.__init__ = construct
    return {"files": counts, "constructed": devices}


print(
    json.dumps(
        {
            check.__name__: check()
            for check in (
                *(low_vram, eight_bit_flag, eight_bit_files, parts, promises, offloading, autoencoders, opened),
                *(library, patches, patched_parts, two_devices, compiled),
            )
        }
    )
)
