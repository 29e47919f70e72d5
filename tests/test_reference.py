"""Options of pytorch-CycleGAN-and-pix2pix: each is answered by ours, and what is answered works."""

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from gan_style import __main__, command, config, methods, reference, runs
from gan_style.config import DataConfig, TrainConfig

# As options/*.py and models/*.py of junyanz/pytorch-CycleGAN-and-pix2pix name them, with values
# that people give. Options without a value are True.
BASE = {
    "dataroot": ["./datasets/horse2zebra", "my photos"],
    "name": ["horse2zebra_cyclegan"],
    "gpu_ids": ["0", "1", "0,1", "-1"],
    "checkpoints_dir": ["./checkpoints"],
    "model": ["cycle_gan", "pix2pix", "test", "colorization"],
    "input_nc": ["3", "1"],
    "output_nc": ["3", "1"],
    "ngf": ["64", "32"],
    "ndf": ["64"],
    "netD": ["basic", "n_layers", "pixel"],
    "netG": ["resnet_9blocks", "resnet_6blocks", "unet_256", "unet_128"],
    "n_layers_D": ["3"],
    "norm": ["instance", "batch", "none"],
    "init_type": ["normal", "xavier", "kaiming", "orthogonal"],
    "init_gain": ["0.02"],
    "no_dropout": ["True"],
    "dataset_mode": ["unaligned", "aligned", "single", "colorization"],
    "direction": ["AtoB", "BtoA"],
    "serial_batches": ["True"],
    "num_threads": ["4", "0"],
    "batch_size": ["1", "4"],
    "load_size": ["286"],
    "crop_size": ["256"],
    "max_dataset_size": ["100"],
    "preprocess": ["resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"],
    "no_flip": ["True"],
    "display_winsize": ["256"],
    "epoch": ["latest", "200"],
    "load_iter": ["0", "1000"],
    "verbose": ["True"],
    "suffix": ["{model}_{netG}"],
    "use_wandb": ["True"],
    "wandb_project_name": ["CycleGAN-and-pix2pix"],
}
TRAIN = {
    "display_freq": ["400"],
    "display_ncols": ["4"],
    "display_id": ["-1", "1"],
    "display_server": ["http://localhost"],
    "display_env": ["main"],
    "display_port": ["8097"],
    "update_html_freq": ["1000"],
    "print_freq": ["100"],
    "no_html": ["True"],
    "save_latest_freq": ["5000"],
    "save_epoch_freq": ["5"],
    "save_by_iter": ["True"],
    "continue_train": ["True"],
    "epoch_count": ["1", "101"],
    "phase": ["train"],
    "n_epochs": ["100", "7"],
    "n_epochs_decay": ["100", "0"],
    "beta1": ["0.5"],
    "lr": ["0.0002"],
    "gan_mode": ["lsgan", "vanilla", "wgangp"],
    "pool_size": ["50", "0"],
    "lr_policy": ["linear", "step", "plateau", "cosine"],
    "lr_decay_iters": ["50"],
    "lambda_A": ["10.0"],
    "lambda_B": ["10.0"],
    "lambda_identity": ["0.5", "0"],
    "lambda_L1": ["100.0"],
}
TEST = {
    "results_dir": ["./results/"],
    "aspect_ratio": ["1.0"],
    "phase": ["test", "val"],
    "eval": ["True"],
    "num_test": ["50"],
    "model_suffix": ["_A", "_B"],
}
EARLIER = {  # names until 2018
    "loadSize": ["286"],
    "fineSize": ["256"],
    "batchSize": ["1"],
    "nThreads": ["2"],
    "which_direction": ["AtoB", "BtoA"],
    "which_epoch": ["latest"],
    "which_model_netG": ["resnet_9blocks"],
    "which_model_netD": ["basic"],
    "resize_or_crop": ["resize_and_crop", "crop"],
    "display_single_pane_ncols": ["0"],
    "no_lsgan": ["True"],
    "niter": ["100"],
    "niter_decay": ["100"],
    "how_many": ["50"],
    "ntest": ["50"],
    "identity": ["0.5"],
}
CUT = {"CUT_mode": ["CUT"], "lambda_NCE": ["1"], "normG": ["instance"], "beta2": ["0.99"]}
JOLIGEN = {
    "model_type": ["cycle_gan", "cut"],
    "G_netG": ["unet_256", "mobile_resnet_attn"],
    "G_ngf": ["64"],
    "D_netDs": ["basic", "projected_d"],
    "data_crop_size": ["256"],
    "train_batch_size": ["2"],
    "train_n_epochs": ["100"],
    "train_G_lr": ["0.0002"],
    "train_G_ema_beta": ["0.99"],
    "train_iter_size": ["2"],
    "train_continue": ["True"],
    "alg_cyclegan_lambda_A": ["10"],
    "dataaug_no_flip": ["True"],
}
EVERY = [
    (name, value)
    for group in (BASE, TRAIN, TEST, EARLIER, CUT, JOLIGEN)
    for name, values in group.items()
    for value in values
]


