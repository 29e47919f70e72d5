import inspect
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, get_args

import pytest
from conftest import ROOT

from gan_style import command, comparison, config, methods
from gan_style.cli import translate
from gan_style.config import DataConfig, Preprocess, TrainConfig, convert, describe
from gan_style.errors import ConfigError
from gan_style.evaluation import measure as evaluation
from gan_style.training import launch

Count = Literal[16, 19]
WIDE = {"preprocess": "scale_width_and_crop", "size": 64, "width": 96}


@pytest.mark.parametrize(
    ("typed", "hint", "value"),
    [
        ("3", int, 3),
        ("-3", int, -3),
        ("1e-4", float, 1e-4),
        (2, float, 2.0),
        ("true", bool, True),
        ("False", bool, False),
        ("1e3", str, "1e3"),  # Fire alone would make a number of it
        ("7", int | None, 7),
        ("None", int | None, None),
        (None, float | None, None),
        ("crop", Preprocess, "crop"),
        ("crop", Preprocess | None, "crop"),
        ("crop", Literal["crop"] | None, "crop"),
        ("None", Literal["crop"] | None, None),
        ("19", Count, 19),
        (19, Count | None, 19),
    ],
)
def test_a_value_becomes_what_its_field_declares(typed, hint, value):
    result = convert("key", typed, hint)
    assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("abc", int),
        ("1.5", int),
        ("nan", float),
        ("inf", float),
        ("2", bool),
        (True, int),
        (1, str),
    ],
)
def test_a_wrong_type_names_both(typed, hint):
    with pytest.raises(ConfigError, match=rf"--steps wants {hint.__name__}, got {typed!r}"):
        convert("steps", typed, hint)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--domain=1234", "--name", "007"], {"domain": "1234", "name": "007"}),
        (["--load-size", "3"], {"load_size": "3"}),
        (["--flip"], {"flip": "True"}),
        (["--noflip"], {"flip": "False"}),
        (["--no-flip"], {"flip": "False"}),
        (["--shift", "-3"], {"shift": "-3"}),
        (["-h"], {"help": "True"}),
        (["--method", "johnson", "--help"], {"method": "johnson", "help": "True"}),
        (["word", "-h"], {"help": "True"}),
        ([], {}),
    ],
)
def test_options_arrive_as_typed(arguments, options):
    assert command.parse(arguments) == ([], options)


@pytest.mark.parametrize("arguments", [["word"], ["--a", "1", "-", "--b", "2"], ["--a", "1", "b"]])
def test_a_word_without_option_is_refused(arguments):
    words, _ = command.parse(arguments)
    with pytest.raises(ConfigError, match="belongs to no option"):
        command.no_words(words)


def test_a_command_gets_its_words_and_options_converted():
    got = []

    def copy(source: str, target: str = "here", /, count: int = 1, *, fast: bool = False) -> int:
        got.append((source, target, count, fast))
        return 7

    assert command.call(copy, ["a"], {"count": "3", "fast": "True"}) == 7
    assert command.call(copy, ["a", "b"], {}) == 7
    assert got == [("a", "here", 3, True), ("a", "b", 1, False)]
    for words, options, said in (
        ([], {}, "SOURCE is missing"),
        (["a", "b", "c"], {}, "'c' belongs to no option"),
        (["a"], {"source": "b"}, "unknown option --source"),
        (["a"], {"cont": "1"}, "did you mean '--count'?"),
        (["a"], {"count": "x"}, "--count wants int, got 'x'"),
    ):
        with pytest.raises(ConfigError) as error:
            command.call(copy, words, options)
        assert said in str(error.value)


def test_an_option_without_its_value_is_refused():
    with pytest.raises(ConfigError, match="--domain needs a value"):
        config.build(DataConfig, command.parse(["--domain", "--flip"])[1])


def test_an_unknown_option_gets_the_nearest_name():
    with pytest.raises(ConfigError, match="--lambda_cycl: did you mean '--lambda_cycle'"):
        command.sections({"lambda_cycl": "3"})


def test_an_unknown_method_gets_the_names():
    with pytest.raises(ConfigError, match=r"unknown method 'zzz': known: .*cyclegan"):
        command.sections({"method": "zzz"})


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = tmp_path / "some.toml"
    path.write_text("size = 64\nseed = 5\n")
    options = command.with_file({"config": str(path), "size": "32"})
    parts = command.sections(options)
    assert config.build(DataConfig, parts["data"]).size == 32
    assert config.build(TrainConfig, parts["train"]).seed == 5


