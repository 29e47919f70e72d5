"""A run is tied to its images and weights, not to how folders were typed or where they lie."""

import json
import re
import shlex
import shutil
import tarfile
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from PIL import Image
from test_training import same, weights

from gan_style import checkpoint, load, runs
from gan_style.checkpoint import load_state
from gan_style.config import PARTS
from gan_style.data import stream as data
from gan_style.data.stream import domain_from_folder, domain_from_lists, domain_from_two_folders
from gan_style.methods import cyclegan


@pytest.fixture
def loose(toy):
    """Two loose folders: the toy domain's images, with some at a depth."""
    shutil.copytree(toy / "trainA", "photos/deep")
    shutil.copytree(toy / "trainB", "paintings")
    return {"data_a": "photos", "data_b": "paintings", "test_share": 0.34}


def record(run):
    return json.loads(Path(run, "config.json").read_text(encoding="utf-8"))


def first(folder) -> Path:
    return min(Path(folder).rglob("*.png"))


def other_pixels(path):
    Image.new("RGB", (32, 32), "red").save(path)


def as_before(run):
    """Make the checkpoints of a run what they were before they knew contents."""
    for path in Path(run).glob("checkpoints/*/state.safetensors"):
        state = checkpoint.load_state(path)
        state["images"] = [image.split(" ", 1)[1] for image in state.pop("identity")]
        checkpoint.save_state(state, path)


@pytest.mark.slow
def test_another_spelling_of_a_domain_goes_on(train, toy, monkeypatch):
    train(domain="toy", images=1)
    said = "going on after 1 images"
    assert said in train(domain="toy/", images=1, resume="auto")
    assert said in train(domain=toy.absolute(), images=1, resume="auto")
    assert said in train(domain="./toy/../toy", images=1, resume="auto")
    assert said in train(domain="toy", data_root=toy.parent, images=1, resume="auto")
    Path("elsewhere").mkdir()
    shutil.move("toy", "elsewhere/toy")
    assert said in train(domain="elsewhere/toy", images=1, resume="auto")
    Path("linked").symlink_to("elsewhere/toy")
    run = "results/toy/cyclegan/0001"
    assert said in train(domain="linked", run_dir=run, images=1, resume="auto")
    assert said in train(domain="linked", images=1, resume="auto")  # as it leads to one called toy
    assert not Path("results/toy/cyclegan/0002").exists()


@pytest.mark.slow
def test_a_moved_run_goes_on_as_the_undisturbed_one(train, toy):
    options = {"schedule": "constant"}
    train(domain="toy", images=6, run_dir="whole", **options)
    train(domain="toy", images=3, run_dir="parts", **options)
    shutil.move("toy", "renamed")
    train(domain=Path("renamed").absolute(), images=6, run_dir="parts", resume="auto", **options)
    assert same(weights("whole"), weights("parts"))


@pytest.mark.parametrize("part", ["trainA", "trainB"])
def test_the_same_name_with_other_pixels_is_not_the_same(train, toy, refusal, part):
    train(domain=toy, images=1, run_dir="run")
    changed = first(toy / part)
    other_pixels(changed)
    line = refusal(train, domain=toy, images=2, run_dir="run", resume="auto")
    assert "the training images are no longer those of run/checkpoints/000000001" in line
    assert "(12 then, 12 now): 1 have other content than then" in line
    assert f" {part}/{changed.name}; put them back" in line


def test_a_run_of_before_is_known_by_its_names(train, toy, refusal):
    train(domain=toy, images=1, run_dir="run")
    as_before("run")
    options = {"domain": f"{toy}/", "run_dir": "run", "resume": "auto"}
    other_pixels(first(toy / "trainA"))
    assert "going on after 1 images" in train(images=1, **options)
    first(toy / "trainA").rename(toy / "trainA" / "other.png")
    assert "2 are new or gone" in refusal(train, images=3, **options)