def typed(name, value):
    """An option as the launcher would hand it over, and as it is parsed."""
    return command.parse([f"--{name}"] if value == "True" else [f"--{name}", value])[1]


def known_in_training(method):
    here = Path(config.__file__)
    described = [
        *config.describe(here, "DataConfig"),
        *config.describe(here, "TrainConfig"),
        *config.describe(methods.source(method)),
    ]
    return config.choices(described)


def flags(options):
    """What is to be typed, as parsed."""
    line = " ".join(reference.flag(name, value) for name, value in options.items())
    return command.parse(shlex.split(line))[1]


@pytest.mark.parametrize("method", sorted(set(methods.names()) - {"gatys"}))  # it learns nothing
def test_training_answers_with_options_that_it_takes(method):
    known = known_in_training(method)
    classes = (DataConfig, TrainConfig, methods.load(method).Config)
    for name, value in EVERY:
        options = typed(name, value)
        if name in ("input_nc", "output_nc"):  # the identity term needs as many on both sides
            options = typed("input_nc", value) | typed("output_nc", value)
        found = reference.find(options, known, "train", method)
        answered = bool(found.options or found.environment or found.notes)
        assert answered == bool(found.names), name
        taken = flags(found.options) if found.names else options
        assert taken.keys() <= known.keys(), name
        if any(known[key] and given not in known[key] for key, given in taken.items()):
            assert not found.names  # ours by name, whose choices the refusal names
            continue
        for each in classes:
            config.build(each, taken)


@pytest.mark.parametrize("program", ["translate", "evaluate"])
def test_commands_answer_with_options_that_they_take(program):
    parameters = inspect.signature(__main__.COMMANDS[program]).parameters
    own = {key: config.choices_of(each.annotation) for key, each in parameters.items()}
    known = command.anything(own) if program == "translate" else own
    of_cyclegan = config.choices(config.describe(methods.source("cyclegan")))
    for name, value in EVERY:
        options = typed(name, value)
        found = reference.find(options, known, program)
        answered = bool(found.options or found.environment or found.notes)
        assert answered == bool(found.names), name
        if not found.names:
            assert options.keys() <= known.keys()
        for key, given in flags(found.options).items():
            if key in parameters:
                config.convert(key, given, parameters[key].annotation)
            else:
                assert given in of_cyclegan[key]


def test_each_option_is_in_the_table_of_its_program():
    for name in [*BASE, *TRAIN]:
        assert name in reference.TRAINING
    for name in [*BASE, *TEST]:
        assert name in reference.TRANSLATING
    for name in (name for name, _ in EVERY):
        entry = reference.ALIASES.get(name, name)
        assert any(entry in table for table in reference.PROGRAMS.values())