def test_a_budget_replaces_the_files_budget(tmp_path):
    (tmp_path / "some.toml").write_text("minutes = 6.0\nseed = 5\n")
    options = command.with_file({"config": str(tmp_path / "some.toml"), "images": "9"})
    assert options == {"seed": 5, "images": "9"}


@pytest.mark.parametrize(("text", "said"), [("size = [", "some.toml"), ("[data]\nsize=3", "flat")])
def test_a_broken_file_is_named(tmp_path, text, said):
    (tmp_path / "some.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        config.read_toml(tmp_path / "some.toml")
    with pytest.raises(ConfigError, match="no such file"):
        config.read_toml(tmp_path / "other.toml")


@pytest.mark.parametrize(
    ("cls", "options", "said"),
    [
        (DataConfig, {"size": 0}, "--size is 0, but must be at least 1"),
        (DataConfig, {"size": 64, "load_size": 32}, "--load_size is 32, but must be at least --s"),
        (DataConfig, {"width": 0}, "--width is 0, but must be at least 1"),
        (DataConfig, {"width": 64, "load_size": 255}, "must be at least --size, 256"),
        (DataConfig, WIDE | {"load_size": 80}, "--load_size is 80, but must be at least --width,"),
        (DataConfig, WIDE | {"width": None, "load_size": 63}, "must be at least --size, 64"),
        (DataConfig, {"data_a": "x"}, "--data_a is 'x': give --data_b with it"),
        (DataConfig, {"test_share": 1.0}, "--test_share is 1.0"),
        (DataConfig, {"preprocess": "crops"}, "did you mean 'crop'?"),
        (TrainConfig, {"minutes": 0.0}, "--minutes is 0.0"),
        (TrainConfig, {"kid_every": -1}, "--kid_every is -1, but must be at least 0"),
        (TrainConfig, {"kid_images": 3}, "--kid_images is 3, but must be at least 4"),
        (TrainConfig, {"images": 5, "minutes": 1.0}, "one budget is enough"),
        (TrainConfig, {"epochs": 5, "images": 9}, "--epochs is 5 and --images is 9: one budget"),
        (TrainConfig, {"ema": 1.0}, "--ema is 1.0"),
        (TrainConfig, {"decay": 0.0}, "--decay is 0.0"),
        (TrainConfig, {"schedule": "reference", "images": 9}, "--epochs"),
    ],
)
def test_contradictions_are_refused_in_the_users_spelling(cls, options, said):
    with pytest.raises(ConfigError) as error:
        config.build(cls, options)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        WIDE | {"load_size": 96},
        WIDE | {"size": 128, "load_size": 96},  # it is the width here; heights are stretched to 128
        {"size": 64, "width": 96, "load_size": 64},  # the height of resize_and_crop: 96 wide
        WIDE | {"preprocess": "resize", "load_size": 3},  # reads none
    ],
)
def test_a_load_size_that_holds_the_crop_is_taken(options):
    assert config.build(DataConfig, options).load_size == options["load_size"]


def test_training_sees_one_size_unless_images_keep_theirs():
    crops = {
        mode: DataConfig(preprocess=mode, size=96, width=160).crop for mode in get_args(Preprocess)
    }
    assert crops == {
        "resize_and_crop": (96, 160),
        "resize": (96, 160),
        "crop": (96, 160),
        "scale_width_and_crop": (96, 160),
        "scale_shorter_and_crop": (96, 160),
        "scale_width": None,
        "none": None,
    }
    assert DataConfig(size=96).crop == (96, 96)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 26}, "--size is 26, but .* need a multiple of 4 and at least 22: try 24"),
        ({"size": 20, "width": 40}, "--size is 20, .*: try 24"),  # the multiple of 4 that is >= 22
        ({"size": 40, "width": 42}, "--width is 42, but .* multiple of 4 .*: try 40"),
        ({"size": 40, "width": 20}, "--width is 20, .*: try 24"),
        ({"size": 26, "preprocess": "resize"}, "--size is 26"),
        ({"size": 24, "width": 40}, ""),
        ({"size": 26, "preprocess": "none"}, ""),  # rounded later
    ],
)
def test_each_side_of_a_crop_must_fit_the_networks(options, said):
    networks = SimpleNamespace(multiple=4, smallest=22, batches_a_step=1)
    if not said:
        launch.check_size(DataConfig(**options), networks)
        return
    with pytest.raises(ConfigError, match=said):
        launch.check_size(DataConfig(**options), networks)


