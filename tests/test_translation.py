import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_style.data import images, pairs
from gan_style.data.images import load_image, to_array
from gan_style.errors import DataError, UserError
from gan_style.method import Method
from gan_style.translation import jobs as translation


class Darker(Method):
    """Subtracts a constant; refuses sizes that it didn't ask for."""

    multiple, smallest = 8, 24

    def __init__(self):
        super().__init__()
        self.shapes = []

    def translate(self, content, style=None):
        self.shapes.append(tuple(content.shape))
        assert all(side % 8 == 0 and side >= 24 for side in content.shape[2:])
        return content - 10 / 255


def translate(method, content, out, **how):
    jobs = translation.jobs_without_styles(content)
    how = translation.How(device=torch.device("cpu"), **how)
    return translation.translate_files(method, jobs, out, how, {}).bad


def noise(width, height, seed=0):
    values = np.random.default_rng(seed).integers(10, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("size", [(24, 24), (37, 61), (1, 1), (3, 200), (25, 8)])
def test_every_size_comes_out_as_it_went_in(tmp_path, size):
    noise(*size).save(tmp_path / "x.png")
    assert translate(Darker(), tmp_path / "x.png", tmp_path / "out") == []
    result = to_array(load_image(tmp_path / "out" / "x.png"))
    # Pixel by pixel the method's result: nothing was scaled, shifted or truncated.
    assert (result == np.asarray(noise(*size)) - 10).all()


def test_padding_mirrors_the_lower_and_right_edge():
    array = np.arange(5, dtype=np.uint8)[None, :, None].repeat(3, axis=2).repeat(2, axis=0)
    padded = images.pad(array, multiple=4, smallest=1)
    assert padded.shape == (4, 8, 3)
    assert padded[0, :, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]


def test_times_are_written_for_every_image(tmp_path):
    for i in range(3):
        noise(30, 40 + i).save(tmp_path / f"{i}.png")
    translate(Darker(), tmp_path, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "times.csv").read_text().splitlines()))
    assert [(row["name"], row["width"], row["height"]) for row in rows] == [
        ("0.png", "30", "40"), ("1.png", "30", "41"), ("2.png", "30", "42")
    ]  # fmt: skip
    assert all(0 <= float(row["seconds"]) < 60 for row in rows)


def test_only_neighbours_of_one_size_share_a_batch(tmp_path):
    for i, size in enumerate([24, 24, 24, 32, 24]):
        noise(size, 24, i).save(tmp_path / f"{i}.png")
    method = Darker()
    out = tmp_path / "out"
    translate(method, tmp_path, out, batch_size=2)
    assert [shape[0] for shape in method.shapes] == [2, 1, 1, 1]
    for i in range(5):
        expected = to_array(load_image(tmp_path / f"{i}.png")) - 10
        assert (to_array(load_image(out / f"{i}.png")) == expected).all()


def test_contents_are_scaled_down_to_the_longer_side_but_never_up(tmp_path):
    for name, size in {"wide": (96, 48), "low": (400, 3), "small": (24, 24)}.items():
        noise(*size).save(tmp_path / f"{name}.png")
    translate(Darker(), tmp_path, tmp_path / "out", side=48)
    sizes = {path.stem: load_image(path).size for path in (tmp_path / "out").glob("*.png")}
    # 3 pixels of 400 are 0.36 of 48: at least one is left.
    assert sizes == {"wide": (48, 24), "low": (48, 1), "small": (24, 24)}


def test_resuming_keeps_what_is_there_and_its_times(tmp_path):
    contents, out, method = tmp_path / "contents", tmp_path / "out", Darker()
    contents.mkdir()
    for i in range(3):
        noise(24, 24, i).save(contents / f"{i}.png")
    translate(method, contents / "1.png", out)
    before = (out / "1.png").stat().st_mtime_ns
    (out / "times.csv").write_text("name,width,height,seconds\n1.png,24,24,12.5000\n")
    translate(method, contents, out, resume=True)
    assert len(method.shapes) == 3  # one, and then the two others
    assert (out / "1.png").stat().st_mtime_ns == before
    rows = list(csv.DictReader((out / "times.csv").read_text().splitlines()))
    assert {row["name"] for row in rows} == {"0.png", "1.png", "2.png"}
    assert [row["seconds"] for row in rows if row["name"] == "1.png"] == ["12.5000"]


