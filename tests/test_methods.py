"""The contract of gan_style.method, kept by every method that gan_style.methods finds."""

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_style import checkpoint, command, config, methods
from gan_style.config import DataConfig, TrainConfig
from gan_style.data.images import save_png
from gan_style.errors import CheckpointError, ConfigError
from gan_style.method import Batch, Method, OptimisedMethod, Paper, TrainedMethod
from gan_style.styles import Style
from gan_style.weights import known as known_weights

# Options that make a method small; one that isn't named here is tested with its defaults.
TINY = {
    "quick": {"vgg": "random", "blocks": 1, "width_discriminator": 4, "judge_scales": 1},
    "cyclegan": {"generator": "resnet_6", "width_generator": 4, "width_discriminator": 4},
    "johnson": {"vgg": "random", "width_generator": 4, "style": "style.png", "style_size": 32},
    "adain": {"vgg": "random", "style_size": 32},
    "dualgan": {"width_generator": 4, "width_discriminator": 4},
    "gatys": {"vgg": "random", "iterations": 3, "iterations_finer": 2, "first_scale": 32},
}

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
NAMES = methods.names()
TRAINED = [name for name in NAMES if issubclass(methods.load(name).Method, TrainedMethod)]
# What trains may have presets, and each is tested as a method of its own: <method>/<preset>.
TRAINED_PRESETS = [
    f"{name}/{preset}"
    for name in TRAINED
    for preset in list(config.presets(methods.source(name)))[1:]
]
OPTIMISED = [name for name in NAMES if issubclass(methods.load(name).Method, OptimisedMethod)]

every_method = pytest.mark.parametrize("name", NAMES)
every_trained_method = pytest.mark.parametrize("name", TRAINED + TRAINED_PRESETS)
every_optimised_method = pytest.mark.parametrize("name", OPTIMISED)


@pytest.fixture(autouse=True)
def _style_image(tmp_path):
    """For methods that learn one style."""
    random = np.random.default_rng(0)
    save_png(random.integers(0, 256, (40, 48, 3), dtype=np.uint8), tmp_path / "style.png")


def make(name: str, seed: int = 0, **options) -> Method:
    torch.manual_seed(seed)
    name, _, preset = name.partition("/")
    module = methods.load(name)
    own = {field.name for field in fields(module.Config)}
    chosen = config.presets(methods.source(name))[preset] if preset else {}
    chosen = {key: value for key, value in chosen.items() if key in own}
    method = module.Method(module.Config(**chosen | TINY.get(name, {}) | options))
    if isinstance(method, TrainedMethod):
        height, width = images(method).shape[-2:]
        method.build_for_crop((height, width))
        if method.looks:
            method.look([{side: x[:1] for side, x in batch_for(method).items()}], fresh=True)
    return method


def images(method: Method, seed: int = 1, count: int = 2) -> Tensor:
    """Wider than high, of a size that the method takes."""
    height = math.ceil(max(method.smallest, 32) / method.multiple) * method.multiple
    random = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, height + method.multiple, generator=random)


def batch_for(method: Method) -> Batch:
    count = 2 * method.batches_a_step
    return Batch(a=images(method, 1, count), b=images(method, 2, count).square())


def translated(method: Method, content: Tensor, style: Tensor | None = None) -> Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return method.translate(content, style)


def style_for(name: str, method: Method, seed: int) -> Tensor | None:
    """Only those that need one get one."""
    paper = methods.load(name.partition("/")[0]).PAPER
    return images(method, seed) if paper.style == "image" else None


def weights(method: TrainedMethod) -> dict[str, list[Tensor]]:
    """Network -> copies of its parameters."""
    return {
        net: [parameter.detach().clone() for parameter in getattr(method, net).parameters()]
        for nets in method.players.values()
        for net in nets
    }


def train_step(method: TrainedMethod) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """As gan_style.training's loop, stopping after each player's backward and after its step."""
    optimizers = {
        player: method.optimizer(
            player, [p for net in nets for p in getattr(method, net).parameters()]
        )
        for player, nets in method.players.items()
    }
    for player, terms in method.losses(batch_for(method)):
        torch.stack(list(terms.values())).sum().backward()
        yield player, terms
        optimizers[player].step()
        optimizers[player].zero_grad()
        yield player, terms


