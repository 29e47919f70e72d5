"""What users get wrong: one line that names the value and the remedy, code 2, nothing written."""

import json
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file


def everything_below(folder):
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*")}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sice": 3}, "unknown option --sice: did you mean '--size'?"),
        ({"size": "big"}, "--size wants int, got 'big'"),
        ({"size": 26}, "--size is 26, but these networks need a multiple of 4 and at least 24"),
        ({"size": 8}, "try 24"),
        ({"method": "cyclgan"}, "unknown method 'cyclgan': did you mean 'cyclegan'?"),
        ({"domain": "monet2foto"}, "--domain is 'monet2foto'"),
        ({"lambda_cycle": -1.0}, "--lambda_cycle is -1.0, but must be at least 0"),
        ({"learning_rate": 0}, "--learning_rate is 0.0, but must be above 0"),
        ({"config": "none.toml"}, "--config none.toml: no such file"),
        ({"resume": "yes"}, "--resume is 'yes': known: auto"),
        ({"preprocess": "none", "batch_size": 2}, "--batch_size is 2, but --preprocess none"),
        ({"domain": "", "data_a": "x", "data_b": "y"}, "--domain is ''"),
        ({"background": "blau"}, "--background is 'blau'"),
        ({"seed": 2**31}, "--seed is 2147483648, but must be below 2147483648"),
        ({"preprocess": "scale_width_and_crop", "load_size": 20}, "--load_size is 20, but must be"),
        (
            {"preprocess": "scale_shorter_and_crop", "load_size": 30, "width": 40},
            "--load_size is 30, but must be at least --width, 40",
        ),
        ({"schedule": "reference", "epochs": 1}, "would train at a rate of 0 with --epochs 1"),
        ({"preset": "fast"}, "--preset is 'fast', but cyclegan has no presets: leave it out"),
        ({"generator": "resnet_7"}, "--generator is 'resnet_7': did you mean 'resnet_9'?"),
    ],
)
def test_train_refuses(train, toy, refusal, options, said):
    before = everything_below(toy)
    line = refusal(train, **({"domain": toy} | options))
    assert line.startswith("train.py: ")
    assert said in line
    assert everything_below(toy) == before
    assert not list(Path("results").rglob("*.*"))


def test_an_unknown_domain_gets_the_nearest_name(train, refusal):
    assert "did you mean 'monet2photo'?" in refusal(train, domain="monet2foto")


def test_a_folder_without_images_is_refused(train, toy, refusal):
    for path in (toy / "trainB").iterdir():
        path.unlink()
    assert "toy: no images in trainB" in refusal(train, domain=toy)
    assert not list(Path("results").rglob("0001"))


def test_one_image_is_no_collection(train, toy, refusal):
    for path in sorted((toy / "trainB").iterdir())[1:]:
        path.unlink()
    assert "toy: 1 image in trainB" in refusal(train, domain=toy)


def test_an_image_below_the_crop_is_named(train, toy, refusal):
    Image.new("RGB", (30, 20)).save(toy / "trainA" / "tiny.png")
    line = refusal(train, domain=toy, preprocess="crop")
    assert "tiny.png: 30x20 pixels is below the crop, --size 24" in line


def test_a_place_that_cannot_be_written_to_is_named(train, toy, refusal):
    Path("file").touch()  # root may write to any folder, but not into a file
    assert "can't write file/run" in refusal(train, domain=toy, run_dir="file/run")


def test_an_image_that_the_networks_cannot_take_is_named(train, toy, refusal):
    Image.new("RGB", (40, 17)).save(toy / "trainA" / "low.png")
    line = refusal(train, domain=toy, preprocess="none")
    assert "low.png: 40x16 pixels, but these networks need 24" in line


def test_loose_folders_must_be_there(train, refusal):
    assert "no folder x" in refusal(train, data_a="x", data_b="y")


def test_results_of_commands_need_a_place_too(gan_style, run, toy, refusal):
    Path("file").touch()
    options = {"run": run, "content": toy / "testA", "out": "file/out"}
    assert "can't write file/out" in refusal(gan_style, "translate", **options)
    gan_style("translate", run=run, content=toy / "testA", out="out")
    options = {"content": toy / "testA", "translated": "out"}
    assert "can't write file/g.png" in refusal(gan_style, "grid", out="file/g.png", **options)
    assert "--out is 'grid', but must end in .png" in refusal(
        gan_style, "grid", out="grid", **options
    )


def test_a_refused_resume_leaves_the_config_alone(train, toy, refusal):
    train(domain=toy, images=1, run_dir="run")
    before = everything_below("run")
    Image.new("RGB", (32, 32)).save(toy / "trainA" / "new.png")
    refusal(train, domain=toy, epochs=3, resume="auto", run_dir="run")
    assert everything_below("run") == before


def test_a_run_is_never_overwritten(train, toy, refusal):
    train(domain=toy, images=1, run_dir="run")
    before = everything_below("run")
    line = refusal(train, domain=toy, images=1, run_dir="run")
    assert "--run_dir run holds a run already: go on by --resume auto" in line
    line = refusal(train, domain=toy, images=2, run_dir="run", resume="auto", lambda_cycle=5.0)
    assert "lambda_cycle was 10.0, is 5.0" in line
    assert "leave --resume and --run_dir out" in line
    assert everything_below("run") == before


def test_there_must_be_something_to_resume(train, toy, refusal):
    assert "no run in results/toy/cyclegan yet" in refusal(train, domain=toy, resume="auto")
    assert "nowhere is no run folder" in refusal(
        train, domain=toy, resume="auto", run_dir="nowhere"
    )