def test_times_of_what_is_done_are_kept_when_something_breaks(tmp_path):
    for i in range(3):
        noise(24, 24, i).save(tmp_path / f"{i}.png")

    class Breaking(Darker):
        def translate(self, content, style=None):
            if len(self.shapes) == 2:
                raise torch.OutOfMemoryError("3 GB")
            return super().translate(content, style)

    with pytest.raises(UserError, match=r"2\.png: not enough memory for it; try a smaller --side"):
        translate(Breaking(), tmp_path, tmp_path / "out")
    there = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert there == [".made_by.csv", "0.png", "1.png", "times.csv"]
    assert len((tmp_path / "out" / "times.csv").read_text().splitlines()) == 3


def test_names_keep_folders_and_never_collide(tmp_path):
    for name in ("a.jpg", "a.png", "b.jpg", "deep/b.jpg", "v1.2.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = pairs.output_names(tmp_path)
    assert {str(k.relative_to(tmp_path)): str(v) for k, v in names.items()} == {
        "a.jpg": "a.jpg.png",
        "a.png": "a.png.png",
        "b.jpg": "b.png",
        "deep/b.jpg": "deep/b.png",
        "v1.2.tif": "v1.2.png",
    }


def test_names_that_would_still_collide_are_refused(tmp_path):
    for name in ("a.jpg", "a.png", "a.jpg.png"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"2 images would become a\.jpg\.png"):
        pairs.output_names(tmp_path)


def test_a_name_that_is_no_utf_8_is_kept(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    noise(24, 24).save(tmp_path / name)
    translate(Darker(), tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / name).exists()
    assert b"caf\xe9.png,24,24" in (tmp_path / "out" / "times.csv").read_bytes()


def test_one_unreadable_image_costs_only_itself(tmp_path):
    noise(24, 24).save(tmp_path / "good.png")
    (tmp_path / "bad.png").touch()
    out = tmp_path / "out"
    (bad,) = translate(Darker(), tmp_path, out)
    assert "bad.png: not an image" in str(bad)
    assert sorted(path.name for path in out.iterdir()) == [".made_by.csv", "good.png", "times.csv"]


def test_a_run_translates_a_folder_both_ways(train, gan_style, toy):
    train(domain=toy, images=2, run_dir="run")
    for direction, side in (("a2b", "A"), ("b2a", "B")):
        content = toy / f"test{side}"
        said = gan_style("translate", run="run", direction=direction, content=content)
        assert f"3 images, cyclegan, {direction}, raw weights, cpu" in said
        out = Path("run/translated") / content.name / direction
        names = {path.name for path in content.iterdir()}
        assert {path.name for path in out.glob("*.png")} == names
        assert load_image(next(out.glob("*.png"))).size == (32, 32)


def test_raw_and_averaged_weights_and_directions_are_different_networks(train, gan_style, toy):
    train(domain=toy, images=4, ema=0.9, learning_rate=0.01, run_dir="run")
    image = next((toy / "testA").iterdir())
    results = []
    for i, options in enumerate([{}, {"weights": "ema"}, {"direction": "b2a"}]):
        gan_style("translate", run="run", content=image, out=f"out{i}", **options)
        results.append(to_array(load_image(Path(f"out{i}") / image.name)))
    assert (results[0] != results[1]).any()
    assert (results[0] != results[2]).any()


def made_anew(folder):
    """Which images of a folder a function makes again, by their times."""
    paths = sorted(Path(folder).rglob("*.png"))
    before = {path: path.stat().st_mtime_ns for path in paths}
    return lambda: [path.name for path in paths if path.stat().st_mtime_ns != before[path]]


@pytest.mark.slow
def test_resume_keeps_only_what_the_same_made_of_the_same(train, gan_style, toy):
    train(domain=toy, images=4, ema=0.9, learning_rate=0.01, run_dir="run")
    shutil.copytree(toy / "testA", "photos/here")
    names = sorted(path.name for path in Path("photos/here").iterdir())
    options = {"run": "run", "content": "photos/here", "out": "out", "precision": "fp32"}
    gan_style("translate", **options)
    anew = made_anew("out")
    said = gan_style("translate", resume=True, **options)
    assert "3 of 3 are in out" in said
    assert "made again" not in said
    # Wherever the contents and the run lie, they are the same.
    shutil.move("photos", "moved")
    shutil.copytree("run", "elsewhere")
    options |= {"content": Path("moved/here").absolute(), "run": "elsewhere/"}
    gan_style("translate", resume=True, **options)
    assert anew() == []
    # One content has other pixels: only its image is made again.
    Image.new("RGB", (32, 32)).save(Path("moved/here", names[1]))
    said = gan_style("translate", resume=True, **options)
    assert "1 of them were there, made by or of something else: made again" in said
    assert anew() == [names[1]]
    for changed in ({"weights": "ema"}, {"direction": "b2a"}, {"side": 16}):
        anew = made_anew("out")
        said = gan_style("translate", resume=True, **options | changed)
        assert "3 of them were there, made by or of something else: made again" in said
        assert anew() == names
        gan_style("translate", resume=True, **options)
    fresh = options | {"out": "fresh"}
    gan_style("translate", **fresh)
    assert [(Path("out") / n).read_bytes() for n in names] == [
        (Path("fresh") / n).read_bytes() for n in names
    ]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("alone", [False, True])
def test_whatever_changes_what_is_written_makes_it_again(tmp_path, suffix, alone):
    image = noise(32, 24)
    image.putalpha(128)
    image.save(tmp_path / "x.png")
    jobs = [translation.Job(content=tmp_path / "x.png", name=Path(f"x.{suffix}"))]
    out = tmp_path / "out"

    def again(options, weights, **how):
        how = translation.How(device=torch.device("cpu"), resume=True, alone=alone, **how)
        return translation.translate_files(Darker(), jobs, out, how, options, weights).again

    again({}, {})
    for changed in (
        {"background": "black"}, {"side": 16}, {"colour": "luma"}, {"precision": "bf16"},
        {"options": {"alpha": 0.5}}, {"weights": {"gen_ab": "1"}},
    ):  # fmt: skip
        options = {"options": {}, "weights": {}} | changed
        assert (again(**options), again(**options)) == (1, 0), changed
    assert again({}, {}, batch_size=2, save_every=1) == 1
    assert again({}, {}) == 0  # neither changes what is written


@pytest.mark.slow
def test_other_weights_under_the_same_name_are_noticed(train, gan_style, toy):
    options = {"run": "run", "content": toy / "testA", "out": "out"}
    train(domain=toy, images=2, run_dir="run")
    gan_style("translate", **options)
    anew = made_anew("out")
    # A run that is gone on with and trains nothing has a longer record, but the same weights.
    file = Path("run/gen_ab.safetensors").read_bytes()
    train(domain=toy, images=2, run_dir="run", resume="auto")
    assert Path("run/gen_ab.safetensors").read_bytes() != file
    gan_style("translate", resume=True, **options)
    assert anew() == []
    train(domain=toy, images=4, run_dir="run", resume="auto")
    gan_style("translate", resume=True, **options)
    assert len(anew()) == 3


def test_images_of_unknown_making_are_neither_kept_nor_replaced_unasked(
    train, gan_style, toy, refusal
):
    train(domain=toy, images=1, run_dir="run")
    options = {"run": "run", "content": toy / "testA", "out": "out"}
    name = min(path.name for path in (toy / "testA").iterdir())
    Path("out").mkdir()
    noise(8, 8).save(Path("out", name))
    before = Path("out", name).read_bytes()
    line = refusal(gan_style, "translate", resume=True, **options)
    assert (
        f"out holds 1 of these images of which nothing says what made them, such as {name}" in line
    )
    assert "--overwrite makes them again" in line
    assert Path("out", name).read_bytes() == before
    gan_style("translate", resume=True, overwrite=True, **options)
    assert Path("out", name).read_bytes() != before
    assert len(list(Path("out").glob("*.png"))) == 3


def test_an_image_whose_making_was_cut_off_is_made_again(train, gan_style, toy, monkeypatch):
    train(domain=toy, images=1, run_dir="run")
    options = {"run": "run", "content": toy / "testA", "out": "out"}
    save, saved = translation.save_image, []

    def dies_after_the_second(array, path, *how):
        save(array, path, *how)
        saved.append(path)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(translation, "save_image", dies_after_the_second)
        with pytest.raises(SystemExit):
            gan_style("translate", **options)
    with Path("out/.made_by.csv").open("a") as file:
        file.write("cut off")  # and half a row
    anew = made_anew("out")
    gan_style("translate", resume=True, **options)
    assert anew() == [saved[1].name]
    assert len(list(Path("out").glob("*.png"))) == 3


def test_too_little_memory_is_met_as_advised(train, gan_style, toy, refusal, monkeypatch):
    noise(64, 64).save(toy / "testA" / "z.png")
    train(domain=toy, images=1, run_dir="run")
    options = {"run": "run", "content": toy / "testA", "out": "out"}
    translate_arrays = translation.translate_arrays

    def small_ones(method, arrays, *how):
        if arrays[0].size > 32 * 32 * 3:
            raise torch.OutOfMemoryError("3 GB")
        return translate_arrays(method, arrays, *how)

    monkeypatch.setattr(translation, "translate_arrays", small_ones)
    line = refusal(gan_style, "translate", **options)
    assert "try a smaller --side (together with --resume, as 3 of the images are written)" in line
    said = gan_style("translate", side=32, resume=True, **options)
    assert "4 of 4 are in out" in said
    assert "3 of them were there, made by or of something else: made again" in said


def test_times_of_other_commands_stay(tmp_path):
    for folder, names in (("one", ("1", "2")), ("other", ("2", "3"))):
        (tmp_path / folder).mkdir()
        for name in names:
            noise(24, 24).save(tmp_path / folder / f"{name}.png")
        translate(Darker(), tmp_path / folder, tmp_path / "out")
        if folder == "one":
            before = (tmp_path / "out/times.csv").read_bytes()
    after = (tmp_path / "out/times.csv").read_bytes()
    assert after.startswith(before)
    rows = [line.split(",")[0] for line in after.decode().splitlines()]
    assert rows == ["name", "1.png", "2.png", "2.png", "3.png"]


def test_weights_and_contents_have_folders_of_their_own(train, gan_style, toy):
    train(domain=toy, images=2, ema=0.9, run_dir="run")
    gan_style("translate", run="run", content=toy / "testA")
    gan_style("translate", run="run", content=toy / "testA", weights="ema")
    gan_style("translate", run="run", content=f"{toy}/testB/", direction="b2a")
    gan_style("translate", run="run", content=next((toy / "trainA").iterdir()))
    made = {str(path.parent) for path in Path("run/translated").rglob("times.csv")}
    assert made == {
        f"run/translated/{name}"
        for name in ("testA/a2b", "testA/a2b-ema", "testB/b2a", "trainA/a2b")
    }


def test_folders_of_contents_of_one_name_are_never_mixed(train, gan_style, toy, refusal):
    train(domain=toy, images=1, run_dir="run")
    own, out = toy / "testA", Path("run/translated/testA/a2b")
    gan_style("translate", run="run", content=own)
    noise(32, 32).save(own / "new.png")  # it may grow, be given in part, or be called otherwise
    Path("linked").symlink_to(toy.absolute())
    gan_style("translate", run="run", content="linked/testA", resume=True)
    gan_style("translate", run="run", content=own / "new.png", overwrite=True)
    before = sorted(path.name for path in out.iterdir())
    assert before == [".made_by.csv", *sorted(path.name for path in own.iterdir()), "times.csv"]
    other = Path("other/testA")
    other.mkdir(parents=True)
    noise(32, 32).save(other / "different.png")
    for how in ({}, {"resume": True}, {"overwrite": True}):
        line = refusal(gan_style, "translate", run="run", content=other, **how)
        assert f"{out} has the images made of {own.resolve()}, not of {other.absolute()}" in line
        assert sorted(path.name for path in out.iterdir()) == before
    gan_style("translate", run="run", content=other, out="elsewhere")
    gan_style("translate", run="run", content=other, out=out)  # asked for
    shutil.move(own, "moved")
    shutil.copytree("moved", "here/testA")
    gan_style("translate", run="run", content="here/testA", resume=True)
    assert len(list(out.glob("*.png"))) == len(before) - 2 + 1


def test_the_files_of_one_direction_are_enough(train, gan_style, toy):
    train(domain=toy, images=2, run_dir="run")
    alone = Path("alone")
    alone.mkdir()
    for name in ("config.json", "gen_ab.safetensors"):
        (alone / name).write_bytes((Path("run") / name).read_bytes())
    gan_style("translate", run=alone, content=toy / "testA")
    assert len(list((alone / "translated" / "testA" / "a2b").glob("*.png"))) == 3


def test_a_grid_shows_contents_beside_translations(train, gan_style, toy):
    train(domain=toy, images=1, run_dir="run")
    gan_style("translate", run="run", content=toy / "testA", out="translated")
    said = gan_style(
        "grid", content=toy / "testA", translated="translated", out="grid.png", cell=64
    )
    assert "3 contents" in said
    assert load_image(Path("grid.png")).size == (2 * 68 + 4, 22 + 3 * 68 + 4)
    gan_style(
        "grid", content=toy / "testA", translated="translated", out="wide.jpg", cell=64, per_row=2
    )
    assert load_image(Path("wide.jpg")).size == (4 * 68 + 4, 22 + 2 * 68 + 4)


def test_what_is_transparent_in_a_content_stays_so(tmp_path):
    image = noise(30, 40)
    alpha = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 30), dtype=np.uint8))
    image.putalpha(alpha)
    image.save(tmp_path / "x.png", dpi=(240, 240))
    for suffix in ("png", "webp", "tiff"):
        jobs = [translation.Job(content=tmp_path / "x.png", name=Path(f"x.{suffix}"))]
        how = translation.How(device=torch.device("cpu"))
        translation.translate_files(Darker(), jobs, tmp_path / "out", how, {})
        with Image.open(tmp_path / "out" / f"x.{suffix}") as made:
            assert (np.asarray(made.getchannel("A")) == np.asarray(alpha)).all()
            if suffix != "webp":
                assert made.info["dpi"] == pytest.approx((240, 240), abs=0.01)
                expected = to_array(load_image(tmp_path / "x.png")).astype(int) - 10
                assert (np.asarray(made.convert("RGB")) == expected.clip(0)).all()