@pytest.mark.parametrize(
    ("preprocess", "said"),
    [("resize", "--domain is 'nowhere'"), ("none", "take 1"), ("scale_width", "take 1")],
)
def test_batches_are_for_images_of_one_size(train_alone, refusal, preprocess, said):
    options = {"domain": "nowhere", "batch_size": 2, "preprocess": preprocess}
    assert said in refusal(train_alone, **options)


def test_every_option_is_described_by_a_comment():
    here = Path(config.__file__)
    for name, cls in (("DataConfig", DataConfig), ("TrainConfig", TrainConfig)):
        described = describe(here, name)
        assert [field.name for field in described] == [field.name for field in fields(cls)]
        assert all(field.comment for field in described), name


COMPARISONS = sorted((ROOT / "experiments").glob("compare_*.toml"))


def test_every_experiment_file_is_known_and_valid():
    paths = sorted(set((ROOT / "experiments").glob("*.toml")) - set(COMPARISONS))
    assert paths
    for path in paths:
        parts = command.sections(config.read_toml(path))
        config.build(DataConfig, parts["data"])
        train = config.build(TrainConfig, parts["train"])
        config.build(methods.load(train.method).Config, parts["method"])


@pytest.mark.parametrize("path", [*COMPARISONS, ROOT / "docs/comparing.md"], ids=lambda p: p.name)
def test_every_shipped_comparison_is_known_and_valid(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # experiments refer to each other by their paths
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        text = text.split("```toml\n")[1].split("```")[0]
    (tmp_path / "compare.toml").write_text(text, encoding="utf-8")
    what, entries = comparison.read(tmp_path / "compare.toml", {})
    evaluation.choose([name for name in what.metrics.split(",") if name])
    of_translate = inspect.signature(translate.translate).parameters
    for entry in entries:
        options = {key: value for key, value in entry.options.items() if key not in of_translate}
        if entry.train:
            parts = command.sections(command.with_file(dict(entry.train)))
            config.build(TrainConfig, parts["train"])
        elif entry.method:
            chosen = command.with_preset({"method": entry.method, **options}, "")
            config.build(methods.load(entry.method).Config, chosen)
            assert command.sections(chosen)


def test_no_launcher_takes_an_option_for_its_own():
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    names = [field.name for cls in (DataConfig, TrainConfig) for field in fields(cls)]
    for method in methods.names():
        names += [field.name for field in fields(methods.load(method).Config)]
    for name in [*names, "config", "preset"]:
        for parser in (get_args_parser(), launch_command_parser()):
            typed = ["train.py", f"--{name}", "1"]
            assert parser.parse_args(typed).training_script_args == typed[1:]


@pytest.mark.parametrize(
    "words",
    [
        ["train.py", "--help"],
        ["train.py", "--method", "cyclegan", "--size=3", "-h"],
        ["-m", "gan_style"],
        ["-m", "gan_style", "methods", "cyclegan"],
    ],
)
def test_help_needs_no_torch(words):
    # A stand-in torch that refuses to be imported: what loads it would take seconds.
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
    assert (result.returncode, result.stderr) == (0, "")
    assert "--lambda_cycle=10.0" in result.stdout or "translate" in result.stdout


# Presets and choices, read from a source file


SOURCE = """
from elsewhere import Unknown
from gan_style.nn.generators import Upsample as Up

Here = Literal["x", "y"]

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"images": 160_000, "size": 64},  # the first is the default
    # 6.5e-2, in pixels
    "fast": {"minutes": 2.0, "rate": 0.5, "size": 32, "load_size": None},
}

class Config:
    rate: float = 0.1  # of learning
    here: Here = "x"  # alias of this file
    there: Up = "resize"  # alias of another one
    perhaps: Literal["p"] | None = None  # or none
    unseen: Unknown = 3  # in no file of ours
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The methods are `fake`, which has presets, and `plain`, which has none."""
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / "fake.py").write_text(SOURCE)
    (folder / "plain.py").write_text("class Config:\n    rate: float = 0.1  # of learning\n")
    monkeypatch.setattr(methods, "__path__", [str(folder)])
    return folder / "fake.py"


def test_choices_are_found_through_aliases_without_an_import(fake):
    found = {field.name: field.choices for field in describe(fake)}
    assert found == {
        "rate": (),
        "here": ("x", "y"),
        "there": ("transposed", "resize"),
        "perhaps": ("p",),
        "unseen": (),
    }
    assert "--there='resize'  alias of another one [transposed, resize]" in config.help_text(
        describe(fake)
    )


