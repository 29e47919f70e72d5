"""The package from Python: load, train and Style, with the results of the command line."""

import doctest
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GATYS, ROOT, TINY
from PIL import Image
from test_training import same, weights

import gan_style
from gan_style import compare, evaluate, load, styles, train
from gan_style.data import images
from gan_style.errors import CheckpointError, ConfigError, DataError
from gan_style.translation import translator

FAST = TINY | {"precision": "fp32", "kid_every": 0, "sample_every": 0}
SMALL = {key: GATYS[key] for key in GATYS if key != "method"}


def picture(seed, size=(40, 36), mode="RGB"):
    random = np.random.default_rng(seed)
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    return Image.fromarray(random.integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8))


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory):
    """A run of both directions, and its toy domain."""
    from data_tools import synth

    folder = tmp_path_factory.mktemp("api")
    toy = synth.make(folder / "toy", size=32, train=6, test=3)
    return train(domain=toy, images=4, run_dir=folder / "run", ema=0.9, **FAST), toy


@pytest.mark.parametrize("module", [translator, styles, images])
def test_the_examples_of_the_docstrings_run(module):
    names = {"Image": Image, "load": load, "Style": gan_style.Style}
    assert doctest.testmod(module, extraglobs=names).failed == 0


def test_every_public_name_is_there_and_says_what_it_is():
    assert set(gan_style.HOMES) | {"__version__"} == set(gan_style.__all__) == set(dir(gan_style))
    for name in gan_style.HOMES:
        assert len(getattr(gan_style, name).__doc__) > 40
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gan_style.nothing  # noqa: B018


def test_importing_the_package_imports_no_torch():
    script = "import gan_style, sys; dir(gan_style); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["raw", "ema"])
@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_an_image_is_what_the_command_makes_of_it(toy_run, gan_style, direction, kind, tmp_path):
    run, toy = toy_run
    gan_style(
        "translate", run=run.folder, direction=direction, weights=kind, content=toy / "testA",
        out=tmp_path / "out", precision="fp32",
    )  # fmt: skip
    call = load(run, direction=direction, weights=kind, precision="fp32")
    made = list(call(toy / "testA"))
    assert [name for name, _ in made] == ["0000.png", "0001.png", "0002.png"]
    for name, image in made:
        expected = images.to_array(Image.open(tmp_path / "out" / name))
        assert np.array_equal(images.to_array(image), expected)
        assert np.array_equal(images.to_array(call(toy / "testA" / name)), expected)


def test_directions_and_weights_differ(toy_run):
    run, _ = toy_run
    photo = picture(0)
    made = [
        np.asarray(load(run, direction=direction, weights=kind)(photo))
        for direction in ("a2b", "b2a")
        for kind in ("raw", "ema")
    ]
    assert all((one != other).any() for i, one in enumerate(made) for other in made[:i])


def test_a_file_of_weights_is_of_its_direction_wherever_it_lies(toy_run, tmp_path):
    run, _ = toy_run
    photo, file = picture(0), tmp_path / "gen_ba.ema.safetensors"
    file.write_bytes((run.folder / file.name).read_bytes())
    expected = load(run, direction="b2a", weights="ema")(photo)
    assert load(file)(photo) == load(str(file), direction="b2a")(photo) == expected
    with pytest.raises(ConfigError, match=r"direction is .a2b., but .* is of b2a"):
        load(file, direction="a2b")
    with pytest.raises(ConfigError, match="is of one network"):
        load(file)(photo, direction="a2b")
    with pytest.raises(ConfigError, match="give the run's folder"):
        load(file, weights="ema")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"broken\.safetensors can't be read"):
        load(tmp_path / "broken.safetensors")


def test_every_kind_of_content_is_the_same_image(toy_run, tmp_path):
    run, _ = toy_run
    photo = picture(0)
    photo.save(tmp_path / "photo.png")
    call = load(run, direction="a2b", precision="fp32")
    array = np.array(photo)
    kinds = [photo, str(tmp_path / "photo.png"), tmp_path / "photo.png", array, array / 255]
    first, *others = (np.asarray(call(each)) for each in kinds)
    assert all(np.array_equal(first, other) for other in others)
    listed = call([photo, tmp_path / "photo.png"])
    assert isinstance(listed, list)
    assert all(np.array_equal(first, np.asarray(each)) for each in listed)
    made = call(images.to_tensor(array)[None])
    assert np.array_equal(images.from_tensor(made[0]), first)
    assert first.shape == array.shape  # which is no multiple of what the network takes