def test_transparency_is_scaled_with_its_content(tmp_path):
    image = noise(60, 40)
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, 30:] = 255
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "x.png")
    translate(Darker(), tmp_path / "x.png", tmp_path / "out", side=30)
    with Image.open(tmp_path / "out" / "x.png") as made:
        assert made.size == (30, 20)
        assert np.asarray(made.getchannel("A"))[0, [0, 5, 25, 29]].tolist() == [0, 0, 255, 255]


def test_opaque_contents_have_no_alpha(tmp_path):
    noise(24, 24).convert("RGBA").save(tmp_path / "x.png")
    translate(Darker(), tmp_path / "x.png", tmp_path / "out")
    with Image.open(tmp_path / "out" / "x.png") as made:
        assert made.mode == "RGB"


def test_a_translated_run_is_written_in_the_format_and_found_again(train, gan_style, toy):
    train(domain=toy, images=1, run_dir="run")
    options = {"run": "run", "content": toy / "testA", "out": "made"}
    gan_style("translate", **options, format="jpg")
    assert {path.suffix for path in Path("made").iterdir()} == {".jpg", ".csv"}
    said = gan_style("grid", content=toy / "testA", translated="made", out="grid.webp", cell=64)
    assert "3 contents" in said
    with Image.open("grid.webp") as made:
        assert made.format == "WEBP"
    before = {path: path.stat().st_mtime_ns for path in Path("made").glob("*.jpg")}
    gan_style("translate", **options, format="jpg", resume=True)
    assert {path: path.stat().st_mtime_ns for path in Path("made").glob("*.jpg")} == before


def test_a_kind_that_cannot_hold_a_size_is_refused_before_anything_starts(tmp_path):
    Image.new("RGB", (16_384, 2)).save(tmp_path / "wide.png")
    jobs = [translation.Job(content=tmp_path / "wide.png", name=Path("wide.webp"))]
    how = translation.How(device=torch.device("cpu"))
    with pytest.raises(UserError, match=r"16384x2 pixels, but a WEBP can't have sides above 16383"):
        translation.check_sizes(Darker(), jobs, how)