def test_presets_are_read_in_order_without_an_import(fake):
    assert list(config.presets(fake)) == ["paper", "fast"]
    assert config.presets(fake)["fast"]["rate"] == 0.5
    assert config.presets_line(fake) == "presets: paper (default), fast"
    text = command.training_help({"method": "fake"})
    assert "Method fake; presets: paper (default), fast" in text
    plain = methods.source("plain")
    assert (config.presets(plain), config.presets_line(plain)) == ({}, "")
    assert "presets" not in command.training_help({"method": "plain"})


def test_flags_win_over_the_file_the_file_over_the_preset_and_the_preset_over_defaults(
    fake, tmp_path
):
    (tmp_path / "some.toml").write_text('method = "fake"\npreset = "fast"\nseed = 5\nsize = 48\n')
    typed = command.with_file({"config": str(tmp_path / "some.toml"), "seed": "7"})
    assert command.preset_name(typed) == "fast"
    parts = command.sections(command.with_preset(typed, "fast"))
    data, train = (
        config.build(cls, parts[part])
        for cls, part in ((DataConfig, "data"), (TrainConfig, "train"))
    )
    assert (train.seed, data.size, train.minutes, parts["method"]) == (7, 48, 2.0, {"rate": 0.5})
    assert (data.flip, parts["preset"]) == (True, {})
    # --preset wins over the file's, as any flag does.
    typed = command.with_file({"config": str(tmp_path / "some.toml"), "preset": "paper"})
    assert command.with_preset(typed, command.preset_name(typed))["images"] == 160_000


def test_the_first_preset_is_the_default(fake):
    assert command.preset_name({"method": "fake"}) == "paper"
    assert command.with_preset({"method": "fake"}, "")["images"] == 160_000
    assert command.preset_name({"method": "plain"}) == ""
    assert command.with_preset({"method": "plain", "seed": 3}, "") == {"method": "plain", "seed": 3}


def test_a_budget_replaces_the_presets_budget(fake):
    options = command.with_preset({"method": "fake", "epochs": "3"}, "fast")
    assert "minutes" not in options
    assert options["epochs"] == "3"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "fake", "preset": "fasst"}, "--preset is 'fasst': did you mean 'fast'?"),
        ({"method": "fake", "preset": "zzz"}, "--preset is 'zzz': known: fast, paper"),
        ({"method": "plain", "preset": "x"}, "--preset is 'x', but plain has no presets: leave"),
        ({"method": "fake", "preset": "True"}, "--preset needs a value"),
        ({"method": "fake", "preset": 3}, "--preset wants str, got 3"),
    ],
)
def test_an_unknown_preset_is_refused(fake, options, said):
    with pytest.raises(ConfigError) as error:
        command.preset_name(options)
    assert said in str(error.value)
    with pytest.raises(ConfigError):
        command.with_preset(options, options["preset"])


def test_every_preset_is_known_and_valid():
    for name in methods.names():
        for preset in config.presets(methods.source(name)):
            parts = command.sections(command.with_preset({"method": name}, preset))
            config.build(DataConfig, parts["data"])
            config.build(TrainConfig, parts["train"])
            config.build(methods.load(name).Config, parts["method"])


def test_a_size_above_a_presets_load_size_takes_its_place():
    small, large = (
        command.with_preset({"method": "johnson", "size": size}, "") for size in ("128", "512")
    )
    assert small["load_size"] == 256
    assert "load_size" not in large
    assert config.build(DataConfig, large).scaled_to == (572, 572)  # 512 * 286 / 256
    typed = command.with_preset({"method": "johnson", "size": 512, "load_size": 600}, "")
    assert typed["load_size"] == 600


def test_help_shows_the_defaults_that_are_in_force():
    text = command.training_help({"method": "johnson"})
    assert re.search(r"--batch_size=4 ", text)
    assert re.search(r"--schedule='constant' ", text)
    assert re.search(r"--batch_size=1 ", command.training_help({"method": "cyclegan"}))


def test_help_shows_what_a_named_preset_puts_in_force_for_a_domain():
    typed = {"method": "dualgan", "preset": "author", "domain": "day-night"}
    text = command.training_help(typed)
    assert re.search(r"--epochs=1000 ", text)
    assert re.search(r"--gan_loss='wgan' ", text)
    assert re.search(r"--epochs=50 ", command.training_help(typed | {"domain": "leather-fabric"}))
    assert re.search(r"--kernel=5 ", command.training_help(typed | {"preset": "2017-wgan"}))


def test_a_reader_who_has_seen_enough_gets_no_traceback():
    """As in `python -m gan_style metrics | head -1`: the pipe is closed before all is written."""
    code = "import sys; from gan_style import command; command.run('x', lambda: print('a' * 10**6))"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    child.stdout.read(1)
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait() == 1
