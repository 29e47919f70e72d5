"""A comparison's stages: what is done again and what isn't, and what becomes of what fails."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import TINY
from PIL import Image

from gan_style import comparison, runs
from gan_style.cli.compare import _refusals
from gan_style.errors import ConfigError, DataError, Interrupted
from gan_style.evaluation import measure as evaluation

ROOT = Path(__file__).parents[1]
CHEAP = "ssim,psnr,colour_histogram,sliced_wasserstein,cycle_l1"  # need no weights

HEAD = f"""
domain = "toy"
data_root = "."
pairs = 2
side = 32
size = 32
metrics = "{CHEAP}"
cost_sizes = ""
"""


@pytest.fixture
def calls(monkeypatch):
    """Instead of other processes: copies of the contents; every command is remembered."""
    seen: list[list[str]] = []

    def call(typed):
        words = [word for word in typed if word != sys.executable]
        options = dict(word[2:].split("=", 1) for word in words if "=" in word)
        if "--sizes=" not in words:  # which asks for licences and counts, and times nothing
            seen.append(words)
        if "broken" in options.get("out", ""):
            raise comparison.Failed("it is broken")
        if "translate" in words:
            content, out = Path(options["content"]), Path(options["out"])
            out.mkdir(parents=True, exist_ok=True)
            for path in content.rglob("*.png"):
                Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(out / path.name)
        if "run_dir" in options:
            Path(options["run_dir"]).mkdir(parents=True, exist_ok=True)
            Path(options["run_dir"], "config.json").write_text("{}")
        if "cost" in words:
            found = {"parameters": 7, "licences": ["CC0"], "weights": ["adain"]}
            Path(options["out"]).write_text(json.dumps(found))

    monkeypatch.setattr(comparison, "call", call)
    return seen


@pytest.fixture
def compare(toy, tmp_path, monkeypatch):
    """Compare by a TOML text; what it says goes to the list."""
    monkeypatch.setattr(evaluation, "HALVES", 2)  # quicker

    def run(text, head=HEAD, redo=(), **typed):
        (tmp_path / "compare.toml").write_text(head + text)
        said = []
        what, entries = comparison.read(tmp_path / "compare.toml", typed)
        device = torch.device("cpu")
        folder = comparison.compare(what, entries, "typed", redo, device, said.append)
        record = json.loads((folder / "metrics.json").read_text())
        return record, said

    return run


def stages(calls):
    """What was done, a word each."""
    return [words[2] if words[0] == "-m" else "train" for words in calls]


ADAIN = '[methods.adain]\nmethod = "adain"\n'
GATYS = '[methods.gatys]\nmethod = "gatys"\niterations = 3\n'


def test_a_method_is_translated_and_measured_on_the_pairs(calls, compare):
    record, _ = compare(ADAIN)
    (words,) = calls
    root = "results/toy/compare/pairs"
    expected = {"--method=adain", f"--style={root}/style", f"--pairs={root}/pairs.csv", "--seed=0"}
    assert expected <= set(words)
    row = record["methods"]["adain"]
    assert row["error"] is None
    assert row["paper"]["style"] == "image"
    assert row["settings"]["alpha"] == "1.0"
    assert set(row["values"]) == set(record["metrics"]) == set(CHEAP.split(","))
    assert row["values"]["ssim"]["images"] == 2
    assert len(row["values"]["ssim"]["each"]) == len(record["pairs"]) == 2
    report = Path("results/toy/report")
    for path in row["images"] + [
        pair[side] for pair in record["pairs"] for side in ("content", "style")
    ]:
        assert (report / path).is_file()


def test_styles_come_from_training_and_the_collection_from_test_images(calls, compare):
    record, _ = compare(ADAIN, direction="b2a")
    protocol = record["protocol"]
    folders = [protocol[key] for key in ("content", "style", "collection")]
    assert folders == ["toy/testB", "toy/trainA", "toy/testA"]
    assert protocol["collection_images"] == 3


def test_reference_rows_tell_how_far_there_is_to_go(calls, compare):
    record, _ = compare(ADAIN)
    unchanged, styles = (record["methods"][n] for n in (comparison.UNCHANGED, comparison.STYLES))
    assert unchanged["reference"]
    assert unchanged["values"]["ssim"]["value"] == pytest.approx(1)
    assert styles["values"]["sliced_wasserstein"]["value"] > 0
    assert styles["values"]["ssim"] == {"missing": comparison.POINTLESS}


def test_a_second_comparison_does_nothing_again(calls, compare):
    first, _ = compare(ADAIN)
    calls.clear()
    second, said = compare(ADAIN)
    assert calls == []
    assert said.count("  evaluate: as before") == 3
    assert first == second


def test_adding_a_method_does_only_that_method(calls, compare):
    compare(ADAIN)
    calls.clear()
    record, said = compare(ADAIN + GATYS)
    assert [word for words in calls for word in words if "--method" in word] == ["--method=gatys"]
    assert "--iterations=3" in calls[0]
    assert said.count("  evaluate") == 1
    assert list(record["methods"])[2:] == ["adain", "gatys"]


@pytest.mark.parametrize("change", ["option", "image", "seed", "redo", "precision", "version"])
def test_what_a_stage_reads_makes_it_be_done_again(calls, compare, toy, change, monkeypatch):
    compare(GATYS)
    calls.clear()
    if change == "option":
        compare(GATYS.replace("3", "4"))
    elif change == "image":
        for path in (toy / "testA").iterdir():
            Image.open(path).rotate(90).save(path)
        compare(GATYS)
    elif change == "seed":
        compare(GATYS, seed="1")
    elif change == "redo":
        compare(GATYS, redo=["gatys"])
    elif change == "precision":  # auto comes to something else
        monkeypatch.setattr(comparison, "choose_precision", lambda *_: "fp16")
        compare(GATYS)
    else:
        monkeypatch.setattr("gan_style.__version__", "99")
        compare(GATYS)
    assert stages(calls) == ["translate"]
    assert "--resume" not in calls[0]


def test_weights_of_a_run_are_inputs_too(calls, compare, train, toy):
    train(domain=str(toy), images=1, run_dir="run")
    gan = '[methods.gan]\nrun = "run"\n'
    record, _ = compare(gan)
    assert stages(calls) == ["translate", "translate"]  # there and back
    assert ["--direction=a2b" in calls[0], "--direction=b2a" in calls[1]] == [True, True]
    row = record["methods"]["gan"]
    assert row["values"]["cycle_l1"]["value"] == pytest.approx(0, abs=1e-6)  # flipped twice
    assert row["settings"]["generator"] == "resnet_6"
    assert "doesn't see the style image" in row["notes"][0]
    calls.clear()
    weights = Path("run/gen_ab.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    compare(gan)
    assert stages(calls) == ["translate", "translate"]


def test_a_run_of_one_way_is_compared_without_the_way_back(calls, compare, train_alone, toy):
    train_alone(
        method="quick", sides="one", vgg="random", blocks=1, width_discriminator=4, domain=str(toy),
        judge_scales=1, size=32, load_size=32, images=1, sample_every=0, threads=1, run_dir="run",
    )  # fmt: skip
    record, _ = compare('[methods.quick]\nrun = "run"\n')
    assert ["--direction=a2b" in call for call in calls] == [True]
    missing = record["methods"]["quick"]["values"]["cycle_l1"]["missing"]
    assert "nothing was translated back" in missing


def test_whose_weights_a_number_belongs_to_is_said(tmp_path):
    run = tmp_path
    assert comparison._which(None, "raw", "") == ""
    assert comparison._which(run, "raw", "a2b") == "as trained"
    kid = {"a2b": {"best": 0.1, "best_images": 1000}}
    (run / "progress.json").write_text(json.dumps({"images": 2000, "kid": kid}))
    assert comparison._which(run, "ema", "a2b") == "running average, after 2,000 images"
    assert comparison._which(run, "best", "a2b").endswith("KID is optimistic, after 1,000 images")


@pytest.mark.slow
def test_a_network_of_one_style_is_scored_against_its_own(calls, compare, train_alone, toy):
    style = next((toy / "trainB").iterdir())
    train_alone(
        method="johnson", domain=str(toy), style=style, vgg="random", width_generator=4, size=24,
        images=1, sample_every=0, threads=1, content_side="a", run_dir="run",
    )  # fmt: skip
    record, _ = compare('[methods.fast]\nrun = "run"\n')
    row = record["methods"]["fast"]
    assert f"knows one style, {style}" in row["notes"][0]
    assert not any(word.startswith("--style") for word in calls[0])
    assert len(calls) == 1  # it has no way back
    # The run has a copy.
    style.unlink()
    again, _ = compare('[methods.fast]\nrun = "run"\n', redo=["fast"])
    assert again["methods"]["fast"]["notes"] == row["notes"]
    assert again["methods"]["fast"]["values"] == row["values"]
    # The pair's style images are other ones, and so is their distance.
    shutil.rmtree("run/styles")
    other, _ = compare('[methods.fast]\nrun = "run"\n', redo=["fast"])
    assert "which isn't there" in other["methods"]["fast"]["notes"][0]
    before, now = (
        each["values"]["colour_histogram"]["value"] for each in (row, other["methods"]["fast"])
    )
    assert before != now


def test_a_method_that_fails_is_a_row_with_its_reason(calls, compare):
    record, said = compare(f'[methods.broken]\nmethod = "adain"\n{GATYS}')
    broken = record["methods"]["broken"]
    assert broken["error"] == "it is broken"
    assert broken["images"] == []
    assert broken["values"] == {}
    assert record["methods"]["gatys"]["error"] is None
    assert "  failed: it is broken" in said
    calls.clear()
    compare(f'[methods.broken]\nmethod = "adain"\n{GATYS}')
    assert len(calls) == 1  # and it is tried again, alone


def test_a_run_that_isnt_there_and_an_unknown_method_are_rows(calls, compare):
    record, _ = compare('[methods.a]\nrun = "gone"\n[methods.b]\nmethod = "gatis"\n')
    assert "gone is no run folder" in record["methods"]["a"]["error"]
    assert "did you mean 'gatys'" in record["methods"]["b"]["error"]


def test_pngs_of_another_program_are_a_method(calls, compare, toy):
    record, _ = compare(f'[methods.other]\ntranslated = "{toy}/testA"\n')
    row = record["methods"]["other"]
    assert calls == []
    assert row["paper"] is None
    assert row["values"]["ssim"]["value"] == pytest.approx(1)


def test_a_folder_that_has_gone_meanwhile_is_a_row(calls, compare, toy, monkeypatch):
    shutil.copytree(toy / "testA", "x")

    def go(typed):
        shutil.rmtree("x", ignore_errors=True)
        raise comparison.Failed("it is gone")

    monkeypatch.setattr(comparison, "call", go)
    record, _ = compare(ADAIN + '[methods.none]\ntranslated = "x"')
    assert "no such file or folder" in record["methods"]["none"]["error"]


def test_other_programs_images_are_found_by_their_pattern(calls, compare, tmp_path):
    compare(ADAIN)
    made = tmp_path / "made"
    made.mkdir()
    for path in (tmp_path / "results/toy/compare/pairs/content").iterdir():
        shutil.copy(path, made / f"{path.stem}_fake.png")
        shutil.copy(path, made / f"{path.stem}_real.png")
    text = f'[methods.other]\ntranslated = "{made}"\n'
    record, _ = compare(text + 'pattern = "{stem}_fake"\n')
    row = record["methods"]["other"]
    assert row["error"] is None
    assert row["values"]["ssim"]["value"] == pytest.approx(1)


def test_another_programs_images_are_looked_for_before_anything_runs(calls, compare, toy):
    text = '[methods.a]\ntranslated = "toy/trainA"\npattern = "{stem}_nope"\n'
    text += '[methods.b]\ntranslated = "x"\n[methods.c]\ntranslated = "toy/testA"\n'
    Path("x").mkdir()
    shutil.copy(next((toy / "trainB").iterdir()), "x/stranger.png")
    with pytest.raises(DataError) as refused:
        compare(ADAIN + text)
    first, second = str(refused.value).split("; methods.b: ")
    assert first.startswith("methods.a: none of ")
    assert "in --translated toy/trainA is called as --pattern {stem}_nope says" in first
    assert second.startswith("2 of 2 pairs have no translation called ")
    assert "methods.c" not in second
    assert calls == []
    assert {path.name for path in Path("results/toy/compare").iterdir()} == {"pairs", "stages.json"}


def test_one_image_and_an_empty_folder(calls, compare, toy, refusal, gan_style, tmp_path):
    record, _ = compare(ADAIN, pairs="1")
    assert record["methods"]["adain"]["values"]["ssim"]["images"] == 1
    for path in (toy / "testB").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="toy/testB: no images in this folder"):
        compare(ADAIN)


def spoil(path):
    """Cut the end of an image off."""
    path.write_bytes(path.read_bytes()[:-40])


def test_an_image_that_cant_be_read_is_left_out_of_the_pairs(calls, compare, toy):
    sound, _ = compare(ADAIN)
    bad = toy / "testA" / Path(sound["pairs"][0]["content"]).name
    whole = bad.read_bytes()
    spoil(bad)
    record, said = compare(ADAIN)
    (line,) = (line for line in said if str(bad.name) in line)
    assert line.startswith("1 image that can't be read is left out of the pairs, and others drawn")
    assert said.count("  pairs") == 1
    assert line in record["methods"][comparison.UNCHANGED]["notes"]
    assert record["methods"]["adain"]["error"] is None
    names = [Path(pair["content"]).name for pair in record["pairs"]]
    assert len(names) == 2
    assert bad.name not in names
    again, said = compare(ADAIN)
    assert (again, "  pairs: as before" in said, line in said) == (record, True, True)
    shutil.rmtree("results")
    assert compare(ADAIN)[0]["pairs"] == record["pairs"]
    bad.write_bytes(whole)  # mended
    assert compare(ADAIN)[0]["pairs"] == sound["pairs"]


def test_a_style_that_cant_be_read_is_left_out_too_and_all_together_are_refused(
    calls, compare, toy
):
    first, _ = compare(ADAIN)
    spoil(toy / "trainB" / Path(first["pairs"][0]["style"]).name)
    record, said = compare(ADAIN)
    assert sum("1 image that can't be read" in line for line in said) == 1
    assert record["pairs"][0]["style"] != first["pairs"][0]["style"]
    for path in (toy / "testA").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="--content toy/testA: none of the images") as refused:
        compare(ADAIN)
    (note,) = refused.value.__notes__
    assert note.startswith("4 images that can't be read are left out")


def test_what_isnt_read_and_what_is_read_in_part_is_said_before(calls, compare, toy):
    (toy / "testA" / "film.mp4").touch()
    for path in (*(toy / "testA").glob("*.png"), next((toy / "testB").iterdir())):
        frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
        frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])
        path.unlink()
    for _ in range(2):  # the second time nothing is read
        record, said = compare(ADAIN)
        assert said.count("toy/testA: 1 file is left out, of kinds that aren't read: 1 .mp4") == 1
        (line,) = (line for line in said if "only the first of its frames is read" in line)
        assert line.count("toy/testA/") == 2  # of the pairs
        assert line.count("toy/testB/") == 1  # of the collection
        notes = [note for row in record["methods"].values() for note in row["notes"]]
        assert sum("only the first of its frames" in note for note in notes) == 1


def test_a_training_is_done_once_and_its_run_is_of_its_options(calls, compare, train, toy):
    made = []

    def text(images):
        return f'[methods.gan]\n[methods.gan.train]\nimages = {images}\nprecision = "bf16"\n'

    record, _ = compare(text(1))
    (words,) = calls
    made.append(next(word for word in words if word.startswith("--run_dir")))
    assert {"--images=1", "--domain=toy", "--data_root=."} <= set(words)
    assert "--precision=bf16" in words
    row = record["methods"]["gan"]
    assert row["commands"][0].startswith("python -m gan_style train ")
    assert "isn't the config of a run" in row["error"]  # nothing was trained here
    calls.clear()
    compare(text(1))
    assert calls == []
    compare(text(2))
    made.append(next(word for word in calls[0] if word.startswith("--run_dir")))
    Path("gan.toml").write_text("images = 2")
    calls.clear()
    compare('[methods.gan]\n[methods.gan.train]\nconfig = "gan.toml"\nprecision = "bf16"\n')
    assert calls == []  # what is said counts, not where
    Path("gan.toml").write_text("images = 3")
    compare('[methods.gan]\n[methods.gan.train]\nconfig = "gan.toml"\nprecision = "bf16"\n')
    assert "--config=gan.toml" in calls[0]
    made.append(next(word for word in calls[0] if word.startswith("--run_dir")))
    assert len(set(made)) == 3


def test_an_interrupted_stage_goes_on_where_it_stopped(calls, compare, monkeypatch):
    working = comparison.call

    def interrupted(typed):
        working(typed)
        raise Interrupted("stopped")

    monkeypatch.setattr(comparison, "call", interrupted)
    with pytest.raises(Interrupted):
        compare(ADAIN)
    monkeypatch.setattr(comparison, "call", working)
    calls.clear()
    compare(ADAIN)
    assert "--resume" in calls[0]


def test_costs_are_of_the_methods_own_options(calls, compare):
    text = GATYS + 'colour = "luma"\n'
    record, _ = compare(text, head=HEAD.replace('cost_sizes = ""', 'cost_sizes = "32,64"'))
    translate, cost = calls
    assert "--colour=luma" in translate
    assert "--iterations=3" in cost
    assert "--sizes=32,64" in cost
    assert not any("colour" in word for word in cost)
    assert record["methods"]["gatys"]["cost"] == {"parameters": 7}
    assert record["methods"]["gatys"]["licences"] == ["CC0"]


def test_missing_weights_are_asked_for_again(calls, compare, monkeypatch):
    said_missing = {"ssim": {"missing": f"not computed ({evaluation.WITHOUT}: offline)"}}
    times = []

    def evaluate(*_):
        times.append(1)
        return said_missing

    monkeypatch.setattr(evaluation, "compute", evaluate)
    record, _ = compare(ADAIN, metrics="ssim")
    assert evaluation.WITHOUT in record["methods"]["adain"]["values"]["ssim"]["missing"]
    compare(ADAIN, metrics="ssim")
    assert len(times) == 6  # of two references and a method, twice
    assert len(calls) == 1  # nothing is translated again


@pytest.mark.parametrize("lost", ["translated", "pairs", "metrics.json"])
def test_what_was_removed_is_made_again(calls, compare, lost):
    first, _ = compare(ADAIN)
    calls.clear()
    work = Path("results/toy/compare")
    path = {
        "translated": work / "adain/translated",
        "pairs": work / "pairs",
        "metrics.json": work / comparison.UNCHANGED / "metrics.json",
    }[lost]
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    second, _ = compare(ADAIN)
    assert second == first
    assert len(calls) == (lost == "translated")


def test_a_training_that_was_killed_before_it_saved_starts_again(calls, compare, monkeypatch):
    working = comparison.call

    def killed(typed):
        run = Path(next(word[10:] for word in typed if word.startswith("--run_dir=")))
        assert not run.exists()
        working(typed)
        raise comparison.Failed("ended by SIGKILL")

    monkeypatch.setattr(comparison, "call", killed)
    text = "[methods.gan.train]\nimages = 1\n"
    compare(text)
    calls.clear()
    compare(text)
    assert not any("resume" in word for word in calls[0])
    run = next(Path("results/toy/compare/gan").glob("run-*"))
    (run / "checkpoints" / "000000001").mkdir(parents=True)
    monkeypatch.setattr(comparison, "call", working)
    calls.clear()
    compare(text)
    assert "--resume=auto" in calls[0]


def test_other_training_images_or_another_style_make_another_run(calls, compare, toy):
    style = next((toy / "trainB").iterdir())
    text = f'[methods.fast.train]\nmethod = "johnson"\nstyle = "{style}"\n'
    compare(text)
    for side in ("A", "B"):
        picture = next((toy / f"train{side}").iterdir())
        Image.open(picture).rotate(90).save(picture)
        compare(text)
    folders = {word for words in calls for word in words if word.startswith("--run_dir")}
    assert len(calls) == len(folders) == 3


def test_the_interpreter_is_no_input(calls, compare, monkeypatch):
    compare(ADAIN)
    calls.clear()
    monkeypatch.setattr(comparison, "GAN_STYLE", ("other/python", "-m", "gan_style"))
    compare(ADAIN)
    assert calls == []


def test_another_comparison_in_the_same_folder_is_refused(calls, compare):
    compare(ADAIN)
    with pytest.raises(ConfigError, match="is of the content folder toy/testA, not toy/testB"):
        compare(ADAIN, direction="b2a")
    compare(ADAIN, direction="b2a", name="other")


def test_style_images_that_are_the_collection_are_no_reference(calls, compare):
    record, _ = compare(ADAIN, style="toy/testB")
    assert comparison.STYLES not in record["methods"]
    assert comparison.UNCHANGED in record["methods"]


def test_a_method_that_cant_be_timed_keeps_its_numbers(calls, compare, monkeypatch):
    working = comparison.call

    def call(typed):
        if "cost" in typed:
            raise comparison.Failed("no time")
        working(typed)

    monkeypatch.setattr(comparison, "call", call)
    record, _ = compare(ADAIN, cost_sizes="32, ")
    row = record["methods"]["adain"]
    assert row["error"] is None
    assert "value" in row["values"]["ssim"]
    assert row["notes"] == ["its cost couldn't be measured: no time"]


def test_whatever_goes_wrong_with_a_method_is_its_row(calls, compare, monkeypatch):
    monkeypatch.setattr(comparison, "_settings", lambda *_: {}["launch"])
    record, _ = compare(ADAIN)
    assert record["methods"]["adain"]["error"] == "KeyError: 'launch'"


def test_numbers_of_other_versions_say_so(calls, compare, monkeypatch):
    compare(ADAIN)
    made_by = evaluation.made_by(torch.device("cpu"))
    newer = {**made_by, "libraries": {**made_by["libraries"], "torch": "99"}}
    monkeypatch.setattr(evaluation, "made_by", lambda _: newer)
    record, _ = compare(ADAIN)
    torch_then = made_by["libraries"]["torch"]
    assert record["methods"]["adain"]["notes"] == [f"evaluated earlier, by torch {torch_then}"]


def test_a_commit_is_of_the_packages_source_not_of_what_lies_beside_it(tmp_path, monkeypatch):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    def commit():
        runs.commit.cache_clear()
        return runs.commit()

    source = tmp_path / "package/runs.py"
    source.parent.mkdir()
    monkeypatch.setattr(runs, "__file__", str(source))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() == ""
    source.write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "source")
    first = commit()
    assert re.fullmatch("[0-9a-f]{7,}", first)
    (tmp_path / "report.md").write_text("numbers")
    git("add", ".")
    git("commit", "-m", "a report")
    assert commit() == first
    source.write_text("2")
    assert commit() == f"{first}+"
    runs.commit.cache_clear()


def test_what_another_commit_made_is_said_and_not_done_again(calls, compare, monkeypatch):
    monkeypatch.setattr(runs, "commit", lambda: "abc1234")
    record, _ = compare(ADAIN)
    assert record["methods"]["adain"]["notes"] == []
    calls.clear()
    monkeypatch.setattr(runs, "commit", lambda: "def5678")
    record, _ = compare(ADAIN)
    assert calls == []
    note = "translated, its cost measured, evaluated earlier, by commit abc1234"
    assert record["methods"]["adain"]["notes"] == [note]
    unchanged = record["methods"][comparison.UNCHANGED]
    assert unchanged["notes"][1:] == ["evaluated earlier, by commit abc1234"]
    record, _ = compare(ADAIN, redo=["adain"])
    assert record["methods"]["adain"]["notes"] == []


def test_licences_and_published_weights_are_known_though_nothing_is_timed(calls, compare):
    record, _ = compare(ADAIN)  # cost_sizes is empty
    row = record["methods"]["adain"]
    assert row["licences"] == ["CC0"]
    assert row["weights"] == "published ones: adain"
    assert row["cost"] == {"parameters": 7}


def outside(compare, tmp_path, scale=1, names=str):
    """The row of a program whose images are the contents, by these names."""
    record, _ = compare(ADAIN)
    made = tmp_path / "made"
    made.mkdir()
    for path in (tmp_path / "results/toy/compare/pairs/content").iterdir():
        image = Image.open(path)
        image.resize([side // scale for side in image.size]).save(made / names(path.name))
    record, _ = compare(f'[methods.other]\ntranslated = "{made}"\n')
    return record["methods"]["other"]


def test_images_smaller_than_their_contents_are_said(calls, compare, tmp_path):
    assert (
        "2 of its 2 images are smaller than their contents"
        in outside(compare, tmp_path, scale=2)["notes"]
    )


def test_images_as_large_as_their_contents_need_no_note(calls, compare, tmp_path):
    row = outside(compare, tmp_path)
    assert row["error"] is None
    assert len(row["notes"]) == 1


def test_names_that_fit_nothing_are_refused_with_the_reason(calls, compare, tmp_path):
    with pytest.raises(DataError, match="2 of 2 pairs have no translation called <"):
        outside(compare, tmp_path, names=lambda name: f"x{name}")


def test_bad_images_and_other_shapes_are_notes(calls, compare, toy, tmp_path):
    compare(ADAIN)
    made = tmp_path / "made"
    made.mkdir()
    first, second = sorted((tmp_path / "results/toy/compare/pairs/content").iterdir())
    (made / first.name).write_bytes(b"no image")
    Image.open(second).resize((96, 32)).save(made / second.name)
    bad = sorted((toy / "testB").iterdir())[0]
    bad.write_bytes(b"")
    for _ in range(2):  # also of what was measured before
        record, _ = compare(f'[methods.other]\ntranslated = "{made}"\n')
        row = record["methods"]["other"]
        assert [number is None for number in row["values"]["ssim"]["each"]] == [True, False]
        assert any(note.startswith("1 of 2 images have another shape") for note in row["notes"])
        (note,) = (note for note in row["notes"] if note.startswith("2 images left out: "))
        assert f"{made / first.name}: not an image" in note
        assert bad.name in note


def test_a_second_signal_leaves_nothing_behind(tmp_path):
    code = (
        "import os, pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: pathlib.Path('ended').touch() or os._exit(1))\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "pathlib.Path('ready').touch()\n"
        "time.sleep(60)\n"
    )

    def interrupt():
        while not Path("ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        comparison.call(python(code))
    assert Path("ended").exists()


# Mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no table \[methods"),
        ("[methods.x]\n", "has none of method, run, train and translated: it needs one"),
        ('[methods.x]\nmethod = "a"\nrun = "b"\n', "has method and run of method"),
        ("[methods.x]\nmethod = 3\n", r"methods\.x\.method is 3"),
        ('[methods."a/b"]\nmethod = "a"\n', "can't be called 'a/b'"),
        ('[methods.Unchanged]\nmethod = "a"\n', "can't be called 'Unchanged'"),
        ('[methods.pairs]\nmethod = "a"\n', "can't be called 'pairs'"),
        ('[methods.""]\nmethod = "a"\n', "can't be called ''"),
        ('[methods.a]\nmethod = "a"\n[methods.A]\nmethod = "b"\n', "two methods have the same"),
        ('[methods.a]\nmethod = "a"\nside = 16\n', r"methods\.a\.side is 16, but that is the"),
        ('[methods.a]\nmethod = "a"\nconfig = "x.toml"\n', r"methods\.a\.config is 'x\.toml'"),
        ("methods = 3\n", "no table"),
    ],
)
def test_a_file_that_cant_be_meant_is_refused(compare, text, message):
    with pytest.raises(ConfigError, match=message):
        compare(text)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"pears": "3"}, "unknown option --pears: did you mean '--pairs'"),
        ({"pairs": "0"}, "--pairs is 0"),
        ({"seed": str(2**31)}, "--seed is 2147483648"),
        ({"direction": "c2d"}, "--direction is 'c2d'"),
        ({"cost_sizes": "big"}, "--cost_sizes is 'big'"),
        ({"metrics": "ssimm"}, "did you mean 'ssim'"),
        ({"domain": ""}, "no --domain"),
        ({"domain": "nowhere"}, "no folder nowhere/testA; get it by: python -m gan_style download"),
    ],
)
def test_options_that_cant_be_meant_are_refused(compare, typed, message):
    with pytest.raises((ConfigError, DataError), match=message):
        compare(ADAIN, **typed)


FAILING = """
domain = "toy"
data_root = "."
pairs = 2
side = 32
size = 32
metrics = "ssim, psnr"
cost_sizes = ""
[methods.Good]
method = "gatys"
iterations = 1
[methods.Typo]
method = "adain"
alhpa = 0.5
style_size = "large"
[methods.Range]
method = "adain"
alpha = 2.0
[methods.Unknown]
method = "gatis"
[methods.NoRun]
run = "results/nosuch"
[methods.Outside]
translated = "nosuchdir"
pattern = "fake"
[methods.Untrained]
method = "johnson"
[methods.Blend]
method = "adain"
style_weights = "1,2"
[methods.Both]
method = "adain"
run = "run"
[methods.Own]
method = "adain"
seed = 3
[methods.Train.train]
imges = 3
batch_size = "many"
[methods.NoStyle.train]
method = "johnson"
images = 1
[methods.Budgets.train]
images = 1
minutes = 3.0
[methods.Fixed.train]
images = 1
[methods.Fixed]
width_generator = 3
"""


def test_every_mistake_of_every_table_is_named_before_anything_runs(toy, gan_style, refusal):
    Path("failing.toml").write_text(FAILING)
    line = refusal(gan_style, "compare", config="failing.toml")
    for said in (
        "methods.Typo: unknown option --alhpa: did you mean '--alpha'?",
        "methods.Typo: --style_size wants int, got 'large'",
        "methods.Range: --alpha is 2.0, but must be in [0, 1]",
        "methods.Unknown: unknown method 'gatis': did you mean 'gatys'?",
        "methods.NoRun: results/nosuch is no run folder",
        "methods.Outside: --pattern is 'fake'",
        "methods.Untrained: johnson has no published weights: train it and give --run",
        "methods.Blend: --style_weights is for several styles",
        "methods.Both has method and run",
        "... all 16 are in results/toy/mistakes.txt",
    ):
        assert said in line, said
    assert "Good" not in line
    told = Path("results/toy/mistakes.txt").read_text()
    for said in (
        "methods.Own.seed is 3, but that is the comparison's own",
        "methods.Train: unknown option --imges: did you mean '--images'?",
        "methods.Train: --batch_size wants int, got 'many'",
        "methods.NoStyle: --style is None, but johnson learns one",
        "methods.Budgets: --images is 1 and --minutes is 3.0: one budget is enough",
        "methods.Fixed: --width_generator is '3', but the run was trained with its own",
    ):
        assert said in told, said
    assert [path.name for path in Path("results/toy").iterdir()] == ["mistakes.txt"]


def test_options_that_belong_together_are_no_mistake(toy):
    Path("tiny.toml").write_text('method = "dualgan"\nimages = 1\n')
    text = """
