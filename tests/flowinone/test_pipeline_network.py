"""A pipeline's steps neither stall the device nor bypass a compiled network."""

import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from devtools.numerics import relative_error
from flowinone import FlowInOnePipeline


class Reads(TorchDispatchMode):
    """Within a `with` block: `count`, how often a tensor's value was asked for."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_a_pipelines_steps_read_no_tensor(model_files):
    pipe = FlowInOnePipeline.from_single_files(**model_files)
    pipe.set_progress_bar_config(disable=True)
    pictures = [Image.new("RGB", (64, 64), "white")] * 2
    counts = []
    for steps in (1, 4):
        with Reads() as reads:
            pipe(pictures, steps=steps, bypass=[True, False], generator=0, output_type="latent")
        counts.append(reads.count)
    assert counts[0] == counts[1]


def test_a_pipeline_runs_the_network_that_was_compiled(model_files):
    pipe = FlowInOnePipeline.from_single_files(**model_files)
    pipe.set_progress_bar_config(disable=True)
    answers, runs = [], 0

    def backend(graph, _):
        def run(*inputs):
            nonlocal runs
            runs += 1
            return graph.forward(*inputs)

        return run

    for _ in range(2):
        answers.append(pipe(Image.new("RGB", (64, 64), "white"), steps=3, generator=0, output_type="latent").images)
        pipe.model.velocity_network.compile(backend=backend, fullgraph=True)
    assert runs == 3
    assert relative_error(answers[1], answers[0]) < 1e-6