@pytest.mark.slow
def test_loose_folders_go_on_however_they_are_typed_and_wherever_they_lie(train, loose):
    train(images=2, **loose)
    run, said = "results/photos2paintings/cyclegan/0001", "going on after 2 images"
    lists = {path.name: path.read_text() for path in Path(run).glob("*.txt")}
    assert lists["trainA.txt"].startswith("deep/")
    assert said in train(images=2, resume="auto", **loose | {"data_a": "photos/"})
    assert said in train(images=2, resume="auto", **loose | {"data_b": Path("paintings").resolve()})
    Path("new").mkdir()
    shutil.move("photos", "new/photos")
    assert said in train(images=2, resume="auto", **loose | {"data_a": "new/photos"})
    assert said in train(images=2, run_dir=run, resume="auto")  # it knows where they are now
    assert {path.name: path.read_text() for path in Path(run).glob("*.txt")} == lists


def test_lists_of_whole_paths_as_runs_had_them_lead_to_a_moved_folder(loose):
    domain = domain_from_two_folders(Path("photos"), Path("paintings"), 0.34, 0)
    for part in ("trainA", "trainB", "testA", "testB"):
        lines = "".join(f"{path.absolute()}\n" for path in getattr(domain, part))
        Path(f"{part}.txt").write_text(lines)
    roots = {"a": Path("photos"), "b": Path("paintings")}
    assert domain_from_lists(domain.name, Path(), roots) == domain
    shutil.move("photos", "moved")
    roots["a"] = Path("moved")
    found = domain_from_lists(domain.name, Path(), roots)
    assert [str(path) for path in found.trainA] == [
        str(path).replace("photos", "moved") for path in domain.trainA
    ]
    assert found.names("trainA") == domain.names("trainA")


def test_a_split_is_kept_when_images_come_to_its_folder(train, loose):
    train(images=2, run_dir="run", **loose)
    other_pixels("photos/new.png")
    said = train(images=2, run_dir="run", resume="auto")
    assert "4 A and 4 B to train, 2 and 2 to test" in said
    assert "going on after 2 images" in said


# Names with accents, which one system stores as one character and another as two


def accented(folder):
    """Have names whose order depends on the accent: as one character é is after z, else before."""
    files = sorted(Path(folder).rglob("*.png"))[:3]
    for path, name in zip(files, ("e.png", "é.png", "z.png"), strict=True):
        path.rename(path.with_name(unicodedata.normalize("NFC", name)))


def decompose(folder):
    for path in [*Path(folder).rglob("*.png")]:
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))


@pytest.mark.parametrize("seed", range(4))
def test_lists_find_files_whose_accents_are_stored_otherwise(loose, seed):
    accented("photos")
    domain = domain_from_two_folders(Path("photos"), Path("paintings"), 0.34, seed)
    domain.write(Path())
    decompose("photos")
    roots = {"a": Path("photos"), "b": Path("paintings")}
    found = domain_from_lists(domain.name, Path(), roots)
    assert all(path.is_file() for part in PARTS for path in getattr(found, part))
    for part in PARTS:
        names = [unicodedata.normalize("NFC", name) for name in found.names(part)]
        assert names == domain.names(part)
    again = domain_from_two_folders(Path("photos"), Path("paintings"), 0.34, seed)
    assert again == replace(found, name=again.name)  # the same split too


@pytest.mark.parametrize("before", [False, True], ids=["contents", "names"])
def test_a_domain_whose_accents_are_stored_otherwise_goes_on(train, toy, before):
    accented(toy / "trainA")
    train(domain=toy, images=1, run_dir="run")
    if before:
        as_before("run")
    names = domain_from_folder(toy).names("trainA")
    decompose(toy / "trainA")
    now = domain_from_folder(toy).names("trainA")
    assert now != names == [unicodedata.normalize("NFC", name) for name in now]
    said = train(domain=toy, images=2, run_dir="run", resume="auto")
    assert "going on after 1 images" in said


