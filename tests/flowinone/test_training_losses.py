"""The training objective's terms against upstream's numbers."""

import pytest
import torch
from safetensors.torch import load_file

from devtools.tiny import FIXTURES, fixture_input
from flowinone.training import losses
from flowinone.training.objective import NoiseDraws


@pytest.fixture(scope="module")
def terms():
    return load_file(FIXTURES / "training_terms.safetensors")


def latents(name):
    return fixture_input(name, (2, 4, 32, 32))


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_the_path_and_its_derivative(terms):
    x0, x1 = latents("x0"), latents("x1")
    same(losses.path(x0, x1, torch.tensor([0.2, 0.9])), terms["psi"])
    same(losses.path_velocity(x0, x1), terms["dpsi"])


def test_the_targets_of_both_stages(terms):
    target = latents("velocity_target")
    same(target, terms["multi_scale/32"])
    same(losses.coarse_target(target), terms["multi_scale/16"])


def test_the_kl_term(terms):
    mean, logvar = fixture_input("mu", (2, 4096)), fixture_input("lv", (2, 4096), 0.3)
    same(losses.kl_divergence(mean, logvar), terms["kl"])


def test_the_contrastive_term(terms):
    features, sources = fixture_input("img_feat", (4, 4096)), fixture_input("ctx_feat", (4, 4096))
    same(losses.contrastive_loss(sources, features, 10.0)[None], terms["contrastive"])


def test_the_contrastive_term_is_least_for_the_right_pairs():
    features = fixture_input("img_feat", (4, 4096))
    right = losses.contrastive_loss(features, features, 10.0)
    assert right < 0.01 < losses.contrastive_loss(features.roll(1, 0), features, 10.0)


def test_null_samples_hand_their_targets_on_among_themselves():
    targets = torch.arange(5.0)[:, None]
    null = torch.tensor([True, False, True, True, False])
    assert losses.rotated_targets(targets, null).flatten().tolist() == [3, 1, 0, 2, 4]
    alone = torch.tensor([False, True, False, False, False])
    assert losses.rotated_targets(targets, alone).equal(targets)
    assert losses.rotated_targets(targets, ~alone & alone).equal(targets)


def test_a_null_sample_is_never_alone():
    drawn = [NoiseDraws.draw(0, number, 4, (1, 2, 2), 0.3).null for number in range(200)]
    counts = {int(null.sum()) for null in drawn}
    assert counts == {0, 2, 3, 4}
    # Alone it is none at all, as drawn by the one in three chances that leave none or one.
    assert sum(not null.any() for null in drawn) / 200 == pytest.approx(0.7**4 + 4 * 0.3 * 0.7**3, abs=0.1)


def test_times_are_logit_normal_and_follow_the_generator():
    generator = torch.Generator().manual_seed(0)
    times = losses.draw_times(20_000, generator)
    logits = torch.logit(times)
    assert abs(float(logits.mean())) < 0.03 and abs(float(logits.std()) - 1) < 0.03
    assert losses.draw_times(20_000, torch.Generator().manual_seed(0)).equal(times)


def test_the_velocity_loss_weighs_the_coarse_stage_a_quarter():
    target = latents("velocity_target")
    fine, coarse = target + 1, losses.coarse_target(target) + 2
    same(losses.velocity_loss(fine, coarse, target), torch.tensor(1 + 4 / 4.0))


def test_sources_are_to_be_wide_guesses_of_the_targets():
    target = latents("x1")
    assert losses.source_loss(1.5 * target, target) == 0
    # A source that says nothing is off by the width that it should have.
    silent = losses.source_loss(torch.zeros_like(target), target)
    same(silent, (2.25 * target.square()).mean())
    assert losses.source_loss(target, target) < silent