def test_no_other_name_leads_to_an_option_of_ours():
    ours = known_in_training("cyclegan")
    assert not reference.ALIASES.keys() & ours.keys()
    for entry in reference.ALIASES.values():
        assert entry in reference.TRAINING or entry in reference.TRANSLATING


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--dataroot D", "--domain D"),
        ("--dataroot 'my photos'", "--domain 'my photos'"),
        ("--crop_size 128", "--size 128"),
        ("--fineSize 128", "--size 128"),
        ("--netG resnet_9blocks", "--generator resnet_9"),
        ("--continue_train", "--resume auto"),
        ("--ngf 32", "--width_generator 32"),
        ("--lr 0.0001", "--learning_rate 0.0001"),
        ("--name maps", "--run_dir results/maps"),
        ("--name maps --checkpoints_dir ckpt", "--run_dir ckpt/maps"),
        ("--direction BtoA", "--direction b2a"),
        ("--gpu_ids 0,2", "CUDA_VISIBLE_DEVICES=0,2 before the command"),
        ("--gpu_ids -1", "ACCELERATE_USE_CPU=true before the command"),
        ("--num_threads 0", "--workers 1"),
        ("--serial_batches", "--serial_b"),
        ("--no_lsgan", "--gan_loss vanilla"),
        ("--n_epochs 100 --n_epochs_decay 100", "--epochs 200"),
        ("--n_epochs 150 --n_epochs_decay 50", "--epochs 200 --decay 0.25"),
        ("--n_epochs 20", "--epochs 120 --decay 0.833333"),  # of 20 + 100
        ("--niter 30 --niter_decay 0", "--epochs 30 --schedule constant"),
        ("--niter 30 --niter_decay 0 --lr_policy lambda", "--epochs 30 --schedule constant"),
        ("--lr_policy linear", "--schedule reference"),
        ("--lambda_A 5 --lambda_B 5", "--lambda_cycle 5"),
        ("--input_nc 1", "--channels_a 1"),
        ("--input_nc 1 --direction BtoA", "--channels_b 1 --direction b2a"),
        ("--method dualgan --lambda_B 5", "--lambda_b 5"),
        ("--method dualgan --no_dropout", "--dropout 0"),
        ("--method dualgan --gan_mode wgangp", "--gan_loss wgan-gp"),
    ],
)
def test_train_says_what_to_type(train_alone, refusal, monkeypatch, line, said):
    monkeypatch.setattr(sys, "argv", ["train.py", *shlex.split(line)])
    from gan_style.training import launch

    answer = refusal(command.run, "train.py", launch.main)
    assert answer.startswith("train.py: unknown option")
    assert ": the reference's; here " in answer
    assert re.split("it is |they are ", answer, maxsplit=1)[1].split(";")[0] == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--norm instance", "leave --norm out, its networks have instance norm anyway"),
        ("--no_dropout", "leave --no_dropout out, its networks have no dropout anyway"),
        ("--gan_mode wgangp", "as --gan_loss of cyclegan has lsgan, vanilla, hinge"),
        ("--method dualgan --netG unet_128", "as dualgan has no --generator"),
        ("--display_id 0 --display_port 9", "leave --display_id, --display_port out, curves"),
        ("--lambda_A 5 --lambda_B 6", "one --lambda_cycle serves both ways here"),
        ("--model pix2pix", "python -m gan_style methods"),
        ("--num_test 3", "all images of a folder are read"),
        ("--results_dir r", "it is --out r of python -m gan_style translate"),
        ("--n_epochs 20", "with --n_epochs_decay, 100 there when not given"),
    ],
)
def test_train_says_why_there_is_nothing_to_type(refusal, monkeypatch, line, said):
    monkeypatch.setattr(sys, "argv", ["train.py", *shlex.split(line)])
    from gan_style.training import launch

    assert said in refusal(command.run, "train.py", launch.main)


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("translate", "--dataroot d --name m", "--content d/testA --run results/m"),
        ("translate", "--dataroot d --direction BtoA", "--content d/testB --direction b2a"),
        ("translate", "--dataroot d --phase val", "--content d/valA"),
        ("translate", "--dataroot d/testA --model test", "--content d/testA"),
        ("translate", "--results_dir r --gpu_ids 1", "--out r --device cuda:1"),
        ("translate", "--content d --run m --direction BtoA", "--direction b2a"),
        ("translate", "--content d --run m --which_direction BtoA", "--direction b2a"),
        ("evaluate", "--dataroot d", "--content d/testA --style d/testB"),
        ("evaluate", "--results_dir r --crop_size 64", "--translated r --size 64"),
        ("cost", "--name m --gpu_ids -1", "--run results/m --device cpu"),
    ],
)
def test_commands_say_what_to_type(refusal, monkeypatch, name, line, said):
    monkeypatch.setattr(sys, "argv", ["gan_style", name, *shlex.split(line)])
    answer = refusal(command.run, "gan_style", __main__.main)
    assert re.split("it is |they are ", answer, maxsplit=1)[1].split(";")[0] == said


