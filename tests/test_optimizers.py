"""RMSprop in TensorFlow's form and in torch's, against hand-computed sequences."""

from copy import deepcopy
from math import sqrt

import pytest
import torch
from torch import nn

from gan_style import optimizers
from gan_style.optimizers import TensorFlowRMSprop


def weight_of(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def trace(optimizer, weight: nn.Parameter, gradients: list[float]) -> list[float]:
    """The weight after a step on each of the gradients."""
    values = []
    for gradient in gradients:
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        values.append(float(weight.detach()))
    return values


# --- As tf.train.RMSPropOptimizer ---


def test_squares_start_at_1_and_eps_is_added_inside_of_the_root():
    # lr 0.6, decay 0.75, eps 0.25, and gradients of 3, 0 and -1:
    # squares: 0.75 * 1    + 0.25 * 9 = 3,      1 - 0.6 *  3 / sqrt(3.25)
    #          0.75 * 3    + 0.25 * 0 = 2.25,   no move
    #          0.75 * 2.25 + 0.25 * 1 = 1.9375,   - 0.6 * -1 / sqrt(2.1875)
    weight = weight_of(1.0)
    found = trace(TensorFlowRMSprop([weight], 0.6, 0.75, 0.25), weight, [3.0, 0.0, -1.0])
    first = 1 - 1.8 / sqrt(3.25)
    third = first + 0.6 / sqrt(2.1875)
    assert found == pytest.approx([first, first, third], rel=1e-14)
    assert found == pytest.approx([0.00154, 0.00154, 0.40721], abs=1e-5)


def test_its_defaults_are_those_of_tensorflow():
    # squares: 0.9 * 1 + 0.1 * 4 = 1.3, 0.9 * 1.3 + 0.1 * 4 = 1.57
    weight = weight_of(0.0)
    found = trace(TensorFlowRMSprop([weight], 0.1), weight, [2.0, 2.0])
    assert found == pytest.approx([-0.175412, -0.335029], abs=1e-6)
    # A mean square of 0 shows eps: one step with decay 0 forgets that it was 1.
    weight = weight_of(0.0)
    (found,) = trace(TensorFlowRMSprop([weight], 1.0, decay=0.0), weight, [1e-5])
    assert found == pytest.approx(-sqrt(0.5))  # 1e-5 / sqrt(1e-10 + 1e-10)


def test_the_first_step_is_gentle_and_small_gradients_stay_small():
    # lr * gradient / sqrt(0.9); torch's would be lr / sqrt(0.1), whatever the gradient.
    weight = weight_of(0.0)
    (found,) = trace(TensorFlowRMSprop([weight], 0.1), weight, [1e-6])
    assert found == pytest.approx(-1e-7 / sqrt(0.9), rel=1e-9)


def test_many_weights_move_as_a_plain_loop_moves_them():
    random = torch.Generator().manual_seed(0)
    shapes = [(3,), (2, 4), (), (1, 2, 3)]
    weights = [nn.Parameter(torch.randn(s, generator=random, dtype=torch.float64)) for s in shapes]
    plain = [weight.detach().flatten().tolist() for weight in weights]
    squares = [[1.0] * len(values) for values in plain]
    lr, decay, eps = 0.01, 0.8, 1e-3
    optimizer = TensorFlowRMSprop(weights, lr, decay, eps)
    for _ in range(20):
        for weight, values, means in zip(weights, plain, squares, strict=True):
            weight.grad = 3 * torch.randn(weight.shape, generator=random, dtype=torch.float64)
            for i, g in enumerate(weight.grad.flatten().tolist()):
                means[i] = decay * means[i] + (1 - decay) * g * g
                values[i] -= lr * g / sqrt(means[i] + eps)
        optimizer.step()
    for weight, values in zip(weights, plain, strict=True):
        assert weight.flatten().tolist() == pytest.approx(values, rel=1e-12)


def test_weights_without_a_gradient_stay_and_keep_their_first_step():
    still, moved = weight_of(1.0), weight_of(1.0)
    optimizer = TensorFlowRMSprop([still, moved], 0.1)
    moved.grad = torch.ones_like(moved)
    optimizer.step()
    assert still == 1
    assert moved != 1
    assert still not in optimizer.state
    # 0.9 * 1 + 0.1 * 4: its squares have not been averaged meanwhile.
    assert trace(optimizer, still, [2.0]) == pytest.approx([1 - 0.2 / sqrt(1.3)])


def test_nothing_happens_without_any_gradient():
    weight = weight_of(1.0)
    TensorFlowRMSprop([weight], 0.1).step()
    assert weight == 1


def test_a_gradient_of_0_moves_nothing():
    weight = weight_of(1.0)
    optimizer = TensorFlowRMSprop([weight], 0.1, decay=0.0)  # so that the square is 0 too
    assert trace(optimizer, weight, [0.0, 0.0]) == [1, 1]


def test_a_gradient_is_only_read():
    weight = weight_of(1.0, 2.0)
    weight.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    TensorFlowRMSprop([weight], 0.1).step()
    assert weight.grad.tolist() == [3, 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saved_optimizer_goes_on_bit_for_bit(dtype):
    random = torch.Generator().manual_seed(0)
    gradients = torch.randn(6, 5, generator=random, dtype=dtype)
    weight = nn.Parameter(torch.randn(5, generator=random, dtype=dtype))
    optimizer = TensorFlowRMSprop([weight], 0.01)

    def steps(optimizer, weight, gradients) -> None:
        for gradient in gradients:
            weight.grad = gradient.clone()
            optimizer.step()

    steps(optimizer, weight, gradients[:3])
    other = nn.Parameter(weight.detach().clone())
    # Other options than those that come back with the state.
    resumed = TensorFlowRMSprop([other], 1.0, decay=0.1, eps=1.0)
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))  # as from a file
    steps(optimizer, weight, gradients[3:])
    steps(resumed, other, gradients[3:])
    assert torch.equal(weight, other)
    assert not torch.equal(optimizer.state[weight]["square"], torch.ones(5, dtype=dtype))


