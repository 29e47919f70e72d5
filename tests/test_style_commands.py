"""`translate` with methods that take a style: which files it makes, and what it refuses."""

import csv
import sys
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GATYS
from PIL import Image

from gan_style import command, memory, weights
from gan_style.data.images import load_image, to_array
from gan_style.methods import adain
from gan_style.nn.decoders import adain_decoder
from gan_style.nn.vgg import VGG

ADAIN = {"method": "adain", "vgg": "random", "style_size": 32}


def picture(path: str, width: int = 40, height: int = 32, seed: int = 0, mode: str = "RGB") -> Path:
    """A file of noise."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    if mode == "I;16":
        image = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    elif mode == "RGBA":
        image.putalpha(Image.fromarray(values[..., 1]))
    else:
        image = image.convert(mode)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return Path(path)


def mask(path: str, width: int = 40, height: int = 32, left: int = 255, right: int = 255) -> str:
    """A mask of two halves."""
    values = np.full((height, width), left, dtype=np.uint8)
    values[:, width // 2 :] = right
    Image.fromarray(values).save(path)
    return path


def pixels(path: str | Path) -> np.ndarray:
    return to_array(load_image(Path(path))).astype(int)


def below(folder: str | Path = ".") -> list[str]:
    """All files, relative."""
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


@lru_cache
def decoder_weights() -> dict[str, torch.Tensor]:
    """Random ones, whose images are neither flat nor cut."""
    torch.manual_seed(0)
    decoder = adain_decoder()
    for each in decoder:
        if isinstance(each, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(each.weight, nonlinearity="relu")
    with torch.no_grad():
        each.weight.mul_(0.05)
        each.bias.fill_(0.5)
    return decoder.state_dict()


@pytest.fixture(autouse=True)
def _weights(monkeypatch):
    """No published weights, and no encoder that is made more than once."""
    monkeypatch.setattr(weights, "load", lambda name: {"adain": decoder_weights()}[name])
    monkeypatch.setattr(adain, "VGG", encoder)


@lru_cache
def encoder(layers: tuple[str, ...], depth: int, family: str) -> VGG:
    return VGG(layers, depth, family)


@pytest.fixture
def translate(gan_style):
    """`translate` of content.png in the style of style.png, unless told otherwise."""
    picture("content.png", seed=1)
    picture("style.png", 36, 44, seed=2)

    def run(**options):
        given = {"content": "content.png", "style": "style.png", **options}
        return gan_style("translate", **{k: v for k, v in given.items() if v is not None})

    return run


@pytest.fixture
def refused(translate, refusal):
    """The one line of a translation that leaves everything as it was."""

    def run(**options):
        before = {path: Path(path).stat().st_mtime_ns for path in below()}
        line = refusal(translate, **options)
        assert line.startswith("gan_style: ")
        assert {path: Path(path).stat().st_mtime_ns for path in below()} == before
        return line

    return run


@pytest.fixture
def folders():
    """Three contents and two styles, some of them deeper down."""
    for i, name in enumerate(("a.png", "b.jpg", "deep/c.png")):
        picture(f"contents/{name}", seed=i)
    for i, name in enumerate(("x.jpg", "deep/y.png")):
        picture(f"styles/{name}", seed=10 + i)
    return {"content": "contents", "style": "styles"}


ALL_PAIRS = [f"{s}/{c}.png" for s, c in product(("deep/y", "x"), ("a", "b", "deep/c"))]
ALL_FILES = sorted([".made_by.csv", *ALL_PAIRS, "times.csv"])


# What is made, and how it is called


def test_a_content_in_a_style_is_a_file_named_after_both(translate):
    said = translate(out="out", **GATYS)
    assert "1 image, gatys, cpu in " in said
    assert "1 written to out" in said
    assert below("out") == [".made_by.csv", "style/content.png", "times.csv"]
    made = pixels("out/style/content.png")
    assert made.shape == (32, 40, 3)
    assert (made != pixels("content.png")).any()


def test_results_of_a_method_have_a_folder(translate):
    translate(**ADAIN)
    assert below("results") == [
        f"translated/{Path.cwd().name}/adain/{name}"
        for name in (".made_by.csv", "style/content.png", "times.csv")
    ]


def test_a_png_as_out_is_the_only_file_that_is_written(translate):
    before = below()
    translate(out="new/x.png", **ADAIN)
    assert sorted({*below()} - {*before}) == ["new/x.png"]
    translate(out="y", **ADAIN)
    assert (pixels("new/x.png") == pixels("y/style/content.png")).all()


def test_a_folder_may_have_a_dot_in_its_name(translate):
    Path("v1.2").mkdir()
    translate(out="v1.2", **ADAIN)
    assert below("v1.2") == [".made_by.csv", "style/content.png", "times.csv"]


def test_every_content_goes_with_every_style(translate, folders):
    translate(out="out", **folders, **ADAIN)
    assert below("out") == ALL_FILES
    rows = list(csv.DictReader(Path("out/times.csv").read_text().splitlines()))
    assert sorted(row["name"] for row in rows) == ALL_PAIRS
    assert {(row["width"], row["height"]) for row in rows} == {("40", "32")}
    images = [pixels(Path("out", name)) for name in ALL_PAIRS]
    assert all((a != b).any() for i, a in enumerate(images) for b in images[:i])


def test_one_of_many_is_the_same_as_one_alone(translate, folders):
    translate(out="out", **folders, **ADAIN)
    translate(out="one.png", content="contents/b.jpg", style="styles/deep/y.png", **ADAIN)
    assert (pixels("one.png") == pixels("out/deep/y/b.png")).all()


@pytest.mark.parametrize("mark", ["", "\ufeff"])  # the second is what spreadsheets write
def test_pairs_of_a_file_are_the_only_ones_made(translate, folders, mark):
    Path("pairs.csv").write_text(
        f"{mark}style,content,note\nx.jpg,deep/c.png,first\ndeep/y.png,a.png,\nx.jpg,b.jpg,\n",
        encoding="utf-8",
    )
    translate(out="out", pairs="pairs.csv", **folders, **ADAIN)
    assert below("out") == [
        ".made_by.csv", "deep/y/a.png", "times.csv", "x/b.png", "x/deep/c.png"
    ]  # fmt: skip
    translate(out="one.png", content="contents/deep/c.png", style="styles/x.jpg", **ADAIN)
    assert (pixels("one.png") == pixels("out/x/deep/c.png")).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "--pairs pairs.csv needs a header with content and style, and a row"),
        ("content,style\n", "needs a header with content and style, and a row"),
        ("content,styles\na.png,x.jpg\n", "needs a header with content and style, and a row"),
        ("content,style\na.png,z.jpg\n", "names 'z.jpg', which isn't in styles"),
        ("content,style\nx.jpg,x.jpg\n", "names 'x.jpg', which isn't in contents"),
        ("content,style\na.png\n", "names None, which isn't in styles"),
        ("content,style\nnotes.txt,x.jpg\n", "names 'notes.txt' in 'x.jpg', but these aren't both"),
        ("content,style\ndeep/../a.png,x.jpg\n", "'deep/../a.png' in 'x.jpg', but these aren't"),
        ("content,style\n\udcff,x.jpg\n", "isn't in contents"),
        (None, "--pairs pairs.csv: No such file or directory"),
    ],
)
def test_pairs_that_cannot_be_found_are_refused(refused, folders, text, said):
    Path("contents/notes.txt").touch()
    if text is not None:
        Path("pairs.csv").write_text(text, errors="surrogateescape")
    assert said in refused(out="out", pairs="pairs.csv", **folders, **ADAIN)
    assert not Path("out").exists()


def test_two_pairs_that_would_be_one_file_are_refused(refused):
    for name in ("contents/z.png", "contents/y/z.png", "styles/x.png", "styles/x/y.png"):
        picture(name)
    line = refused(out="out", content="contents", style="styles", **ADAIN)
    assert "2 images would become x/y/z.png: rename a style or a content" in line


# Several styles at once


def test_styles_joined_by_commas_are_blended_into_one_image(translate):
    picture("deep/other.png", seed=3)
    translate(out="out", style="style.png,deep/other.png", **ADAIN)
    assert below("out") == [".made_by.csv", "style+other/content.png", "times.csv"]
    blended = pixels("out/style+other/content.png")
    for i, name in enumerate(("style.png", "deep/other.png")):
        translate(out=f"{i}.png", style=name, **ADAIN)
        assert (pixels(f"{i}.png") != blended).any()
    translate(out="half.png", style="style.png,deep/other.png", style_weights="3,3", **ADAIN)
    assert (pixels("half.png") == blended).all()  # equal is what it is without weights


@pytest.mark.parametrize("index", [0, 1])
def test_all_the_weight_on_one_style_is_that_style_alone(translate, index):
    styles = ["style.png", str(picture("other.png", seed=3))]
    weights = ",".join("2" if i == index else "0" for i in range(2))
    translate(out="blend.png", style=",".join(styles), style_weights=weights, **ADAIN)
    translate(out="alone.png", style=styles[index], **ADAIN)
    translate(out="not.png", style=styles[1 - index], **ADAIN)
    assert (pixels("blend.png") == pixels("alone.png")).all()
    assert (pixels("blend.png") != pixels("not.png")).any()


def test_a_file_with_a_comma_in_its_name_is_one_style(translate):
    picture("a,b.png", seed=3)
    translate(out="out", style="a,b.png", **ADAIN)
    assert below("out") == [".made_by.csv", "a,b/content.png", "times.csv"]


def test_many_styles_joined_may_be_longer_than_a_file_name(translate):
    names = [str(picture(f"{'x' * 60}{i}.png", seed=i)) for i in range(5)]
    translate(out="x.png", style=",".join(names), **ADAIN)
    assert Path("x.png").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"style_weights": "1,2,3"}, "--style_weights has 3 entries, but --style has 2 images"),
        ({"style_weights": "1"}, "--style_weights has 1 entries, but --style has 2 images"),
        ({"style_weights": "1,x"}, "--style_weights is '1,x', but must be numbers"),
        ({"style_weights": "1,-1"}, "but must be at least 0, not all 0"),
        ({"style_weights": "0,0"}, "but must be at least 0, not all 0"),
        ({"style_weights": "1,nan"}, "but must be at least 0, not all 0"),
        ({"style_weights": "1,inf"}, "but must be at least 0, not all 0"),
        ({"content_masks": "m.png"}, "--content_masks has 1 entries, but --style has 2 images"),
        ({"style_masks": "m.png,m.png,m.png"}, "--style_masks has 3 entries, but --style has 2"),
        ({"content_masks": "m.png,n.png"}, "--content_masks n.png: no such file"),
        ({"style": "style.png,nope.png"}, "--style nope.png: no such file"),
        ({"style": "style.png,"}, "--style : no such file"),
        ({"style": "style.png", "style_weights": "1"}, "but --style is not several images"),
        ({"style": "styles", "style_masks": "m.png"}, "but --style styles is a folder"),
    ],
)
def test_numbers_that_do_not_match_are_refused(refused, folders, options, said):
    mask("m.png")
    given = {"style": "style.png,style.png", "out": "out"} | options
    assert said in refused(**given, **ADAIN)
    assert not Path("out").exists()


# Masks


def test_a_white_mask_is_no_mask(translate):
    translate(out="none.png", **ADAIN)
    masks = {"content_masks": mask("c.png"), "style_masks": mask("s.png", 36, 44)}
    translate(out="white.png", **masks, **ADAIN)
    # Weighted means and plain ones round differently, by less than a level.
    assert np.abs(pixels("white.png") - pixels("none.png")).max() <= 1
    assert pixels("none.png").std() > 5


@pytest.mark.parametrize("options", [ADAIN, GATYS])
@pytest.mark.parametrize("which", ["content_masks", "style_masks"])
def test_a_mask_of_half_an_image_is_something_else(translate, options, which):
    half = mask("half.png", *((40, 32) if which == "content_masks" else (36, 44)), right=0)
    translate(out="none.png", **options)
    translate(out="half.png.png", **{which: half}, **options)
    assert (pixels("half.png.png") != pixels("none.png")).any()


def test_each_style_goes_where_its_mask_is(translate):
    styles = ["style.png", str(picture("other.png", seed=3))]
    masks = mask("left.png", 64, 64, right=0), mask("right.png", 64, 64, left=0)
    picture("content.png", 64, 64, seed=1)
    made = {}
    for name, order in {"one": styles, "two": styles[::-1]}.items():
        given = {"style": ",".join(order), "content_masks": ",".join(masks)}
        translate(out=f"{name}.png", **given, **ADAIN)
        made[name] = pixels(f"{name}.png")
    translate(
        out="swapped.png",
        style=",".join(styles[::-1]),
        content_masks=",".join(masks[::-1]),
        **ADAIN,
    )
    assert (made["one"] != made["two"]).any()
    # Styles and masks swapped together are the same; only the order of a sum differs.
    assert np.abs(pixels("swapped.png") - made["one"]).max() <= 1


def test_a_mask_of_another_scale_is_scaled(translate):
    translate(out="same.png", content_masks=mask("m.png", right=0), **ADAIN)
    # A sixteenth of 640 is 40: the edge between the halves stays where it is.
    translate(out="large.png", content_masks=mask("l.png", 640, 512, right=0), **ADAIN)
    difference = np.abs(pixels("large.png") - pixels("same.png"))
    translate(out="none.png", **ADAIN)
    assert difference.mean() < 0.2 * np.abs(pixels("same.png") - pixels("none.png")).mean()


def test_masks_follow_contents_that_are_scaled_down(translate):
    picture("content.png", 80, 64, seed=1)
    mask("m.png", 80, 64, right=0)
    translate(out="x.png", content_masks="m.png", side=40, **ADAIN)
    assert pixels("x.png").shape == (32, 40, 3)


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("content_masks", "m.png: the mask is 30x30 pixels, its image 40x32: they need the same"),
        ("style_masks", "m.png: the mask is 30x30 pixels, its image 36x44: they need the same"),
    ],
)
def test_a_mask_of_another_shape_is_refused(refused, which, said):
    mask("m.png", 30, 30)
    assert said in refused(out="out", **{which: "m.png"}, **ADAIN)


@pytest.mark.parametrize("options", [ADAIN, GATYS])
@pytest.mark.parametrize("which", ["content_masks", "style_masks"])
def test_a_black_mask_is_refused(refused, options, which):
    black = mask("m.png", *((40, 32) if which == "content_masks" else (36, 44)), left=0, right=0)
    line = refused(out="out", **{which: black}, **options)
    assert "m.png: the mask is black everywhere" in line


@pytest.mark.parametrize("which", ["content_masks", "style_masks"])
def test_a_mask_that_scaling_leaves_black_is_named_with_its_option(refused, which):
    size = (800, 640) if which == "content_masks" else (720, 880)
    made = Image.new("L", size)
    made.putpixel((5, 5), 128)
    made.save("dot.png")
    line = refused(**{which: "dot.png"}, **ADAIN)
    assert f"--{which} dot.png: what is white in the mask of {size[0]}x{size[1]} pixels" in line
    assert "paint it larger" in line
    assert not Path("out").exists()


@pytest.mark.parametrize("which", ["content_masks", "style_masks"])
def test_a_dark_mask_of_16_bits_is_asked_for_in_8(refused, which):
    size = (32, 40) if which == "content_masks" else (44, 36)
    Image.fromarray(np.full(size, 255, np.uint16)).save("deep.png")
    line = refused(**{which: "deep.png"}, **ADAIN)
    assert f"--{which} deep.png: range found 255-255 of 65535, but a mask is white" in line
    assert "save it with 8 bits, 255 there" in line
    assert "profile" not in line


def test_a_mask_that_is_no_image_is_refused(refused):
    Path("m.png").write_text("no image")
    assert "m.png: not an image that can be read" in refused(content_masks="m.png", **ADAIN)


def test_masks_of_several_contents_are_refused(refused, folders):
    line = refused(content="contents", content_masks=mask("m.png"), out="out", **ADAIN)
    assert "--content_masks are for one content, but --content contents has 3" in line


# Images of every kind


@pytest.mark.parametrize("options", [ADAIN, GATYS])
@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_any_kind_of_image_is_content_and_style(translate, options, mode):
    picture("c.png", mode=mode, seed=1)
    picture("s.png", mode=mode, seed=2)
    translate(content="c.png", style="s.png", out="x.png", **options)
    with Image.open("x.png") as made:
        assert (made.size, made.mode) == ((40, 32), "RGBA" if mode == "RGBA" else "RGB")
    Image.fromarray(pixels("s.png").astype(np.uint8)).save("as_8_bit.png")
    masked = {}
    if mode == "RGBA":
        with Image.open("s.png") as style:
            style.getchannel("A").save("opaque.png")
        masked = {"style_masks": "opaque.png"}
    translate(content="c.png", style="as_8_bit.png", out="y.png", **masked, **options)
    assert (pixels("x.png") == pixels("y.png")).all()


def test_a_style_that_was_changed_is_read_anew(translate):
    translate(out="before.png", **ADAIN)
    picture("style.png", 36, 44, seed=3)
    translate(out="after.png", **ADAIN)
    assert (pixels("before.png") != pixels("after.png")).any()


@pytest.mark.parametrize("size", [(1, 1), (3, 4000)])
def test_contents_of_extreme_sizes_keep_them_with_adain(translate, size):
    picture("thin.png", *size)
    picture("dot.png", 1, 1)
    translate(content="thin.png", style="dot.png", out="x.png", **ADAIN)
    assert load_image(Path("x.png")).size == size


@pytest.mark.parametrize(
    ("size", "side", "made"),
    [
        ((1, 1), None, (1, 1)),
        ((3, 4000), 64, (1, 64)),  # 3 / 4000 of 64 is less than a pixel
        ((4000, 3), 64, (64, 1)),
        ((3, 300), None, (3, 300)),
        ((3, 1024), None, (2, 512)),  # 512 is what it scales to by itself
        ((3, 520), 0, (3, 520)),
    ],
)
def test_contents_of_extreme_sizes_are_scaled_to_the_side_with_gatys(translate, size, side, made):
    picture("thin.png", *size)
    translate(content="thin.png", side=side, out="x.png", style_scale=0.1, **GATYS)
    assert load_image(Path("x.png")).size == made


@pytest.mark.slow
def test_contents_of_extreme_sizes_keep_them_with_johnson(train_alone, gan_style, toy):
    picture("style.png")
    train_alone(
        method="johnson", domain=toy, run_dir="run", style="style.png", vgg="random",
        width_generator=4, size=16, load_size=16, images=2, batch_size=1, workers=1, threads=1,
    )  # fmt: skip
    sizes = {"dot": (1, 1), "high": (3, 4000), "wide": (4000, 3), "photo": (40, 32)}
    for name, size in sizes.items():
        picture(f"contents/{name}.png", *size)
    said = gan_style("translate", run="run", content="contents")
    assert "4 images, johnson, raw weights, cpu in " in said
    made = {
        path.stem: load_image(path).size
        for path in Path("run/translated/contents/raw").glob("*.png")
    }
    assert made == sizes


# Files that can't be used


@pytest.mark.parametrize(
    ("style", "said"),
    [
        (None, "adain takes its style from an image: give one as --style"),
        ("nope.png", "--style nope.png: no such file or folder"),
        ("empty", "--style empty: no images in this folder"),
    ],
)
def test_a_style_must_be_there(refused, style, said):
    Path("empty").mkdir()
    assert said in refused(style=style, out="out", **ADAIN)
    assert not Path("out").exists()


@pytest.mark.parametrize("options", [ADAIN, GATYS])
def test_a_style_that_is_no_image_is_named(refused, options):
    Path("bad.png").write_text("no image")
    line = refused(style="bad.png", out="out", **options)
    assert "1 of 1 images were left out: bad.png: not an image that can be read" in line


def unreadable(capsys, translate, **options) -> str:
    """What was left out; everything else was written."""
    with pytest.raises(SystemExit) as error:
        translate(**options)
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_an_unreadable_content_costs_only_itself(translate, folders, capsys):
    Path("contents/bad.png").write_text("no image")
    Path("contents/cut.jpg").write_bytes(Path("contents/b.jpg").read_bytes()[:300])
    said = unreadable(capsys, translate, out="out", **folders, **ADAIN)
    assert "gan_style: 4 of 10 images were left out" in said
    for name in ("contents/bad.png", "contents/cut.jpg"):
        assert said.count(name) == 1  # not once for each style
    assert below("out") == ALL_FILES


def test_an_unreadable_style_costs_only_itself(translate, folders, capsys):
    Path("styles/bad.png").write_text("no image")
    said = unreadable(capsys, translate, out="out", **folders, **ADAIN)
    assert "3 of 9 images were left out: styles/bad.png: not an image that can be read" in said
    assert below("out") == ALL_FILES


def test_images_that_are_there_already_are_not_overwritten_unless_asked(
    translate, refused, folders
):
    translate(out="out", **folders, **ADAIN)
    line = refused(out="out", **folders, **ADAIN)
    assert "out holds 6 of these images already, such as deep/y/a.png" in line
    assert "give another --out, or --overwrite" in line
    before = pixels("out/x/a.png")
    translate(out="out", overwrite=True, alpha=0.5, **folders, **ADAIN)
    assert (pixels("out/x/a.png") != before).any()
    Path("out/x/a.png").unlink()
    before = Path("out/x/b.png").stat().st_mtime_ns
    translate(out="out", resume=True, alpha=0.5, **folders, **ADAIN)
    assert Path("out/x/a.png").exists()
    assert Path("out/x/b.png").stat().st_mtime_ns == before
    said = translate(out="out", resume=True, **folders, **ADAIN)  # of another alpha
    assert "6 of them were there, made by or of something else: made again" in said
    assert Path("out/x/b.png").stat().st_mtime_ns != before


def test_a_png_that_is_there_already_is_not_overwritten(refused):
    picture("x.png")
    line = refused(out="x.png", **ADAIN)
    assert "holds 1 of these images already, such as x.png" in line


# Memory


@pytest.mark.parametrize(("size", "free"), [((100, 60), 1e7), ((60, 100), 1.5e7), ((300, 3), 1e7)])
def test_a_content_too_large_for_memory_is_refused_with_a_side_that_fits(
    translate, refused, monkeypatch, size, free
):
    picture("large.png", *size)
    monkeypatch.setattr(memory, "free", lambda device: free)
    line = refused(content="large.png", out="out", **GATYS)
    assert f"large.png at {size[0]}x{size[1]} pixels takes about " in line
    assert f"{free / 1e9:.1f} GB are free: try --side " in line
    assert not Path("out").exists()
    side = int(line.rpartition(" ")[2])
    assert 0 < side < max(size)
    translate(content="large.png", side=side, out="x.png", **GATYS)
    assert max(load_image(Path("x.png")).size) == side


def test_even_without_any_memory_the_side_is_one(refused, monkeypatch):
    monkeypatch.setattr(memory, "free", lambda device: 0.0)
    assert refused(out="out", **GATYS).endswith("try --side 16")  # 0 would keep every size


def test_a_large_content_among_small_ones_is_refused_before_anything_starts(
    refused, folders, monkeypatch
):
    picture("contents/z.png", 400, 300)
    picture("contents/a.png")
    Path("contents/bad.png").write_text("no image")
    monkeypatch.setattr(memory, "free", lambda device: 40 * 32 * 1200.0)
    assert "contents/z.png at 400x300 pixels" in refused(out="out", **folders, **ADAIN)
    assert not Path("out").exists()


@pytest.mark.parametrize("kind", ["accelerator", "cpu allocator"])
def test_running_out_of_memory_is_one_line(refused, monkeypatch, kind):
    def translate(self, content, style=None):
        if kind == "accelerator":
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 3 GiB")
        return torch.empty(2**56)

    monkeypatch.setattr(adain.Method, "translate", translate)
    line = refused(out="out", **ADAIN)
    assert line == "gan_style: content.png: not enough memory for it; try a smaller --side"


# Options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"run": "run", **ADAIN}, "--run is 'run' and --method 'adain': give one of the two"),
        ({}, "no --run and no --method: give one of the two"),
        ({"method": "adian"}, "unknown method 'adian': did you mean 'adain'?"),
        ({**ADAIN, "alhpa": 1}, "unknown option --alhpa: did you mean '--alpha'?"),
        ({**ADAIN, "style_weight_s": 1}, "unknown option --style_weight_s: did you mean '--style"),
        ({**ADAIN, "iterations": 1}, "unknown option --iterations"),  # that is gatys's
        ({**ADAIN, "vgg": "normalized"}, "--vgg is 'normalized': did you mean 'normalised'?"),
        ({**ADAIN, "colour": "color"}, "--colour is 'color'"),
        ({**ADAIN, "side": -1}, "--side is -1, but must be at least 0"),
        ({**GATYS, "save_every": -1}, "--save_every is -1, but must be at least 0"),
        ({**GATYS, "style_layers": "relu1_1,relu9_1"}, "--style_layer_weights has 1 numbers"),
        ({**GATYS, "content_layer": "relu2_3"}, "VGG-19 has no layer 'relu2_3'"),
        ({**GATYS, "preset": "papper"}, "--preset is 'papper': did you mean 'paper'?"),
        (
            {**ADAIN, "out": "x.gif"},
            "--out is 'x.gif', but images are written as .png, .jpg, .jpeg",
        ),
        (
            {**ADAIN, "out": "x.jpg", "format": "png"},
            "--out is 'x.jpg', but --format is 'png': leave one out",
        ),
        ({**ADAIN, "content": None}, "--content is missing: see --help"),
        ({"method": "johnson", "style": None}, "johnson has no published weights: train it and"),
        ({"method": "cyclegan", "style": None}, "cyclegan has no published weights: train it and"),
        ({"method": "cyclegan"}, "--style is 'style.png', but cyclegan takes no style image"),
    ],
)
def test_translate_refuses(refused, options, said):
    assert said in refused(**{"out": "out"} | options)
    assert not Path("out/style").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"style": "style.png"},
        {"pairs": "pairs.csv"},
        {"style_weights": "1,2"},
        {"content_masks": "m.png"},
        {"style_masks": "m.png"},
        {"colour": "luma"},
    ],
)
def test_what_is_about_styles_is_refused_where_there_are_none(refused, options):
    ((name, value),) = options.items()
    line = refused(**{"method": "cyclegan", "style": None} | options)
    assert f"--{name} is {value!r}, but cyclegan takes no style image" in line


def test_a_png_is_for_a_single_image(refused, folders):
    line = refused(out="x.png", **folders, **ADAIN)
    assert "--out is 'x.png', but there are 6 images: give a folder" in line


def test_weights_that_cannot_be_fetched_are_one_line(refused, monkeypatch):
    def load(name):
        raise weights.WeightsError(f"can't fetch {name}: no network; try again later")

    monkeypatch.setattr(weights, "load", load)
    assert "can't fetch adain: no network; try again later" in refused(out="out", **ADAIN)
    assert not Path("out").exists()


def test_options_may_come_from_a_file(translate):
    Path("adain.toml").write_text(
        'method = "adain"\nvgg = "random"\nstyle_size = 32\nalpha = 0.5\n'
    )
    translate(config="adain.toml", out="file.png")
    translate(out="flags.png", alpha=0.5, **ADAIN)
    translate(out="other.png", **ADAIN)
    assert (pixels("file.png") == pixels("flags.png")).all()
    translate(config="adain.toml", out="over.png", alpha=1.0)
    assert (pixels("over.png") == pixels("other.png")).all()
    assert (pixels("over.png") != pixels("file.png")).any()


# The command weights


@pytest.fixture
def words(monkeypatch, capsys):
    """`python -m gan_style` with words."""
    from gan_style import __main__

    monkeypatch.setenv("GAN_STYLE_WEIGHTS", "cache")

    def run(*typed):
        monkeypatch.setattr(sys, "argv", ["gan_style", *typed])
        command.run("gan_style", __main__.main)
        return capsys.readouterr().out

    return run


def test_all_weights_are_listed_with_what_is_here(words):
    Path("cache").mkdir()
    Path("cache/adain_decoder.pth").write_bytes(b"x" * 2_000_000)
    said = words("weights")
    assert said.startswith("folder: cache\n")
    for name in weights.known():
        assert f"\n{name} " in said
    assert said.count(" missing\n") == len(weights.known()) - 1
    assert "cache/adain_decoder.pth\n" in said
    assert ", 2 MB, MIT (naoto0804/pytorch-AdaIN)" in said


def test_fetched_weights_are_named_by_their_file(words, monkeypatch):
    monkeypatch.setattr(weights, "fetch", lambda name: Path("cache", f"{name}.pth"))
    assert words("weights", "fetch", "adain") == "cache/adain.pth\n"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["fetch", "nope"], "no weights 'nope': known: adain, inception, lpips_alex"),
        (["fetch", "adian"], "no weights 'adian': did you mean 'adain'?"),
        (["fetch"], "can't read 'weights fetch': known: weights, weights fetch NAME"),
        (["fech", "adain"], "can't read 'weights fech adain': known: weights, weights fetch"),
        (["fetch", "adain", "more"], "'more' belongs to no option"),
        (["--fetch=adain"], "unknown option --fetch"),
    ],
)
def test_the_weights_command_refuses(words, refusal, typed, said):
    line = refusal(words, "weights", *typed)
    assert line.startswith("gan_style: ")
    assert said in line
    assert not Path("cache").exists()


def test_what_was_trained_cannot_be_changed_when_translating(train, toy, gan_style, refusal):
    train(domain=toy, images=1, run_dir="run", sample_every=0)
    said = refusal(gan_style, "translate", run="run", content=toy / "testA", upsample="resize")
    assert "--upsample is 'resize'" in said
    assert "--direction can be changed" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": "ema"}, "--weights is 'ema', but only a run has averaged or best weights"),
        ({"save_every": 5}, "--save_every is 5, but adain has no iterations to show"),
        ({"seed": 2**31}, "--seed is 2147483648, but must be below 2147483648"),
        ({"optios": 1}, "unknown option --optios"),
    ],
)
def test_options_without_an_effect_are_refused(refused, folders, options, said):
    message = refused(out="out", **folders, **ADAIN, **options)
    assert said in message
    assert "--options" not in message
    assert not Path("out").exists()


def test_a_new_folder_may_have_a_dot_in_its_name(translate, folders):
    translate(out="alpha_0.5", **folders, **ADAIN)
    assert (Path("alpha_0.5") / "x" / "b.png").is_file()


# Files as people have them

KINDS = Path(__file__).parent / "data" / "images"


@pytest.mark.parametrize("options", [ADAIN, GATYS])
def test_what_is_transparent_in_a_style_is_as_if_masked(translate, options):
    with Image.open(KINDS / "artcut.png") as file:
        small = file.convert("RGBA").resize((64, 64), Image.Resampling.NEAREST)
    small.save("cut.png")
    small.getchannel("A").save("mask.png")
    canvas = Image.new("RGBA", small.size, "white")
    Image.alpha_composite(canvas, small).convert("RGB").save("painting.png")
    translate(style="cut.png", out="cut_out.png", **options)
    translate(style="painting.png", style_masks="mask.png", out="masked.png", **options)
    translate(style="painting.png", out="whole.png", **options)
    assert (pixels("cut_out.png") == pixels("masked.png")).all()
    assert (pixels("cut_out.png") != pixels("whole.png")).any()


@pytest.mark.parametrize("options", [ADAIN, GATYS])
def test_a_figure_that_was_cut_out_stays_so(translate, options):
    with Image.open(KINDS / "cutout.png") as file:
        small = file.convert("RGBA").resize((40, 32))
    small.save("cut.png")
    translate(content="cut.png", out="x.png", **options)
    with Image.open("x.png") as made:
        assert (np.asarray(made.getchannel("A")) == np.asarray(small.getchannel("A"))).all()


def test_a_style_without_an_opaque_pixel_is_refused(refused):
    Image.new("RGBA", (40, 32), (1, 2, 3, 0)).save("clear.png")
    line = refused(style="clear.png", out="x.png", **ADAIN)
    assert line == "gan_style: clear.png: the style is transparent everywhere"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("one", "the highest value of the mask is 1 of 255, but where it counts it must be white"),
        ("blue", "the mask has the colour #0000ff, but must be grey, white where it counts"),
        ("16 bits", "range found 0-1 of 65535"),
        ("palette", "the mask has the colour #ff0000, but must be grey"),
    ],
)
@pytest.mark.parametrize("which", ["content_masks", "style_masks"])
def test_a_mask_in_another_code_is_refused_with_the_value_found(refused, which, kind, said):
    picture("c.png", 64, 48)
    picture("s.png", 64, 48, seed=5)
    path = str(KINDS / f"{kind}.png")
    labels = np.zeros((48, 64), np.uint16)
    labels[:, 32:] = 1
    if kind == "16 bits":
        path = "mask.png"
        Image.fromarray(labels).save(path)
    elif kind == "palette":
        path = "mask.png"
        made = Image.new("P", (64, 48))
        made.putpalette([0, 0, 0, 255, 0, 0])
        made.paste(1, (32, 0, 64, 48))
        made.save(path)
    line = refused(content="c.png", style="s.png", out="x.png", **{which: path}, **ADAIN)
    assert f"{path}: {said}" in line


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tiff"])
def test_a_single_image_is_written_as_its_name_ends_and_named(translate, suffix):
    said = translate(out=f"deep/x{suffix}", **ADAIN)
    assert f"1 written to deep/x{suffix}\n" in said
    assert load_image(Path(f"deep/x{suffix}")).size == (40, 32)
    assert below("deep") == [f"x{suffix}"]


def test_files_are_named_by_the_format(translate, folders, refusal):
    translate(out="out", format="webp", **folders, **ADAIN)
    assert below("out") == [n.replace(".png", ".webp") for n in ALL_FILES]
    line = refusal(translate, out="out", format="webp", **folders, **ADAIN)
    assert "out holds 6 of these images already, such as deep/y/a.webp" in line


@pytest.mark.slow
def test_what_is_not_read_is_named(translate, folders):
    Path("contents/film.mp4").touch()
    (Path("contents") / "anim.gif").write_bytes((KINDS / "anim.gif").read_bytes())
    said = translate(out="out", **folders, **ADAIN)
    assert "contents: 1 file is left out, of kinds that aren't read: 1 .mp4\n" in said
    assert said.count("contents/anim.gif: only the first of its frames is read") == 1


def test_a_style_too_large_for_memory_is_refused_with_its_size(translate, refused, monkeypatch):
    picture("long.png", 600, 500)
    monkeypatch.setattr(memory, "free", lambda device: 2e7)
    options = {**ADAIN, "style_size": 0}
    line = refused(style="long.png", out="out", **options)
    assert "GB are free: scale the style down, which has 600x500 pixels" in line
    translate(out="out", **options)  # a smaller one


def test_a_strip_as_a_style_is_bounded(translate):
    translate(style=str(KINDS / "strip3000x8.png"), out="x.png", **ADAIN)
    assert load_image(Path("x.png")).size == (40, 32)


@pytest.mark.parametrize("typed", [["weights"], ["weights", "fetch", "adain"]])
def test_a_user_without_a_home_is_told_what_to_set(refusal, monkeypatch, typed):
    from gan_style import __main__

    def homeless(cls=None):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("GAN_STYLE_WEIGHTS", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)

    def run():
        monkeypatch.setattr(sys, "argv", ["gan_style", *typed])
        command.run("gan_style", __main__.main)

    assert refusal(run) == (
        "gan_style: this user has no home folder to keep weights in: choose one, "
        "GAN_STYLE_WEIGHTS=DIR"
    )
