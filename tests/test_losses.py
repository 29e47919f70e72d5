"""Loss functions, and how CycleGAN weighs and routes them, against hand-computed answers."""

from math import log
from typing import get_args, get_type_hints

import pytest
import torch
from torch import Tensor, nn

from gan_style.losses.adversarial import LOSSES, clip_weights, clipped_share
from gan_style.methods import cyclegan, dualgan


def answers(name: str, scores: Tensor) -> tuple[float, float, float]:
    """Of the discriminator for real and for made images, and of the generator."""
    loss = LOSSES[name]
    return tuple(float(term(scores)) for term in (loss.real, loss.fake, loss.fool))


SCORES = torch.tensor([[0.0, 1.0], [3.0, -1.0]])  # their mean is 0.75


def test_lsgan_is_the_mean_squared_distance_to_1_or_0():
    # (1 + 0 + 4 + 4) / 4 and (0 + 1 + 9 + 1) / 4
    assert answers("lsgan", SCORES) == (2.25, 2.75, 2.25)


def test_vanilla_is_the_cross_entropy_of_logits():
    # Logits 0 and log 3 are probabilities 1/2 and 3/4 of being real.
    scores = torch.tensor([0.0, log(3)], dtype=torch.float64)
    real, fake = (log(2) + log(4 / 3)) / 2, (log(2) + log(4)) / 2
    assert answers("vanilla", scores) == pytest.approx((real, fake, real))


def test_hinge_is_how_far_scores_are_from_1_and_minus_1_on_the_wrong_side():
    # (1 + 0 + 0 + 2) / 4 and (1 + 2 + 4 + 0) / 4
    assert answers("hinge", SCORES) == (0.75, 1.75, -0.75)


def test_wgan_is_the_mean_score_with_its_sign():
    assert answers("wgan", SCORES) == (-0.75, 0.75, -0.75)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    # Of a real image with a score of 200, and of one with -200.
    [("lsgan", 199**2, 201**2), ("vanilla", 0, 200), ("hinge", 0, 201), ("wgan", -200, 200)],
)
def test_a_discriminator_that_is_sure_has_a_finite_loss_and_gradient(name, right, wrong):
    for score, expected in ((200.0, right), (-200.0, wrong)):
        scores = torch.tensor([score], requires_grad=True)
        loss = LOSSES[name].real(scores)
        loss.backward()
        assert float(loss.detach()) == expected
        assert scores.grad.isfinite()


@pytest.mark.parametrize("name", ["vanilla", "hinge", "wgan"])
def test_made_images_are_to_a_score_what_real_ones_are_to_its_opposite(name):
    for scores in (SCORES, 100 * SCORES):  # also where exp(-score) is infinite
        assert LOSSES[name].fake(scores) == LOSSES[name].real(-scores)


@pytest.mark.parametrize("name", LOSSES)
def test_a_generator_gains_where_its_scores_rise(name):
    scores = torch.tensor([-3.0, 0.0, 0.5], requires_grad=True)
    LOSSES[name].fool(scores).backward()
    assert (scores.grad < 0).all()


@pytest.mark.parametrize("role", ["real", "fake", "fool"])
@pytest.mark.parametrize("name", LOSSES)
def test_scores_of_any_shape_are_averaged(name, role):
    term = getattr(LOSSES[name], role)
    one = term(torch.tensor([0.25]))
    assert one.shape == ()
    for shape in ((3,), (2, 1), (2, 1, 4, 5)):
        torch.testing.assert_close(term(torch.full(shape, 0.25)), one)


def test_the_methods_losses_are_those_of_the_table():
    offered = {
        method: set(get_args(get_type_hints(method.Config)["gan_loss"]))
        for method in (cyclegan, dualgan)
    }
    assert offered[cyclegan] == LOSSES.keys() - {"wgan"}  # nothing would bound its slope
    assert offered[dualgan] == LOSSES.keys() | {"wgan-gp"}


def layers_of(*values: float) -> nn.Module:
    """A linear layer with two weights and a bias, and a norm with one of each."""
    net = nn.Sequential(nn.Linear(2, 1), nn.GroupNorm(1, 1))
    nn.utils.vector_to_parameters(torch.tensor(values), net.parameters())
    return net


def test_clipping_cuts_every_weight_bias_and_norm_of_all_critics():
    critics = layers_of(0.02, -0.02, 0.005, 3.0, -4.0), layers_of(0.0, -0.005, 0.5, -0.5, 0.01)
    clip_weights(critics, 0.01)
    expected = [[0.01, -0.01, 0.005, 0.01, -0.01], [0, -0.005, 0.01, -0.01, 0.01]]
    for critic, values in zip(critics, expected, strict=True):
        found = torch.cat([weight.detach().flatten() for weight in critic.parameters()])
        assert torch.equal(found, torch.tensor(values))
        assert all(weight.requires_grad for weight in critic.parameters())