def test_a_learning_rate_that_is_changed_counts_from_the_next_step_on():
    weight = weight_of(0.0)
    optimizer = TensorFlowRMSprop([weight], 0.1, decay=0.5)
    (first,) = trace(optimizer, weight, [1.0])
    optimizer.param_groups[0]["lr"] = 0.05
    (second,) = trace(optimizer, weight, [1.0])
    optimizer.param_groups[0]["lr"] = 0.0
    (third,) = trace(optimizer, weight, [1.0])
    assert [first, second, third] == pytest.approx([-0.1, -0.15, -0.15])  # squares of 1 stay 1


def test_groups_have_learning_rates_of_their_own():
    slow, fast = weight_of(0.0), weight_of(0.0)
    groups = [{"params": [slow]}, {"params": [fast], "lr": 0.3}]
    optimizer = TensorFlowRMSprop(groups, 0.1)
    slow.grad = fast.grad = torch.ones_like(slow)
    optimizer.step()
    assert [float(slow.detach()), float(fast.detach())] == pytest.approx([-0.1, -0.3])


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_weights_in_parts_move_as_the_whole(monkeypatch, order):
    moved = []
    for block in (10**9, 7):  # 7 of 5 rows of 12 is none: one row at a time
        monkeypatch.setattr(optimizers, "BLOCK", block)
        random = torch.Generator().manual_seed(0)
        weight = torch.randn(5, 3, 2, 2, generator=random).contiguous(memory_format=order)
        weight = nn.Parameter(weight)
        optimizer = TensorFlowRMSprop([weight], 0.1)
        for _ in range(3):
            weight.grad = torch.randn(5, 3, 2, 2, generator=random)
            optimizer.step()
        moved.append(weight.detach())
    torch.testing.assert_close(*moved, rtol=1e-6, atol=0)


# --- torch's, as DualGAN's `--rmsprop torch` makes it ---


def test_torchs_squares_start_at_0_and_eps_is_added_to_the_root():
    # lr 0.6, decay 0.75, eps 0.5, and the gradients of above:
    # squares: 0.25 * 9        = 2.25,    1 - 0.6 * 3 / (1.5 + 0.5) = 0.1
    #          0.75 * 2.25     = 1.6875,  no move
    #          0.75 * 1.6875 + 0.25 = 1.515625, 0.1 + 0.6 / (1.231107 + 0.5)
    weight = weight_of(1.0)
    optimizer = torch.optim.RMSprop([weight], 0.6, alpha=0.75, eps=0.5)
    found = trace(optimizer, weight, [3.0, 0.0, -1.0])
    assert found == pytest.approx([0.1, 0.1, 0.1 + 0.6 / 1.731107], rel=1e-6)


@pytest.mark.parametrize("gradient", [1e-3, 1.0, 1e3])
def test_torchs_first_step_is_of_the_same_size_whatever_the_gradient(gradient):
    weight = weight_of(0.0)
    optimizer = torch.optim.RMSprop([weight], 5e-5, alpha=0.9)
    (found,) = trace(optimizer, weight, [gradient])
    assert found == pytest.approx(-5e-5 / sqrt(0.1), rel=1e-4)  # about 3 lr


def test_the_two_forms_agree_after_many_steps():
    # 0.9^200 of the first squares are left, 1e-9.
    weights = weight_of(0.0), weight_of(0.0)
    first = TensorFlowRMSprop([weights[0]], 0.1, 0.9)
    second = torch.optim.RMSprop([weights[1]], 0.1, alpha=0.9)
    moves = []
    for optimizer, weight in zip((first, second), weights, strict=True):
        *_, before, after = trace(optimizer, weight, [2.0] * 201)
        moves.append(after - before)
    assert moves == pytest.approx([-0.1, -0.1], rel=1e-6)