@pytest.mark.slow
def test_a_run_goes_on_in_the_order_that_its_images_had(train, toy, monkeypatch):
    accented(toy / "trainA")
    decompose(toy / "trainA")
    options = {"domain": toy, "schedule": "constant"}
    with monkeypatch.context() as patch:  # a run of before: names in the order of their code points
        patch.setattr(data, "_in_order", sorted)
        train(images=6, run_dir="whole", **options)
        train(images=3, run_dir="parts", **options)
    train(images=6, run_dir="parts", resume="auto", **options)
    assert same(weights("whole"), weights("parts"))


# A new run from the weights of another


def test_a_new_run_begins_with_the_weights_of_another(train_alone, train, toy):
    train(domain=toy, images=3, run_dir="old", lambda_cycle=7.0)
    shutil.copytree(toy, "more")
    other_pixels("more/trainA/new.png")
    said = train_alone(start_from="old/", domain="more", images=1, learning_rate=1e-30)
    assert f"begun with the weights of {Path('old').absolute()}, trained on 3 images" in said
    new = Path("results/more/cyclegan/0001")
    for name, theirs in weights("old").items():  # but for rounding: a rate of nearly 0
        if "ema" not in name:
            for key, value in weights(new)[name].items():
                assert (value - theirs[key]).abs().max() < 1e-6, (name, key)
    made = record(new)
    assert made["method"] == record("old")["method"] | {"learning_rate": 1e-30}
    assert made["data"]["domain"] == "more"
    assert made["started_from"] == {
        "run": str(Path("old").absolute()),
        "images": 3,
        "weights": made["started_from"]["weights"],
    }
    digests = made["started_from"]["weights"]
    assert digests.keys() == {"gen_ab", "gen_ba", "disc_a", "disc_b"}
    assert len({*digests.values()}) == 4
    assert json.loads((new / "progress.json").read_text())["images"] == 1
    # It is a run like others: it goes on by itself, whatever became of the old one.
    shutil.rmtree("old")
    assert "going on after 1 images" in train_alone(run_dir=new, resume="auto", images=2)
    assert record(new)["started_from"] == made["started_from"]


def test_other_networks_than_the_weights_are_of_are_told(train_alone, train, toy, refusal):
    train(domain=toy, images=1, run_dir="old")
    line = refusal(train_alone, start_from="old", width_generator=8, run_dir="new")
    assert "old/gen_ab.safetensors is of another architecture than these options ask for" in line
    assert not Path("new/config.json").exists()
    line = refusal(train_alone, start_from="old", method="johnson", style="x.png")
    assert "--start_from old is a run of cyclegan, not of johnson" in line
    assert "nowhere is no run folder" in refusal(train_alone, start_from="nowhere")
    Path("old/disc_a.safetensors").unlink()
    line = refusal(train_alone, start_from="old", run_dir="new")
    assert "old/disc_a.safetensors isn't there" in line


@pytest.mark.slow
def test_a_begun_run_without_a_checkpoint_begins_again_with_the_same_weights(
    train_alone, train, toy, refusal
):
    train(domain=toy, images=2, run_dir="old", schedule="constant")
    train_alone(start_from="old", run_dir="whole", images=2)
    train_alone(start_from="old", run_dir="new", images=2)
    shutil.rmtree("new/checkpoints")
    said = train_alone(run_dir="new", resume="auto")
    assert "no checkpoint was there yet" in said
    assert same(weights("new"), weights("whole"))
    shutil.rmtree("new/checkpoints")
    before = Path("old/gen_ab.safetensors").read_bytes()
    train(domain=toy, images=2, run_dir="old", resume="auto", schedule="constant")
    assert Path("old/gen_ab.safetensors").read_bytes() != before  # its record has grown
    assert "no checkpoint was there yet" in train_alone(run_dir="new", resume="auto")
    shutil.rmtree("new/checkpoints")
    train(domain=toy, images=3, run_dir="old", resume="auto", schedule="constant")
    line = refusal(train_alone, run_dir="new", resume="auto")
    assert "old has other weights now than new began with" in line