def test_a_comparison_says_it_too(gan_style, refusal):
    Path("c.toml").write_text('[methods.x]\nmethod = "gatys"\n', encoding="utf-8")
    assert "here it is --domain D" in refusal(gan_style, "compare", config="c.toml", dataroot="D")


TABLES = """
domain = "toy"
data_root = "."
[methods.cg.train]
dataroot = "toy"
crop_size = 32
netG = "resnet_9blocks"
lr = 0.0001
imges = 3
dataroots = "toy"
[methods.cg]
results_dir = "r"
[methods.ad]
method = "adain"
ngf = 3
name = "m"
alhpa = 1.0
dataroots = "toy"
"""


def test_the_tables_of_a_comparison_say_it_too(toy, gan_style, refusal):
    Path("c.toml").write_text(TABLES, encoding="utf-8")
    line = refusal(gan_style, "compare", config="c.toml")
    assert (
        "methods.cg: unknown options --dataroot, --crop_size, --netG, --lr: the reference's; here "
        "they are --domain toy --size 32 --generator resnet_9 --learning_rate 0.0001; " in line
    )
    assert "methods.cg: unknown option --imges: did you mean '--images'?" in line
    # Where images are written is the comparison's, which no table may say.
    assert "methods.cg: unknown option --results_dir: the reference's; leave --results" in line
    assert "methods.ad: unknown options --ngf, --name: the reference's; here they are --run" in line
    assert "methods.ad: unknown option --alhpa: did you mean '--alpha'?" in line
    assert "--data_root'" not in line


def test_what_is_answered_trains_as_typed(toy, train, refusal, capsys):
    old = {
        "dataroot": toy,
        "name": "first",
        "model": "cycle_gan",
        "netG": "resnet_6blocks",
        "ngf": 4,
        "ndf": 4,
        "crop_size": 24,
        "load_size": 26,
        "n_epochs": 1,
        "n_epochs_decay": 1,
        "lr": 0.0001,
        "pool_size": 3,
        "gan_mode": "vanilla",
        "num_threads": 0,
        "print_freq": 5,
    }
    from gan_style.training import launch

    line = refusal(
        command.run, "train.py", lambda: launch.main([f"--{k}={v}" for k, v in old.items()])
    )
    options = command.parse(shlex.split(line.split("they are ")[1].split(";")[0]))[1]
    same = {key: old[key] for key in ("load_size", "pool_size")}
    train(**(options | same))
    record = runs.read(Path("results/first"))
    assert record["train"]["epochs"] == 2
    assert record["method"]["learning_rate"] == 0.0001
    assert record["method"]["gan_loss"] == "vanilla"