def test_other_images_than_before_are_noticed(train, toy, refusal):
    train(domain=toy, images=1, run_dir="run")
    Image.new("RGB", (32, 32)).save(toy / "trainA" / "new.png")
    line = refusal(train, domain=toy, images=2, resume="auto", run_dir="run")
    assert "the training images are no longer those of" in line
    assert "(12 then, 13 now)" in line


def test_a_broken_checkpoint_is_named(train, toy, refusal):
    train(domain=toy, images=1, run_dir="run")
    state = Path("run/checkpoints/000000001/state.safetensors")
    state.write_bytes(state.read_bytes()[:1000])
    line = refusal(train, domain=toy, images=2, resume="auto", run_dir="run")
    assert "no checkpoint of run is sound (run/checkpoints/000000001/state.safetensors" in line
    assert "begin a new run from the weights beside them, with: --start_from run" in line


@pytest.fixture
def run(train, toy):
    train(domain=toy, images=1, run_dir="run")
    return Path("run")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"run": "nowhere"}, "nowhere is no run folder: it has no config.json"),
        ({"direction": "a2c"}, "--direction is 'a2c': did you mean 'a2b'?"),
        ({"content": "nowhere"}, "--content nowhere: no such file or folder"),
        ({"content": "empty"}, "--content empty: no images in this folder"),
        ({"wheights": "ema"}, "unknown option --wheights: did you mean '--weights'?"),
        ({"device": "gpu"}, "--device is 'gpu', which doesn't work here"),
        ({"batch_size": "many"}, "--batch_size wants int, got 'many'"),
        ({"batch_size": 0}, "--batch_size is 0"),
    ],
)
def test_translate_refuses(gan_style, run, toy, refusal, options, said):
    Path("empty").mkdir()
    before = everything_below(run)
    line = refusal(gan_style, "translate", **({"run": run, "content": toy / "testA"} | options))
    assert line.startswith("gan_style: ")
    assert said in line
    assert everything_below(run) == before


def test_translate_needs_a_run_and_contents(gan_style, refusal):
    assert "no --run and no --method: give one" in refusal(gan_style, "translate", content="x")


def test_an_unknown_command_gets_the_nearest_name(gan_style, refusal):
    assert "unknown command 'transalte': did you mean 'translate'?" in refusal(
        gan_style, "transalte"
    )


def test_translated_images_are_not_overwritten_unless_asked(gan_style, run, toy, refusal):
    gan_style("translate", run=run, content=toy / "testA")
    before = everything_below(run)
    line = refusal(gan_style, "translate", run=run, content=toy / "testA")
    assert "holds 3 of these images already" in line
    assert everything_below(run) == before
    gan_style("translate", run=run, content=toy / "testA", overwrite=True)


def test_weights_of_another_architecture_are_named(gan_style, run, toy, refusal):
    record = json.loads((run / "config.json").read_text())
    record["method"]["width_generator"] = 8
    (run / "config.json").write_text(json.dumps(record))
    line = refusal(gan_style, "translate", run=run, content=toy / "testA")
    assert "gen_ab.safetensors is of another architecture than config.json" in line
    assert "model.1.weight is [4, 3, 7, 7], not [8, 3, 7, 7]" in line


def test_a_missing_weight_is_named(gan_style, run, toy, refusal):
    path = run / "gen_ab.safetensors"
    weights = load_file(path)
    del weights["model.1.bias"]
    save_file(weights, path)
    line = refusal(gan_style, "translate", run=run, content=toy / "testA")
    assert "it has no model.1.bias" in line


def test_weights_that_are_no_weights_are_named(gan_style, run, toy, refusal):
    (run / "gen_ab.safetensors").write_bytes(b"\x80\x04not safetensors")
    line = refusal(gan_style, "translate", run=run, content=toy / "testA")
    assert "gen_ab.safetensors can't be read" in line


def test_a_run_without_weights_says_so(gan_style, run, toy, refusal):
    (run / "gen_ab.safetensors").unlink()
    line = refusal(gan_style, "translate", run=run, content=toy / "testA")
    assert "gen_ab.safetensors isn't there: the run has saved no weights yet" in line


def test_a_run_without_averages_says_so(train, gan_style, toy, refusal):
    train(domain=toy, images=1, run_dir="run", ema=0.0)
    line = refusal(gan_style, "translate", run="run", content=toy / "testA", weights="ema")
    assert "saved no averaged weights yet (was it trained with --ema 0?)" in line


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"data": 1}', '{"data": {}, "train": {}, "method": {}}']
)
def test_a_broken_config_is_named(gan_style, toy, refusal, text):
    Path("run").mkdir()
    Path("run/config.json").write_text(text)
    line = refusal(gan_style, "translate", run="run", content=toy / "testA")
    assert "run/config.json can't be read" in line


def test_unreadable_contents_are_left_out_and_named(gan_style, run, toy, capsys):
    (toy / "testA" / "bad.png").touch()
    with pytest.raises(SystemExit) as error:
        gan_style("translate", run=run, content=toy / "testA")
    assert error.value.code == 2
    said = capsys.readouterr()
    assert "3 written to" in said.out
    assert "1 of 4 images were left out" in said.err
    assert len(list((run / "translated" / "testA" / "a2b").glob("*.png"))) == 3


def test_a_run_with_options_of_another_version_is_not_guessed_at(train, gan_style, toy, refusal):
    train(domain=toy, images=1, sample_every=0, run_dir="run")
    record = json.loads(Path("run/config.json").read_text())
    record["method"]["width"] = 16
    Path("run/config.json").write_text(json.dumps(record))
    line = refusal(gan_style, "translate", run="run", content=toy / "testA")
    assert line == (
        "gan_style: the run has --width, which cyclegan doesn't know: another version made it"
    )
    assert not Path("run/translated").exists()