# What a message advises works in the very state that it is about


def advised(line, *names):
    """The options that a message gives after 'with: ', as of a command line."""
    words = shlex.split(re.search(r"with: (--.*)", line)[1])
    found, key = {}, ""
    for word in words:
        if word.startswith("--"):
            key = word.removeprefix("--")
            found[key] = "True"
        else:
            found[key] = word
    assert sorted(found) == sorted(names)
    return found


def poisoned(monkeypatch, number):
    losses, steps = cyclegan.Method.losses, iter(range(1, 999))

    def broken(self, batch):
        bad = next(steps) == number
        for player, terms in losses(self, batch):
            if bad:
                terms["cycle_a" if player == "generator" else "fake_b"] *= float("nan")
            yield player, terms

    monkeypatch.setattr(cyclegan.Method, "losses", broken)


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.slow
def test_after_a_nan_the_advised_command_trains_on(
    train, train_alone, toy, monkeypatch, capsys, saved
):
    poisoned(monkeypatch, 4)
    options = {"domain": toy, "images": 6, "log_every": 1, "run_dir": "run"}
    with pytest.raises(SystemExit) as error:
        train(checkpoint_minutes=0 if saved else 10, **options)
    assert error.value.code == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    if saved:
        options = advised(line, "start_from", "learning_rate")
        assert float(options["learning_rate"]) == 1e-4
        said = train_alone(**options)
        assert "run, trained on 3 images" in said
    else:
        assert "there is no checkpoint yet; start a new run with a lower --learning_rate" in line
        assert "(leave --resume and --run_dir out)" in line
        said = train(domain=toy, images=6, learning_rate=1e-4)
    assert "finished after 6 images: weights in results/toy/cyclegan/0001" in said


@pytest.mark.parametrize("change", ["new", "pixels", "gone", "broken"])
@pytest.mark.slow
def test_on_other_images_the_advised_command_trains_on(train, train_alone, toy, refusal, change):
    train(domain=toy, images=2, run_dir="run")
    path = first(toy / "trainA")
    if change == "new":
        other_pixels(toy / "trainA" / "new.png")
    elif change == "pixels":
        other_pixels(path)
    elif change == "gone":
        path.unlink()
    else:
        path.write_bytes(b"no image")
    line = refusal(train, domain=toy, images=4, run_dir="run", resume="auto")
    broken = ["skip_bad_images"] * (change == "broken")
    options = advised(re.sub(r"\): /.*", "", line), "start_from", *broken)
    assert "finished after 2 images: weights in results/toy/" in train_alone(**options)


def test_bad_images_of_a_new_run_are_left_out_as_advised_and_stay_so(train, toy, refusal):
    (toy / "trainA" / "bad.png").write_bytes(b"no image")
    line = refusal(train, domain=toy, images=1, run_dir="run")
    assert "(leave them out with --skip_bad_images)" in line
    train(domain=toy, images=1, run_dir="run", skip_bad_images=True)
    options = {"domain": toy, "run_dir": "run", "resume": "auto"}
    assert "going on after 1 images" in train(images=1, **options)
    (toy / "trainA" / "bad.png").unlink()  # the images that it is of are all there
    assert "going on after 1 images" in train(images=1, skip_bad_images=False, **options)


def test_bad_test_images_can_be_left_out_when_going_on(train, toy, refusal):
    train(domain=toy, images=1, run_dir="run")
    first(toy / "testA").write_bytes(b"no image")
    options = {"domain": toy, "images": 1, "run_dir": "run", "resume": "auto"}
    assert "--skip_bad_images" in refusal(train, **options)
    assert "going on after 1 images" in train(skip_bad_images=True, **options)