def changed(before: list[Tensor], after: list[Tensor]) -> bool:
    return any(not torch.equal(x, y) for x, y in zip(before, after, strict=True))


# What a method says of itself


@every_method
def test_a_paper_has_title_year_and_address(name):
    paper = methods.load(name).PAPER
    assert isinstance(paper, Paper)
    assert paper.title.strip()
    assert 1990 <= paper.year <= 2100
    assert paper.url.startswith("https://")
    assert paper.family in ("collection", "optimisation", "feedforward", "transform")
    assert paper.style in ("collection", "fixed", "indexed", "image")


@every_method
def test_a_module_says_what_it_is_and_where_it_differs(name):
    text = methods.load(name).__doc__
    first, _, rest = text.partition("\n")
    assert first.strip()  # what `methods` lists
    assert "Differences from" in rest


@every_method
def test_every_option_says_what_it_is(name):
    described = config.describe(methods.source(name))
    assert [field.name for field in described] == [
        field.name for field in fields(methods.load(name).Config)
    ]
    assert [field.name for field in described if not field.comment] == []


def test_every_shared_option_says_what_it_is():
    for cls in (DataConfig, TrainConfig):
        described = config.describe(Path(config.__file__), cls.__name__)
        assert [field.name for field in described if not field.comment] == []


@every_method
def test_options_of_a_method_have_names_of_their_own(name):
    own = {field.name for field in fields(methods.load(name).Config)}
    shared = {field.name for cls in (DataConfig, TrainConfig) for field in fields(cls)}
    assert not own & shared
    assert not own & {"config", "help"}  # what train.py takes besides


@every_method
def test_a_method_can_be_built_from_its_defaults(name):
    module = methods.load(name)
    with torch.device("meta"):
        assert isinstance(module.Method(module.Config()), Method)


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_method_has_an_experiment_file(name):
    files = list(EXPERIMENTS.glob(f"{name}*.toml"))
    assert files
    assert {config.read_toml(path)["method"] for path in files} == {name}


@pytest.mark.parametrize(
    "path",
    sorted({*EXPERIMENTS.glob("*.toml")} - {*EXPERIMENTS.glob("compare_*.toml")}),
    ids=lambda path: path.name,
)
def test_every_option_of_an_experiment_file_is_known_and_accepted(path):
    options = config.read_toml(path)
    parts = command.sections(options)
    assert sum(map(len, parts.values())) == len(options)
    config.build(DataConfig, parts["data"])
    train = config.build(TrainConfig, parts["train"])
    config.build(methods.load(train.method).Config, parts["method"])


# Translating


@every_method
def test_translating_keeps_shape_and_range(name):
    method = make(name)
    content = images(method)
    answer = translated(method, content, style_for(name, method, 2))
    assert answer.shape == content.shape
    assert answer.dtype == content.dtype
    assert answer.isfinite().all()
    assert answer.min() >= 0
    assert answer.max() <= 1
    assert not torch.equal(answer, content)


@every_method
def test_the_smallest_size_that_a_method_names_can_be_translated(name):
    method = make(name)
    side = math.ceil(method.smallest / method.multiple) * method.multiple
    content = images(method)[..., :side, :side]
    style = style_for(name, method, 2)
    assert translated(method, content, style).shape == (2, 3, side, side)


@every_method
def test_the_style_is_read_exactly_when_the_paper_says_so(name):
    method = make(name)
    content = images(method)
    one, other = (translated(method, content, images(method, seed)) for seed in (2, 3))
    if methods.load(name).PAPER.style == "image":
        assert not torch.equal(one, other)
    else:
        assert torch.equal(one, other)
        assert torch.equal(one, translated(method, content))


@every_method
def test_images_of_a_batch_are_translated_each_by_itself(name):
    method = make(name)
    content, style = images(method, count=3), style_for(name, method, 2)
    together = translated(
        method, content, style if style is None else style[:1].expand(3, -1, -1, -1)
    )
    alone = translated(method, content[1:2], style if style is None else style[:1])
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=0)


@every_method
def test_content_is_left_as_it_was(name):
    method = make(name)
    content = images(method)
    before = content.clone()
    translated(method, content, style_for(name, method, 2))
    assert torch.equal(content, before)