def test_a_grey_image_is_read_as_rgb_and_a_transparent_one_stays_so(toy_run):
    call = load(toy_run[0], direction="a2b")
    grey = picture(1, mode="L")
    assert call(grey) == call(grey.convert("RGB"))
    glass = picture(2, mode="RGBA")
    made = call(glass)
    assert made.mode == "RGBA"
    assert made.getchannel("A") == glass.getchannel("A")


def test_an_image_is_turned_upright_and_scaled_to_its_side(toy_run):
    call = load(toy_run[0], direction="a2b")
    lying = picture(3, (40, 24))
    lying.getexif()[0x0112] = 6  # the camera was held upright
    assert call(lying).size == (24, 40)
    assert call(picture(3, (80, 48)), side=40).size == (40, 24)


@pytest.mark.parametrize("colour", ["luma", "match"])
def test_colours_are_kept_as_by_the_command(gan_style, tmp_path, colour):
    for seed, name in enumerate(("photo.png", "painting.png")):
        picture(seed).save(tmp_path / name)
    gan_style(
        "translate", method="gatys", content="photo.png", style="painting.png", out="out.png",
        colour=colour, precision="fp32", side=0, **SMALL,
    )  # fmt: skip
    call = load("gatys", precision="fp32", **SMALL)
    made = call("photo.png", style="painting.png", colour=colour, side=0)
    assert np.array_equal(np.asarray(made), np.asarray(Image.open("out.png")))


def test_styles_are_blended_and_masked_as_by_the_command(gan_style, tmp_path):
    files = {}
    for seed, name in enumerate(("photo", "a", "b", "mask", "rest")):
        image = picture(seed)
        if seed > 2:  # left and right
            half = np.zeros((36, 40), np.uint8)
            half[:, slice(0, 20) if name == "mask" else slice(20, 40)] = 255
            image = Image.fromarray(half)
        files[name] = tmp_path / f"{name}.png"
        image.save(files[name])
    gan_style(
        "translate", method="gatys", content=files["photo"], out=tmp_path / "out.png", side=0,
        style=f"{files['a']},{files['b']}", style_weights="0.7,0.3", precision="fp32",
        content_masks=f"{files['mask']},{files['rest']}", **SMALL,
    )  # fmt: skip
    seen = []
    call = load("gatys", precision="fp32", **SMALL)
    both = [
        Style("a.png", weight=0.7, content_mask=Image.open("mask.png")),
        Style(Image.open("b.png"), weight=0.3, content_mask=np.asarray(Image.open("rest.png"))),
    ]
    made = call("photo.png", style=both, side=0, progress=lambda *done: seen.append(done))
    assert np.array_equal(np.asarray(made), np.asarray(Image.open("out.png")))
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]
    assert len(seen) >= 2
    one, other = call("photo.png", style="a.png"), call("photo.png", style="b.png")
    assert one != other


Style = gan_style.Style


def test_options_of_a_call_are_of_this_call(toy_run):
    call = load("gatys", **SMALL)
    photo, painting = picture(0), picture(1)
    before = call(photo, style=painting)
    other = call(photo, style=painting, style_weight=1e3)
    assert other != before == call(photo, style=painting)
    run = load(toy_run[0])
    assert run(photo, direction="b2a") == load(toy_run[0], direction="b2a")(photo)
    assert run(photo, direction="b2a") != run(photo)