@pytest.mark.slow
def test_other_options_start_a_new_run_as_advised(train, train_alone, toy, refusal):
    train(domain=toy, images=1, run_dir="run")
    changed = {"domain": toy, "images": 1, "lambda_cycle": 5.0, "width_generator": 8}
    line = refusal(train, run_dir="run", resume="auto", **changed)
    assert "go back to them to go on with it, or leave --resume and --run_dir out" in line
    assert "(--start_from run begins it with these weights)" in line
    train(domain=toy, images=1, run_dir="run", resume="auto")
    assert "results/toy/cyclegan/0001" in train(**changed)
    del changed["width_generator"]
    assert "results/toy/cyclegan/0002" in train_alone(start_from="run", **changed)


@pytest.mark.slow
def test_without_a_sound_checkpoint_the_advised_command_trains_on(train, train_alone, toy, refusal):
    train(domain=toy, images=2, run_dir="run")
    for path in Path("run/checkpoints").rglob("state.safetensors"):
        path.write_bytes(b"")
    line = refusal(train, domain=toy, images=4, run_dir="run", resume="auto")
    assert "finished after 2 images" in train_alone(**advised(line, "start_from"))


def test_without_weights_nothing_begins_with_them(train, toy, refusal):
    train(domain=toy, images=1, run_dir="run")
    shutil.rmtree("run/checkpoints")  # as of a run that was ended before its first
    for path in Path("run").glob("*.safetensors"):
        path.unlink()
    first(toy / "trainA").write_bytes(b"no image")
    options = {"domain": toy, "images": 2, "run_dir": "run", "resume": "auto"}
    line = refusal(train, lambda_cycle=5.0, **options)
    assert line.endswith("or leave --resume and --run_dir out to start a new run")
    line = refusal(train, **options)
    assert "(leave them out with --skip_bad_images)" in line
    assert "--start_from" not in line
    assert "finished after 2 images" in train(skip_bad_images=True, **options)


@pytest.mark.slow
def test_what_is_advised_about_a_folder_with_a_blank_can_be_typed(
    train, train_alone, toy, refusal, monkeypatch, capsys, signal_in_step
):
    run = "sp ace/r"
    options = {"domain": toy, "images": 6, "run_dir": run, "log_every": 1}
    with monkeypatch.context() as patch:
        patch.setattr(cyclegan.Method, "losses", cyclegan.Method.losses)
        signal_in_step(cyclegan, 2)
        with pytest.raises(SystemExit):
            train(**options)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    resume = advised(line, "run_dir", "resume")
    assert resume == {"run_dir": run, "resume": "auto"}
    with monkeypatch.context() as patch:
        poisoned(patch, 1)
        with pytest.raises(SystemExit):
            train_alone(**resume)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert advised(line, "start_from", "learning_rate")["start_from"] == run
    assert "finished after 6 images" in train_alone(**resume)

    line = refusal(train, lambda_cycle=5.0, resume="auto", **options)
    assert shlex.split(re.search(r"\((--.*) begins", line)[1]) == ["--start_from", run]
    kept = first(toy / "trainA").read_bytes()
    first(toy / "trainA").write_bytes(b"no image")
    line = re.sub(r"\): /.*", "", refusal(train_alone, **resume))
    assert advised(line, "start_from", "skip_bad_images")["start_from"] == run
    first(toy / "trainA").write_bytes(kept)
    other_pixels(toy / "trainA" / "new.png")
    assert advised(refusal(train_alone, **resume), "start_from") == {"start_from": run}
    for path in Path(run, "checkpoints").rglob("state.safetensors"):
        path.write_bytes(b"")
    assert advised(refusal(train_alone, **resume), "start_from") == {"start_from": run}


@pytest.mark.slow
def test_a_folder_that_moved_is_given_as_advised(train, train_alone, toy, loose, refusal):
    train(images=1, run_dir="loose", **loose)
    train(domain="toy", images=1, run_dir="run")
    shutil.move("photos", "moved")
    shutil.move("toy", "away")
    line = refusal(train_alone, run_dir="loose", resume="auto")
    assert "loose is of images in photos, which isn't there" in line
    assert "give the folder as it is now as --data_a" in line
    assert "going on after 1" in train_alone(run_dir="loose", resume="auto", data_a="moved")
    line = refusal(train_alone, run_dir="run", resume="auto")
    assert "run is of --domain 'toy', which isn't there" in line
    assert "going on after 1" in train_alone(run_dir="run", resume="auto", domain="away")