WITH_STYLES = [name for name in NAMES if methods.load(name).PAPER.style == "image"]
every_method_with_styles = pytest.mark.parametrize("name", WITH_STYLES)


@every_method_with_styles
def test_a_missing_style_is_refused(name):
    with pytest.raises(ConfigError, match="--style"):
        translated(make(name), images(make(name)), None)


@every_method_with_styles
def test_one_style_can_be_a_list_and_a_full_mask_changes_nothing(name):
    method = make(name)
    content, style = images(method, count=1), images(method, 2, count=1)
    plain = translated(method, content, style)
    everywhere = torch.ones_like(content[:, :1])
    masked = Style(image=style, content_mask=everywhere, style_mask=torch.ones_like(style[:, :1]))
    for styles in ([Style(image=style, weight=7.0)], [masked]):
        torch.testing.assert_close(translated(method, content, styles), plain, atol=1e-4, rtol=0)


@every_method_with_styles
def test_a_style_of_weight_0_has_no_say(name):
    method = make(name)
    content = images(method, count=1)
    one, other = (Style(image=images(method, seed, count=1)) for seed in (2, 3))
    both = [one, replace(other, weight=0.0)]
    plain = translated(method, content, one.image)
    torch.testing.assert_close(translated(method, content, both), plain, atol=1e-4, rtol=0)


@every_method_with_styles
@pytest.mark.parametrize("weights", [(0.0, 0.0), (1.0, -1.0)])
def test_weights_that_cannot_be_shared_out_are_refused(name, weights):
    method = make(name)
    style = images(method, 2, count=1)
    with pytest.raises(ConfigError, match="--style_weights"):
        translated(method, images(method), [Style(image=style, weight=w) for w in weights])


# Optimising


@every_optimised_method
def test_an_optimisation_counts_its_steps_and_ends_with_the_translation(name):
    method = make(name)
    content, style = images(method, count=1), images(method, 2, count=1)
    with torch.no_grad():
        steps = list(method.optimise(content, style))
    assert [step.done for step in steps] == list(range(1, steps[-1].total + 1))
    assert torch.equal(steps[-1].image.clamp(0, 1), translated(method, content, style))
    assert all(math.isfinite(value) for step in steps for value in step.terms.values())


@every_optimised_method
def test_an_optimisation_goes_on_from_any_step_as_if_undisturbed(name, tmp_path):
    method = make(name)
    content, style = images(method, count=1), images(method, 2, count=1)
    with torch.no_grad():
        for index, step in enumerate(method.optimise(content, style)):
            path = tmp_path / f"{index}.safetensors"
            checkpoint.save_state(step.state, path)
        for index in range(step.total - 1):
            state = checkpoint.load_state(tmp_path / f"{index}.safetensors")
            rest = list(method.optimise(content, style, state))
            assert rest[0].done == index + 2
            assert torch.equal(rest[-1].image, step.image), index


# Training


@every_trained_method
def test_a_step_and_the_pictures_need_only_the_sides_that_are_named(name):
    method = make(name)
    batch = {side: batch_for(method)[side] for side in method.sides}
    assert set(method.sides) <= {"a", "b"}
    assert list(method.losses(batch))
    with torch.no_grad():
        assert method.preview(batch)


@every_trained_method
def test_published_weights_are_of_networks_that_translate(name):
    method = make(name)
    assert set(method.pretrained) <= set(method.inference_networks)
    assert set(method.pretrained.values()) <= set(known_weights())


@every_trained_method
def test_the_same_seed_gives_the_same_training_and_the_same_translation(name):
    def once(seed: int) -> tuple[list[float], Tensor]:
        method = make(name, seed)
        losses = [float(x.detach()) for _, terms in train_step(method) for x in terms.values()]
        return losses, translated(method, images(method), style_for(name, method, 2))

    (losses, answer), (same_losses, same_answer) = once(4), once(4)
    assert losses == same_losses
    assert torch.equal(answer, same_answer)
    assert losses != once(5)[0]


@every_trained_method
def test_each_player_moves_all_of_its_networks_and_no_other(name):
    method = make(name)
    played = set()
    steps = train_step(method)
    for player, _ in steps:
        before = weights(method)
        next(steps)  # from its backward to after its step
        after = weights(method)
        for net, old in before.items():
            assert changed(old, after[net]) == (net in method.players[player]), (player, net)
        played.add(player)
    assert played == method.players.keys()