[methods.Gatys]
method = "gatys"
style_layers = "relu1_1, relu2_1"
style_layer_weights = "1, 2"
content_layer = "relu1_1"
weights = "raw"
[methods.Paper]
method = "gatys"
preset = "paper"
iterations = 3
save_every = 1
[methods.Dual.train]
config = "tiny.toml"
channels_a = 1
preset = "2017-classic"
[methods.Dual]
weights = "ema"
batch_size = 2
"""
    Path("x.toml").write_text(HEAD + text)
    _, entries = comparison.read(Path("x.toml"), {}, _refusals)
    assert [entry.label for entry in entries] == ["Gatys", "Paper", "Dual"]


def test_a_folder_that_isnt_there_yet_says_how_to_come_by_its_contents(toy, gan_style, refusal):
    Path("x.toml").write_text(HEAD + '[methods.Other]\ntranslated = "nosuchdir"\n')
    line = refusal(gan_style, "compare", config="x.toml")
    assert "methods.Other: --translated nosuchdir: no such file or folder; " in line
    assert "translate results/toy/compare/pairs/content into it, which a comparison without" in line


def test_a_run_of_the_wrong_weights_is_refused_at_once(train, toy, gan_style, refusal):
    train(domain=str(toy), images=1, ema=0.0, run_dir="run")
    text = '[methods.A]\nrun = "run"\nweights = "ema"\n[methods.B]\nrun = "run"\ncolour = "luma"\n'
    text += '[methods.C]\nrun = "run"\ndirektion = "b2a"\n'
    Path("x.toml").write_text(HEAD + text)
    line = refusal(gan_style, "compare", config="x.toml")
    assert "methods.A: run/gen_ab.ema.safetensors isn't there" in line
    assert "methods.B: --colour is 'luma', but cyclegan takes no style image" in line
    assert "methods.C: unknown option --direktion: did you mean '--direction'?" in line


def test_a_failed_row_is_told_by_the_exit_code(calls, gan_style, toy, refusal, monkeypatch):
    monkeypatch.setattr(evaluation, "HALVES", 2)
    text = '[methods.broken]\nmethod = "adain"\n[methods.other]\nmethod = "adain"\nalpha = 0.5\n'
    Path("x.toml").write_text(HEAD + text)
    line = refusal(gan_style, "compare", config="x.toml")
    assert "1 of 2 methods have no result: broken; the report says why" in line
    assert "it is broken" in Path("results/toy/report/index.html").read_text()
    Path("x.toml").write_text(HEAD + text.replace("broken", "good"))
    assert "report: " in gan_style("compare", config="x.toml")


@pytest.mark.parametrize("name", ["compare_monet2photo", "compare_oldmaster2modern"])
def test_the_comparisons_of_the_experiments_are_found_sound(name):
    shutil.copytree(ROOT / "experiments", "experiments")
    style = Path("data/monet2photo/trainA/00282.jpg")
    style.parent.mkdir(parents=True)
    style.touch()
    what, entries = comparison.read(Path(f"experiments/{name}.toml"), {})
    assert entries
    assert [line for each in entries if not each.run for line in _refusals(what, each)] == []


def test_redo_wants_a_label(calls, compare):
    with pytest.raises(ConfigError, match="--redo has 'adian': did you mean 'adain'"):
        compare(ADAIN, redo=["adian"])


# Real processes


def python(code):
    return [sys.executable, "-c", code]


def test_the_reason_of_a_failure_is_the_last_line_without_the_programs_name():
    code = "import sys; print('bar 100%\\rgan_style: no such thing', file=sys.stderr); sys.exit(2)"
    with pytest.raises(comparison.Failed, match=r"^no such thing$"):
        comparison.call(python(code))


def test_a_process_that_was_killed_says_by_what():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(comparison.Failed, match="ended by SIGKILL, perhaps for want of memory"):
        comparison.call(python(code))


def test_a_silent_failure_says_its_code():
    with pytest.raises(comparison.Failed, match="ended with code 3"):
        comparison.call(python("import sys; sys.exit(3)"))


def test_a_signal_is_handed_on_and_waited_for(tmp_path):
    code = (
        "import pathlib, signal, sys, time\n"
        "def stop(*_): time.sleep(0.2); pathlib.Path('saved').touch(); sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "pathlib.Path('ready').touch()\n"
        "time.sleep(60)\n"
    )

    def terminate():
        while not Path("ready").exists():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate).start()
    with pytest.raises(Interrupted, match="the same command goes on from there"):
        comparison.call(python(code))
    assert Path("saved").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"iterations": 15}, "15 iterations of its recipe's 500: its numbers say little"),
        ({"iterations": 125}, ""),
        ({}, ""),
        ({"preset": "neural_style", "iterations": 125}, "125 iterations of its recipe's 1000"),
    ],
)
def test_few_iterations_are_said(options, said):
    settings = comparison._settings("gatys", ["iterations"], None, options)
    lines = comparison._short_of("gatys", None, settings, None)
    assert len(lines) == bool(said)
    assert all(line.startswith(said) for line in lines)


def test_a_short_training_is_said(calls, compare, train, toy):
    train(domain=str(toy), images=2, run_dir="run")
    record, _ = compare('[methods.gan]\nrun = "run"\n')
    (line,) = record["methods"]["gan"]["short_of"]
    # 200 epochs of 6 images
    assert line.startswith("trained on 2 images, 0.17 % of its recipe's 1,200: its numbers say")
    Path("run/progress.json").write_text(json.dumps({"images": 300}))
    record, _ = compare('[methods.gan]\nrun = "run"\n')
    assert record["methods"]["gan"]["short_of"] == []  # a quarter is enough


def test_settings_are_all_options_of_a_preset():
    settings = comparison._settings(
        "gatys", ["iterations", "pooling"], None, {"preset": "paper", "iterations": 7}
    )
    assert settings["preset"] == "paper"
    assert settings["pooling"] == "average"
    assert settings["iterations"] == 7
    assert settings["tv_weight"] == "0.0"


@pytest.mark.slow
def test_a_comparison_from_training_to_the_page(toy, gan_style, tmp_path):
    """Everything by real processes: trains, translates both ways, times, measures, reports."""
    options = TINY | {"images": 2, "sample_every": 0}
    lines = [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    (tmp_path / "tiny.toml").write_text("\n".join(lines))
    head = HEAD.replace('cost_sizes = ""', 'cost_sizes = "32"')
    text = '[methods.GAN.train]\nconfig = "tiny.toml"\n'
    text += '[methods.other]\ntranslated = "toy/testA"\n'
    (tmp_path / "compare.toml").write_text(head + text)

    def compared():
        return gan_style("compare", config="compare.toml")

    report = Path("results/toy/report")
    assert compared().strip().endswith(f"report: {report}/index.html")
    rows = json.loads((report / "metrics.json").read_text())["methods"]
    assert rows["GAN"]["error"] is None
    assert rows["GAN"]["cost"]["training"]["images"] == 2
    assert rows["GAN"]["cost"]["sizes"]["32"]["median"] > 0
    assert rows["GAN"]["weights"] == "as trained, after 2 images"
    assert 0 < rows["GAN"]["values"]["cycle_l1"]["value"] < 1
    assert rows["other"]["values"]["ssim"]["value"] == pytest.approx(1)
    page = (report / "index.html").read_text()
    assert page.count("data:image/") > 4
    assert [line for line in compared().splitlines() if line.startswith("  ")] == [
        "  pairs: as before",
        "  evaluate: as before",
        "  evaluate: as before",
        "  train: as before",
        "  translate: as before",
        "  translate back: as before",
        "  cost: as before",
        "  evaluate: as before",
        "  evaluate: as before",
    ]


@pytest.mark.parametrize(("device", "asked"), [("cpu", True), ("", False)])
def test_what_is_compared_on_the_cpu_is_trained_on_it(compare, calls, device, asked):
    compare('[methods.X.train]\nmethod = "cyclegan"\nsize = 24\n', device=device)
    trained = next(words for words in calls if "train" in words)
    assert (trained[:2] == ["env", "ACCELERATE_USE_CPU=true"]) == asked