def test_progress_counts_images(toy_run):
    seen = []
    run, toy = toy_run
    list(load(run)(toy / "testA", progress=lambda *done: seen.append(done)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


MISTAKES = {
    "no such method": (lambda run: load("gaty"), ConfigError, "did you mean 'gatys'"),
    "no run": (lambda run: load("results/none"), CheckpointError, "no run folder"),
    "weights of a method": (lambda run: load("gatys", weights="ema"), ConfigError, "only a run"),
    "nothing published": (lambda run: load("cyclegan"), ConfigError, "no published weights"),
    "unknown option": (lambda run: load(run)(picture(0), alfa=1), ConfigError, "no option 'alfa'"),
    "trained in": (lambda run: load(run, width_generator=8), ConfigError, "can be changed"),
    "a style": (lambda run: load(run)(picture(0), style="x"), ConfigError, "takes no style"),
    "no style": (lambda run: load("gatys", **SMALL)(picture(0)), ConfigError, "as style"),
    "no file": (lambda run: load(run)("none.png"), DataError, "none.png: no such file"),
    "no image": (lambda run: load(run)(3), DataError, "can't be int"),
    "shape": (lambda run: load(run)(np.zeros((3, 9, 9), np.uint8)), DataError, r"\(3, 9, 9\)"),
    "integers": (lambda run: load(run)(np.zeros((9, 9), int)), DataError, "int64"),
    "floats": (lambda run: load(run)(np.full((9, 9), 255.0)), DataError, "must be in"),
    "tensor": (lambda run: load(run)(torch.zeros(3, 9, 9)), ConfigError, r"\(N, 3, H, W\)"),
    "side": (lambda run: load(run)(picture(0), side=-1), ConfigError, "side is -1"),
    "colour": (lambda run: load(run)(picture(0), colour="red"), ConfigError, "colour is 'red'"),
    "no style's": (lambda run: load(run)(picture(0), colour="luma"), ConfigError, "no style image"),
    "device": (lambda run: load(run, device="tpu"), ConfigError, "device is 'tpu'"),
}


@pytest.mark.parametrize(("act", "kind", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_of_its_kind(toy_run, act, kind, said):
    with pytest.raises(kind, match=said) as error:
        act(toy_run[0])
    assert "\n" not in str(error.value)


def test_a_training_from_python_is_that_of_the_command(toy_run, train_alone):
    run, toy = toy_run
    train_alone(domain=toy, images=4, run_dir="typed", ema=0.9, **FAST)
    assert same(weights("typed"), weights(run.folder))
    assert run.kid == {}


def test_callbacks_are_told_of_every_point_and_may_end_the_training(toy_run):
    seen, _ = [], toy_run
    toy = toy_run[1]

    def enough(point):
        seen.append(point)
        return point.images >= 4

    run = train(
        domain=toy, images=100, run_dir=Path("run"), log_every=2, callbacks=[enough, seen.append],
        **FAST,
    )  # fmt: skip
    assert [point.images for point in seen] == [2, 2, 4, 4]
    assert seen[0].expected == 100
    assert seen[0].values["generator/cycle_a"] > 0
    assert seen[0].seconds < seen[-1].seconds
    assert len(weights(run.folder)) == 6  # four networks, two averages: all is saved
    assert (run.folder / "checkpoints" / "000000004").is_dir()


def test_a_callback_that_fails_loses_nothing(toy_run):
    def fail(point):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as error:
        train(domain=toy_run[1], images=9, run_dir="run", log_every=3, callbacks=[fail], **FAST)
    assert "after 3 images everything is saved" in error.value.__notes__[0]


def test_mistakes_in_a_training_are_errors_not_exits(toy_run):
    with pytest.raises(ConfigError, match=r"unknown option --imges: did you mean .--images"):
        train(domain=toy_run[1], imges=4)
    with pytest.raises(DataError, match="no folder and no known name"):
        train(domain="nowhere")


def test_an_evaluation_from_python_has_the_numbers_of_the_command(toy_run, gan_style, tmp_path):
    run, toy = toy_run
    for name, image in load(run, direction="a2b")(toy / "testA"):
        images.save_png(np.asarray(image), tmp_path / "out" / name)
    gan_style(
        "evaluate", translated=tmp_path / "out", content=toy / "testA", metrics="ssim,edge_ssim"
    )
    found = evaluate(tmp_path / "out", toy / "testA", metrics=["ssim", "edge_ssim"])
    typed = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found.values == typed["values"]
    assert 0 < found.values["ssim"]["value"] < 1
    with pytest.raises(ConfigError, match="did you mean 'ssim'"):
        evaluate(tmp_path / "out", toy / "testA", metrics=["sim"])
    with pytest.raises(DataError):
        evaluate(tmp_path / "none", toy / "testA")


def test_a_comparison_from_python_is_a_page(toy_run, tmp_path):
    run, toy = toy_run
    Path("both.toml").write_text(
        f'domain = "{toy}"\nname = "both"\ncost_sizes = ""\nside = 32\nmetrics = "ssim"\n'
        f'[methods.ours]\nrun = "{run.folder}"\n'
    )
    page = compare("both.toml", pairs=1)
    assert page.name == "index.html"
    assert "ours" in page.read_text()