@every_trained_method
def test_a_players_loss_leaves_the_others_gradients_alone(name):
    method = make(name)
    steps = train_step(method)
    for player, _ in steps:
        for other, nets in method.players.items():
            for net in nets:
                for key, parameter in getattr(method, net).named_parameters():
                    has_gradient = parameter.grad is not None
                    assert has_gradient == (other == player), (player, net, key)
                    assert parameter.requires_grad, (player, net, key)
        next(steps)


@every_trained_method
def test_loss_terms_are_named_finite_scalars(name):
    method = make(name)
    for player, terms in train_step(method):
        assert player in method.players
        for term, value in terms.items():
            assert "/" not in player + term  # the curve is <player>/<term>
            assert value.shape == ()
            assert value.isfinite()


@every_trained_method
def test_a_step_leaves_its_batch_as_it_was(name):
    method = make(name)
    batch, before = batch_for(method), batch_for(method)
    for _, terms in method.losses(batch):
        torch.stack(list(terms.values())).sum().backward()
    assert torch.equal(batch["a"], before["a"])
    assert torch.equal(batch["b"], before["b"])


@every_trained_method
def test_what_is_averaged_and_what_translates_is_trained(name):
    method = make(name)
    nets = [net for names in method.players.values() for net in names]
    assert len(nets) == len(set(nets))  # nobody moves another's network
    assert set(method.averaged) <= set(nets)
    assert method.inference_networks
    assert set(method.inference_networks) <= set(
        method.averaged
    )  # or --weights ema would find no file


@every_trained_method
def test_what_goes_in_a_direction_is_what_translate_does_when_set_to_it(name):
    method = make(name)
    assert set(method.directions.values()) <= set(method.averaged)
    assert method.sides == ("a", "b") or not method.directions
    content = images(method)
    grey = {"channels_a": 1} | ({"lambda_identity": 0.0} if name == "cyclegan" else {})
    kinds = ({}, grey) if hasattr(method.config, "channels_a") else ({},)
    for (direction, net), options in product(method.directions.items(), kinds):
        configured = make(name, direction=direction, **options)
        assert configured.inference_networks == (net,)
        expected = translated(configured, content)
        for other in method.directions:  # however it is configured itself
            own = make(name, direction=other, **options)
            torch.manual_seed(0)
            with torch.no_grad():
                assert torch.equal(own.translate_in(direction, content), expected)


@every_trained_method
def test_no_trained_weight_lies_outside_of_the_players_networks(name):
    method = make(name)
    trained = {
        id(p)
        for nets in method.players.values()
        for n in nets
        for p in getattr(method, n).parameters()
    }
    assert [
        key for key, p in method.named_parameters() if p.requires_grad and id(p) not in trained
    ] == []


@every_trained_method
@pytest.mark.parametrize(("kind", "other"), [("raw", "ema"), ("ema", "best"), ("best", "raw")])
def test_exported_networks_translate_as_before_once_loaded(name, kind, other, tmp_path):
    method, fresh = make(name, seed=1), make(name, seed=2)
    content, style = images(method), style_for(name, method, 2)
    for net in method.inference_networks:
        path = checkpoint.weights_file(tmp_path, net, kind)
        checkpoint.save_network(getattr(method, net), path, {"method": {}})
    expected = translated(method, content, style)
    assert not torch.equal(translated(fresh, content, style), expected)
    with pytest.raises(CheckpointError):
        checkpoint.load_networks(fresh, tmp_path, other)  # raw and averaged are never mixed up
    checkpoint.load_networks(fresh, tmp_path, kind)
    assert torch.equal(translated(fresh, content, style), expected)


# Looking while training


@every_trained_method
@torch.no_grad()
def test_a_preview_has_columns_of_equal_pictures(name):
    method = make(name)
    batch = batch_for(method)
    grids = method.preview(batch)
    assert grids
    for columns in grids.values():
        assert columns
        for picture in columns.values():
            assert picture.shape == batch["a"].shape
            assert picture.isfinite().all()
            assert picture.min() >= 0
            assert picture.max() <= 1