@pytest.mark.parametrize("limit", [0.01, 0.1, 0.3])  # none of which is a binary number
def test_the_clipped_share_is_of_all_weights_and_counts_both_limits(limit):
    critic = layers_of(2.0, -3.0, limit / 2, 0.0, 1.0)
    clip_weights((critic,), limit)
    share = clipped_share(critic, limit)
    assert float(share) == pytest.approx(3 / 5)
    assert not share.requires_grad
    assert clipped_share(layers_of(0.0, 0.0, 0.0, 0.0, 0.9 * limit), limit) == 0


class Constant(nn.Module):
    """A network that answers the same everywhere, with a weight for gradients to reach."""

    def __init__(self, value: float, channels: int):
        super().__init__()
        self.value, self.channels = nn.Parameter(torch.tensor(value)), channels

    def forward(self, x: Tensor) -> Tensor:
        return self.value + 0 * x[:, : self.channels]


def method_of_constants(**options) -> cyclegan.Method:
    """Generators answer 0 (grey, signed), discriminators 0.5."""
    tiny = {"generator": "resnet_6", "width_generator": 1, "width_discriminator": 1}
    method = cyclegan.Method(cyclegan.Config(**tiny, **options))
    method.gen_ab, method.gen_ba = Constant(0.0, 3), Constant(0.0, 3)
    method.disc_a, method.disc_b = Constant(0.5, 1), Constant(0.5, 1)
    return method


# 0.3 and 0.9 are -0.4 and 0.8 in [-1, 1], so 0.4 and 0.8 away from the generators' 0.
BATCH = {"a": torch.full((2, 3, 4, 4), 0.3), "b": torch.full((2, 3, 4, 4), 0.9)}


def terms_of_constants(**options) -> dict[str, dict[str, float]]:
    return {
        player: {name: round(float(term.detach()), 6) for name, term in terms.items()}
        for player, terms in method_of_constants(**options).losses(BATCH)
    }


def test_default_weights_are_10_for_the_cycle_and_5_for_the_identity_in_signed_units():
    assert terms_of_constants()["generator"] == {
        "adversarial_ab": 0.25,  # (0.5 - 1)^2
        "adversarial_ba": 0.25,
        "cycle_a": 4.0,
        "cycle_b": 8.0,
        "identity_a": 2.0,
        "identity_b": 4.0,
    }


def test_the_identity_weight_is_relative_to_the_cycle_weight():
    terms = terms_of_constants(lambda_cycle=2.0, lambda_identity=0.1)["generator"]
    assert terms["cycle_a"] == 0.8  # 2 * 0.4
    assert terms["identity_a"] == 0.08  # 2 * 0.1 * 0.4


def test_without_an_identity_weight_there_is_no_identity_term():
    terms = terms_of_constants(lambda_identity=0.0)["generator"]
    assert terms.keys() == {"adversarial_ab", "adversarial_ba", "cycle_a", "cycle_b"}


def test_discriminators_see_half_of_their_losses():
    # (0.5 - 1)^2 / 2 and (0.5 - 0)^2 / 2
    expected = dict.fromkeys(("real_a", "fake_a", "real_b", "fake_b"), 0.125)
    assert terms_of_constants()["discriminator"] == expected


def test_cross_entropy_takes_the_scores_as_logits():
    terms = terms_of_constants(gan_loss="vanilla")
    # The logit 0.5 is the probability 0.622459: 0.474077 = -log(it), 0.974077 = -log(1 - it).
    assert terms["generator"]["adversarial_ab"] == 0.474077
    assert terms["discriminator"]["real_b"] == pytest.approx(0.474077 / 2, abs=1e-6)
    assert terms["discriminator"]["fake_b"] == pytest.approx(0.974077 / 2, abs=1e-6)


@pytest.mark.parametrize("gan_loss", LOSSES)
def test_the_generators_loss_reaches_no_discriminator_and_the_other_way_round(gan_loss):
    method = method_of_constants(gan_loss=gan_loss)
    generators = [method.gen_ab.value, method.gen_ba.value]
    discriminators = [method.disc_a.value, method.disc_b.value]
    moved = {"generator": generators, "discriminator": discriminators}
    still = {"generator": discriminators, "discriminator": generators}
    for player, terms in method.losses(BATCH):
        torch.stack(list(terms.values())).sum().backward()
        assert all(weight.grad is not None for weight in moved[player])
        assert all(weight.grad is None for weight in still[player])
        method.zero_grad()


def test_the_adversarial_term_reaches_the_generator_through_the_discriminator():
    torch.manual_seed(0)
    tiny = {"generator": "resnet_6", "width_generator": 2, "width_discriminator": 2}
    method = cyclegan.Method(cyclegan.Config(**tiny))
    _, terms = next(method.losses({"a": torch.rand(1, 3, 32, 32), "b": torch.rand(1, 3, 32, 32)}))
    terms["adversarial_ab"].backward()
    assert all(parameter.grad is not None for parameter in method.gen_ab.parameters())
    assert method.gen_ab.model[1].weight.grad.any()
    assert all(parameter.grad is None for parameter in method.gen_ba.parameters())
    assert all(parameter.grad is None for parameter in method.disc_b.parameters())