@pytest.mark.slow
def test_a_run_begun_from_one_whose_images_moved_is_told_so(
    train, train_alone, toy, loose, refusal, monkeypatch
):
    train(images=1, run_dir="loose", **loose)
    train(domain="toy", images=1, run_dir="run")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    line = refusal(train_alone, start_from="../loose")
    assert "../loose is of images in photos, which isn't there: give the folder as it is" in line
    assert line.endswith("now as --data_a")
    said = train_alone(start_from="../loose", data_a="../photos", data_b="../paintings")
    assert "finished after 1 images" in said
    line = refusal(train_alone, start_from="../run")
    assert "../run is of --domain 'toy', which isn't there: give its folder as it is now" in line
    assert "finished after 1 images" in train_alone(start_from="../run", domain="../toy")
    for typed in ({"start_from": "../run"}, {"run_dir": "../run", "resume": "auto"}):
        line = refusal(train_alone, domain="thy", **typed)  # which the run isn't of
        assert "--domain is 'thy', which is no folder and no known name" in line


@pytest.mark.slow
def test_a_used_folder_goes_on_or_another_is_taken_as_advised(train, toy, refusal):
    train(domain=toy, images=1, run_dir="run")
    line = refusal(train, domain=toy, images=1, run_dir="run")
    assert "go on by --resume auto, or give another one" in line
    assert "going on after 1" in train(domain=toy, images=1, run_dir="run", resume="auto")
    assert "finished" in train(domain=toy, images=1, run_dir="other")
    line = refusal(train, domain="elsewhere/toy2", resume="auto", data_root=toy.parent)
    assert "no run in results/toy2/cyclegan yet; leave --resume out to start one" in line
    assert "going on after 1" in train(resume="auto", run_dir="run", images=1, domain=toy)


# The style image of a run


@pytest.fixture
def johnson(train_alone):
    """Train a tiny one."""
    tiny = {
        "method": "johnson", "vgg": "random", "width_generator": 4, "content_side": "a",
        "size": 16, "load_size": 16, "batch_size": 1, "workers": 1, "threads": 1,
        "sample_every": 0,
    }  # fmt: skip
    return lambda **options: train_alone(**(tiny | options))


@pytest.fixture
def painting() -> Path:
    path = Path("paintings/style.png")
    path.parent.mkdir()
    Image.effect_noise((24, 40), 99).convert("RGB").save(path)
    return path


@pytest.mark.slow
def test_a_run_has_the_style_image_that_it_was_trained_with(
    johnson, train_alone, gan_style, toy, painting
):
    whole = {"domain": toy, "style": painting, "images": 4}
    johnson(run_dir="whole", **whole)
    johnson(run_dir="run", **whole | {"images": 2})
    copy = Path("run/styles/style.png")
    before = painting.read_bytes()
    assert copy.read_bytes() == before
    other_pixels(painting)  # another image has its name now: it is not read
    assert "going on after 2 images" in train_alone(run_dir="run", resume="auto", images=3)
    shutil.rmtree("paintings")
    assert "going on after 3 images" in train_alone(run_dir="run", resume="auto", images=4)
    assert same(weights("run"), weights("whole"))
    assert copy.read_bytes() == before
    assert record("run")["method"]["style"] == str(painting)
    assert "3 images, johnson" in gan_style("translate", run="run", content=toy / "testA")


@pytest.mark.slow
def test_a_run_of_before_reads_the_style_where_its_option_says_and_keeps_it(
    johnson, train_alone, toy, painting, refusal
):
    johnson(domain=toy, style=painting, images=1, run_dir="run")
    shutil.rmtree("run/styles")
    painting.rename("moved.png")
    assert "paintings/style.png" in refusal(train_alone, run_dir="run", resume="auto", images=2)
    Path("moved.png").rename(painting)
    assert "going on after 1" in train_alone(run_dir="run", resume="auto", images=2)
    painting.unlink()
    assert "going on after 2" in train_alone(run_dir="run", resume="auto", images=3)