def test_an_option_by_which_files_are_written_is_no_guess():
    with pytest.raises(config.ConfigError, match="unknown option --run_dirs: known: "):
        config.refuse_unknown({"run_dirs": "D"}, known_in_training("cyclegan"), "train")
    with pytest.raises(config.ConfigError, match="unknown option --rundir: did you mean '--run_d"):
        config.refuse_unknown({"rundir": "D"}, known_in_training("cyclegan"), "train")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--n_epoch 3", "the reference's --n_epochs? here it is --epochs 103 --decay 0.970874; "),
        ("--nepochs 3", "the reference's --n_epochs? here it is --epochs 103 --decay 0.970874; "),
        ("--dataroots D", "the reference's --dataroot? here it is --domain D"),
        ("--loadsizes 3 --fineSiz 2", "the reference's --fineSize? here it is --size 2"),
        ("--epoches 3", "'--epochs'?"),
        ("--beta 0.5", "'--beta1'?"),  # as near as the reference's beta2
    ],
)
def test_a_slip_in_the_references_name_is_answered_by_it(line, said):
    options = command.parse(shlex.split(line))[1]
    found = list(config.unknown(options, known_in_training("cyclegan"), "train", "cyclegan"))
    assert found[-1].split("did you mean ", 1)[1].startswith(said)


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("translate", "--contnt toy", "unknown option --contnt: did you mean '--content'?"),
        ("translate", "--contents toy", "unknown option --contents: did you mean '--content'?"),
        ("compare", "--confg c.toml", "unknown option --confg: did you mean '--config'?"),
        ("translate", "--content_weight 3", "--content is missing: see --help"),
    ],
)
def test_a_missing_option_is_one_that_was_mistyped(refusal, monkeypatch, name, line, said):
    monkeypatch.setattr(sys, "argv", ["gan_style", name, *shlex.split(line)])
    assert refusal(command.run, "gan_style", __main__.main) == f"gan_style: {said}"


def test_other_tools_know_nothing_of_the_reference():
    said = reference.find({"name": "x", "dataroot": "y"}, {"root": ()}, "bring")
    assert reference.advice(said) == ""


@pytest.mark.parametrize(
    "words",
    [["train.py", "--dataroot", "D"], ["train.py"], ["-m", "gan_style", "translate", "--ngf=3"]],
)
def test_an_answer_needs_no_torch(words, tmp_path):
    code = (
        "import runpy, sys; sys.modules['torch'] = None; sys.argv = sys.argv[1:]\n"
        "if sys.argv[0] == '-m':\n"
        "    del sys.argv[0]; runpy.run_module(sys.argv[0], run_name='__main__')\n"
        "else:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1


# Whose images


@pytest.mark.parametrize("options", [{}, {"data_root": "D"}, {"domain": ""}, {"size": 64}])
def test_nobody_is_trained_on_images_that_were_not_asked_for(refusal, monkeypatch, options):
    from data_tools import download
    from gan_style.training import launch

    monkeypatch.setattr(download, "download", None)  # would be called
    typed = [f"--{key}={value}" for key, value in options.items()]
    line = refusal(command.run, "train.py", lambda: launch.main(typed))
    for said in ("--domain DIR", "oldmaster2modern", "--data_a DIR --data_b DIR", "make demo"):
        assert said in line
    assert not list(Path().iterdir())


def test_the_demo_names_its_images():
    assert config.read_toml(ROOT / "experiments/demo.toml")["domain"] == "oldmaster2modern"


def test_resume_needs_a_run_or_whose(refusal):
    from gan_style.training import launch

    line = refusal(command.run, "train.py", lambda: launch.main(["--resume", "auto"]))
    assert "give --run_dir DIR, or the --domain whose newest run it is" in line
    assert not list(Path().iterdir())


def test_a_run_goes_on_by_its_folder_alone(toy, train):
    train(domain=toy, images=2, run_dir="run")
    assert "finished after 4 images" in train(run_dir="run", resume="auto", images=4)


@pytest.mark.parametrize("recorded", ["oldmaster2modern", ""])
def test_a_run_of_two_folders_goes_on_whatever_domain_it_recorded(toy, train, recorded):
    """An earlier version recorded its default beside the two folders."""
    import json

    a, b = toy / "trainA", toy / "trainB"
    train(data_a=a, data_b=b, images=2, run_dir="run")
    path = Path("run/config.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["data"]["domain"] == ""
    record["data"]["domain"] = recorded
    path.write_text(json.dumps(record), encoding="utf-8")
    assert "finished after 4 images" in train(run_dir="run", resume="auto", images=4)
    assert json.loads(path.read_text(encoding="utf-8"))["data"]["domain"] == recorded


def test_an_empty_folder_is_refused(refusal):
    from gan_style.training import launch

    Path("empty").mkdir()
    line = refusal(command.run, "train.py", lambda: launch.main(["--domain", "empty"]))
    assert "empty has no folder trainA" in line
    assert not list(Path("empty").iterdir())