@every_trained_method
@torch.no_grad()
def test_monitored_values_are_finite_scalars_apart_from_the_losses(name):
    method = make(name)
    for curve, value in method.monitor(batch_for(method)).items():
        assert value.shape == ()
        assert value.isfinite()
        # The progress bar sums all curves of a player as its loss.
        assert curve.split("/")[0] not in method.players


# CycleGAN's own


@pytest.mark.parametrize(("direction", "net"), [("a2b", "gen_ab"), ("b2a", "gen_ba")])
def test_cyclegan_translates_with_the_generator_of_its_direction(direction, net):
    method = make("cyclegan", direction=direction)
    content = images(method)
    with torch.no_grad():
        signed = getattr(method, net)(2 * content - 1)
    assert method.inference_networks == (net,)
    torch.testing.assert_close(translated(method, content), (signed + 1) / 2)


@pytest.mark.parametrize(
    ("options", "smallest"),
    [
        # Each discriminator layer halves; two more convolutions take one each, and the instance
        # norm before the last needs two positions.
        ({"discriminator_layers": 1}, 8),
        ({"discriminator_layers": 2}, 12),
        ({"discriminator_layers": 3}, 24),
        ({"discriminator_layers": 4}, 48),
        ({"discriminator_layers": 5}, 96),
        ({"discriminator": "pixel"}, 8),
        ({"discriminator": "pixel", "upsample": "resize"}, 8),
        ({"generator": "unet_128"}, 128),
        ({"generator": "unet_256", "upsample": "resize"}, 256),
    ],
)
def test_cyclegan_trains_at_the_smallest_size_it_names(options, smallest):
    method = make("cyclegan", **{"width_generator": 2, "width_discriminator": 2} | options)
    assert method.smallest == smallest
    assert smallest % method.multiple == 0
    batch = Batch(a=torch.rand(1, 3, smallest, smallest), b=torch.rand(1, 3, smallest, smallest))
    for _, terms in method.losses(batch):
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        assert loss.isfinite()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("discriminator_layers", 0),
        ("width_generator", 0),
        ("width_discriminator", 0),
        ("lambda_cycle", -1.0),
        ("lambda_identity", -0.1),
        ("pool_size", -1),
        ("init_std", -0.1),
        ("learning_rate", 0.0),
        ("beta1", 1.0),
        ("beta1", -0.1),
    ],
)
def test_cyclegan_refuses_what_no_training_can_use_by_name_and_value(option, value):
    with pytest.raises(ConfigError, match=rf"--{option} is {value}\b"):
        methods.load("cyclegan").Config(**{option: value})


class Linear(nn.Module):
    """Brightness in signed units times a factor, plus an offset."""

    def __init__(self, factor: float, offset: float):
        super().__init__()
        self.factor, self.offset = factor, offset

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x + self.offset


@torch.no_grad()
def test_cyclegan_shows_real_images_their_translations_the_way_back_and_the_identity():
    method = make("cyclegan")
    batch = batch_for(method)
    a, b = batch["a"], batch["b"]
    method.gen_ab = Linear(0.5, -0.5)  # in [0, 1]: u -> u / 2
    method.gen_ba = Linear(0.5, 0.5)  # in [0, 1]: u -> (u + 1) / 2
    grids = method.preview(batch)
    assert list(grids["a2b"]) == ["real", "translated", "back", "identity"]
    expected = {"a2b": [a, a / 2, (a / 2 + 1) / 2, (a + 1) / 2]}
    expected["b2a"] = [b, (b + 1) / 2, (b + 1) / 4, b / 2]
    for name, columns in grids.items():
        torch.testing.assert_close(list(columns.values()), expected[name])


@torch.no_grad()
def test_cyclegan_monitors_what_each_discriminator_says_of_real_and_made_images():
    method = make("cyclegan")
    method.gen_ab, method.gen_ba = Linear(0, -0.25), Linear(0, 0.75)
    method.disc_a, method.disc_b = Linear(1, 0), Linear(10, 0)
    grey = {"a": torch.full((2, 3, 4, 4), 0.75), "b": torch.full((2, 3, 4, 4), 1.0)}
    scores = {name: round(float(score), 5) for name, score in method.monitor(grey).items()}
    assert scores == {
        "score/real_a": 0.5,  # 2 * 0.75 - 1
        "score/fake_a": 0.75,
        "score/real_b": 10.0,
        "score/fake_b": -2.5,
    }