@pytest.mark.slow
def test_a_new_run_begins_with_the_style_image_of_the_old_one(johnson, train_alone, toy, painting):
    johnson(domain=toy, style=painting, images=1, run_dir="old")
    before = painting.read_bytes()
    shutil.rmtree("paintings")
    train_alone(start_from="old", run_dir="new", images=1)
    assert record("new")["method"]["style"] == "old/styles/style.png"
    shutil.rmtree("old")
    assert "going on after 1 images" in train_alone(run_dir="new", resume="auto", images=2)
    assert Path("new/styles/style.png").read_bytes() == before
    Image.effect_noise((30, 30), 20).convert("RGB").save("other.png")
    train_alone(start_from="new", style="other.png", run_dir="other", images=1)
    assert [path.name for path in Path("other/styles").iterdir()] == ["other.png"]


def test_a_style_image_is_found_in_the_run_then_where_it_was(painting):
    run, of = Path("run"), {"method": {"style": str(painting)}}
    assert runs.style_image(run, of) == painting
    runs.keep_style(run, str(painting))
    assert runs.style_image(run, of) == Path("run/styles/style.png")
    painting.unlink()
    assert runs.style_image(run, of) == Path("run/styles/style.png")
    shutil.rmtree("run/styles")
    assert runs.style_image(run, of) is None


@pytest.mark.parametrize("style", [None, "", 3, ["a"], ".", "..", "/", "x" * 5000, "a\0b"])
def test_a_run_may_say_anything_of_its_style(style):
    Path("run/styles").mkdir(parents=True)
    assert runs.style_image(Path("run"), {"method": {"style": style}}) is None
    assert runs.style_image(Path("run"), {"method": {}}) is None


def test_what_a_start_that_was_ended_left_is_not_taken_for_the_style(painting):
    left = Path("run/styles")
    left.mkdir(parents=True)
    other_pixels(left / "style.png")  # of another file of the same name
    (left / ".partial-1-style.png").touch()
    runs.keep_style(Path("run"), str(painting))
    runs.tidy(Path("run"))
    assert {path.name for path in left.iterdir()} == {"style.png"}
    assert (left / "style.png").read_bytes() == painting.read_bytes()


# A run that was made before modules moved: CycleGAN of version 0.1.0, at the commit ab944e0, by
# train.py --domain toy --images 2 --size 24 --generator resnet_6 --width_generator 1
# --width_discriminator 1 --pool_size 2 --ema 0 ... of
# `synth.make("toy", size=32, train=6, test=3)`.


@pytest.fixture
def run_of_before(tmp_path):
    with tarfile.open(ROOT / "tests" / "data" / "run_of_before.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "run"


def test_a_run_of_before_goes_on_from_its_checkpoint(run_of_before, train_alone, toy):
    first = weights(run_of_before)
    said = train_alone(run_dir=run_of_before, domain=toy, resume="auto", images=4)
    assert "going on after 2 images" in said
    assert "finished after 4 images" in said
    assert weights(run_of_before).keys() == first.keys()
    assert not same(weights(run_of_before), first)


def test_a_run_of_before_translates_and_is_begun_from(run_of_before, train_alone, toy):
    state = load_state(run_of_before / "checkpoints" / "000000002" / "state.safetensors")
    ways = {"a2b": "gen_ab", "b2a": "gen_ba"}
    for direction, name in ways.items():
        net = getattr(load(run_of_before, direction=direction).method, name)
        kept = state["nets"][name]
        assert all(torch.equal(value, kept[key]) for key, value in net.state_dict().items())
    assert "begun with the weights of" in train_alone(
        start_from=run_of_before, domain=toy, images=2, run_dir="new"
    )
