"""Images that can't be read any more while a run trains, and messages about very many images."""

import errno
import json
import tempfile
import unicodedata
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image

from gan_style import runs
from gan_style.config import PARTS, DataConfig
from gan_style.data import stream as module
from gan_style.data.images import ImageError
from gan_style.data.stream import Domain, DomainPair, domain_from_folder, with_absent
from gan_style.errors import DataError
from gan_style.io.files import listed
from gan_style.methods import cyclegan
from gan_style.training import reader
from gan_style.training.reader import Reader

DECODED = {"cache_gb": 0, "sample_every": 0, "run_dir": "run"}  # nothing is in memory


@pytest.fixture(autouse=True)
def _impatient(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "PAUSE", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def pair(folder, **options):
    config = DataConfig(**({"size": 24, "workers": 2, "cache_gb": 0} | options))
    return DomainPair(domain_from_folder(folder), config, seed=0)


def sorted_images(folder):
    return sorted(folder.iterdir())


# The stream


def test_a_read_that_fails_once_is_done_again(toy, monkeypatch):
    failed, load = set(), module.read_picture

    def falters(path, background):
        if path not in failed:
            failed.add(path)
            raise ImageError(f"{path}: Input/output error")
        failed.remove(path)
        return load(path, background)

    sound = pair(toy)
    monkeypatch.setattr(module, "read_picture", falters)
    faltering = pair(toy)  # also at the look before a training
    for k in range(12):
        for one, other in zip(sound.item(k), faltering.item(k), strict=True):
            assert torch.equal(one, other)
    assert not faltering.left_out


def test_a_checksum_that_fails_once_is_computed_again(toy, monkeypatch):
    failed, sha256_of = set(), module.sha256_of

    def falters(path):
        if path not in failed:
            failed.add(path)
            raise OSError(errno.EIO, "Input/output error")
        return sha256_of(path)

    sound = pair(toy)
    monkeypatch.setattr(module, "sha256_of", falters)
    assert pair(toy).digests == sound.digests
    assert len(failed) == 18


def test_the_next_image_is_shown_for_one_that_vanished_and_all_others_as_before(toy):
    whole, less = pair(toy), pair(toy)
    files = sorted_images(toy / "trainA")
    before = [(whole.files(k), whole.item(k)) for k in range(24)]
    files[2].unlink()
    for k, ((path, partner), (a, b)) in enumerate(before):
        crops = less.item(k)
        assert less.files(k) == (files[3] if path == files[2] else path, partner)
        assert torch.equal(crops[0], a) == (path != files[2])
        assert torch.equal(crops[1], b)
    ((part, path), reason) = next(iter(less.left_out.items()))
    assert (part, path, reason) == ("trainA", files[2], f"{files[2]}: no such file")
    assert len(less.left_out) == 1


def test_after_the_last_image_comes_the_first(toy):
    data, files = pair(toy), sorted_images(toy / "trainB")
    files[-1].unlink()
    shown = {k: data.files(k)[1] for k in range(40)}
    for k, path in shown.items():
        data.item(k)
        assert data.files(k)[1] == (files[0] if path == files[-1] else path)


@pytest.mark.parametrize(
    ("options", "said"), [({"preprocess": "crop"}, "20x9 pixels is below the crop, --size 24")]
)
def test_an_image_that_shrank_is_left_out(toy, options, said):
    data, path = pair(toy, **options), sorted_images(toy / "trainA")[0]
    Image.new("RGB", (20, 9)).save(path)
    for k in range(12):
        data.item(k)
    assert list(data.left_out.values()) == [f"{path}: {said}"]


def test_what_memory_holds_is_shown_wherever_its_file_is(toy):
    data = pair(toy, cache_gb=1)
    before = data.item(0)
    for path in (toy / "trainA").iterdir():
        path.unlink()
    assert torch.equal(data.item(0)[0], before[0])
    assert not data.left_out


def test_a_stream_of_several_threads_and_processes_goes_on(toy):
    first, second = pair(toy), pair(toy)
    streams = [d.batches(0, 2, process=i, processes=2) for i, d in enumerate((first, second))]
    for number, path in enumerate(sorted_images(toy / "trainA")[:4]):
        path.unlink()
        for stream in streams:
            assert [b["a"].shape for b in islice(stream, 4)] == [(2, 3, 24, 24)] * 4, number
    for stream in streams:
        stream.close()


def test_without_any_image_it_ends_in_a_line(toy):
    data = pair(toy)
    for path in (toy / "trainB").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"none of the 6 images of toy/trainB can be read any more"):
        next(data.batches(0, 1))


def test_samples_are_of_the_images_that_are_still_there(toy):
    data, files = pair(toy), sorted_images(toy / "testA")
    files[0].unlink()
    assert torch.equal(data.samples(3)["a"][0], data.samples(3)["a"][1])
    assert list(data.left_out) == [("testA", files[0])]


@pytest.mark.parametrize("noted", [False, True], ids=["live", "noted"])
def test_samples_are_training_images_where_no_test_image_is_left(toy, noted):
    data, whole, files = pair(toy), domain_from_folder(toy), sorted_images(toy / "testA")
    before = data.samples(3)
    for path in files:
        path.unlink()
    if noted:
        names = {("testA", path.name) for path in files}
        domain = with_absent(domain_from_folder(toy), names)
        assert domain.testA == whole.testA
        data = DomainPair(domain, data.config, 0, left_out=names)
    samples = data.samples(3)
    assert torch.equal(samples["a"], data.samples(3, "train")["a"])
    assert torch.equal(samples["b"], before["b"])
    assert (data.lost("testA"), data.lost("testB"), data.lost("trainA")) == (True, False, False)


# A run


@pytest.fixture
def vanishing(monkeypatch):
    """Have files of a folder vanish while a method computes the losses of a step."""

    def plan(step, *paths):
        losses, steps = cyclegan.Method.losses, iter(range(1, 99))

        def interrupted(self, batch):
            if next(steps) == step:
                for path in paths:
                    path.unlink()
            yield from losses(self, batch)

        monkeypatch.setattr(cyclegan.Method, "losses", interrupted)

    return plan


def test_one_that_vanished_before_the_samples_were_drawn_is_said_too(train, toy, monkeypatch):
    path, noted, samples = sorted_images(toy / "testA")[0], [], DomainPair.samples

    def late(self, *arguments):
        path.unlink(missing_ok=True)
        return samples(self, *arguments)

    monkeypatch.setattr(reader, "say", lambda text, output=None: noted.append(text))
    monkeypatch.setattr(DomainPair, "samples", late)
    train(domain=toy, images=2, **DECODED)
    assert noted == [f"left out from now on: {path}: no such file"]
    assert runs.left_out(Path("run")) == {("testA", path.name)}


@pytest.mark.slow
def test_the_end_counts_what_is_left_out_now(train, toy, vanishing):
    files = sorted_images(toy / "trainA")
    kept = files[1].read_bytes()
    vanishing(1, *files[1:3])
    said = train(domain=toy, images=12, **DECODED)
    assert "images left out on the way: 2, listed in run/left_out.jsonl" in said
    files[1].write_bytes(kept)
    said = train(domain=toy, images=18, resume="auto", **DECODED)
    assert "images left out on the way: 1, listed in run/left_out.jsonl" in said
    assert json.loads(Path("run/progress.json").read_text())["left_out"] == 1


def test_what_another_process_left_out_is_counted(tmp_path):
    domain = Domain(name="", **dict.fromkeys(PARTS, ()))
    lost = {("trainA", Path("x.png")): ""}
    data = SimpleNamespace(left_out=lost, domain=domain)
    came_back = {("trainA", "back.png")}
    runs.leave_out(tmp_path, [("trainA", name, "") for name in ("back.png", "x.png", "y.png")])
    process = SimpleNamespace(data=data, run=tmp_path, _earlier=came_back)
    assert Reader.left_out(process) == 2


def test_several_processes_say_so_once(tmp_path, monkeypatch):
    noted, left_out = [], {("trainA", Path("x.png")): "x.png: no such file"}
    domain = Domain(name="", **dict.fromkeys(PARTS, ()))
    monkeypatch.setattr(reader, "say", lambda text, output=None: noted.append(text))
    processes = [
        SimpleNamespace(
            data=SimpleNamespace(left_out=left_out, domain=domain),
            run=tmp_path,
            _earlier=set(),
            _noted=0,
            _told=0,
        )
        for _ in range(2)
    ]
    for process in processes * 2:
        Reader.note_left_out(process)
    assert noted == ["left out from now on: x.png: no such file"]
    assert len((tmp_path / runs.LEFT_OUT).read_text().splitlines()) == 1


def test_a_run_goes_on_without_an_image_says_so_once_and_counts_it(
    train, toy, vanishing, monkeypatch
):
    path, noted = sorted_images(toy / "trainA")[1], []
    monkeypatch.setattr(reader, "say", lambda text, output=None: noted.append(text))
    vanishing(1, path)
    train(domain=toy, images=24, **DECODED)
    assert noted == [f"left out from now on: {path}: no such file"]
    assert json.loads(Path("run/progress.json").read_text())["left_out"] == 1
    assert runs.left_out(Path("run")) == {("trainA", path.name)}


@pytest.mark.slow
def test_the_lines_about_a_run_have_a_bound(train_alone, tmp_path, vanishing, capsys, monkeypatch):
    noted = []
    monkeypatch.setattr(reader, "say", lambda text, output=None: noted.append(text))
    from data_tools import synth

    folder = synth.make(tmp_path / "many", size=24, train=40, test=3)
    vanishing(1, *sorted_images(folder / "trainA")[:30])
    said = train_alone(**TINY, domain=folder, images=40, **DECODED)
    gone = [line for line in noted if line.startswith("left out from now on: ")]
    assert len(gone) == 10
    assert noted.count("more are left out: see run/left_out.jsonl") == 1
    assert len(runs.left_out(Path("run"))) == 30
    assert "images left out on the way: 30, listed in run/left_out.jsonl" in said


@pytest.mark.slow
def test_a_run_that_left_images_out_is_gone_on_with(train, toy, vanishing):
    files = sorted_images(toy / "trainA")
    vanishing(1, files[1])
    train(domain=toy, images=12, **DECODED)
    said = train(domain=toy, images=24, resume="auto", **DECODED)
    assert "images left out before that still can't be read: 1, listed in run/left_out.j" in said
    assert "going on after 12 images" in said


@pytest.mark.slow
def test_a_resumed_run_without_an_image_is_the_undisturbed_one(train, toy, vanishing):
    from safetensors.torch import load_file

    files = sorted_images(toy / "trainA")
    keep = files[1].read_bytes()
    vanishing(1, files[1])
    train(domain=toy, images=12, schedule="constant", **(DECODED | {"run_dir": "part"}))
    files[1].write_bytes(keep)
    vanishing(1, files[1])
    train(domain=toy, images=30, schedule="constant", **(DECODED | {"run_dir": "all"}))
    train(domain=toy, images=30, resume="auto", **(DECODED | {"run_dir": "part"}))
    one, other = (load_file(f"{run}/gen_ab.safetensors") for run in ("all", "part"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_run_that_lost_an_image_goes_on_where_its_folder_is_now(train, toy, vanishing, refusal):
    path = sorted_images(toy / "trainA")[1]
    kept = path.read_bytes()
    vanishing(1, path)
    train(domain=toy, images=12, **DECODED)
    moved = toy.rename("moved")
    said = train(domain=moved, images=18, resume="auto", **DECODED)
    assert "images left out before that still can't be read: 1," in said
    path = moved / "trainA" / path.name
    path.write_bytes((moved / "trainB" / path.name).read_bytes())  # there again, but another
    line = refusal(train, domain=moved, images=24, resume="auto", **DECODED)
    assert "1 have other content than then, such as" in line
    path.write_bytes(kept)
    said = train(domain=moved, images=24, resume="auto", **DECODED)  # from a state saved without it
    assert "going on after 18 images" in said
    assert "left out before" not in said


def test_an_image_that_is_there_again_is_shown_again(toy):
    path = sorted_images(toy / "trainA")[1]
    noted = {("trainA", path.name)}
    again = DomainPair(domain_from_folder(toy), DataConfig(size=24), 0, left_out=noted)
    assert not again.left_out


def test_what_was_left_out_keeps_its_place(toy):
    whole, path = domain_from_folder(toy), sorted_images(toy / "trainA")[3]
    path.unlink()
    noted = {("trainA", path.name)}
    less = with_absent(domain_from_folder(toy), noted)
    assert [p.name for p in less.trainA] == [p.name for p in whole.trainA]
    assert less.trainB == whole.trainB
    data = DomainPair(less, DataConfig(size=24), 0, left_out=noted)
    assert len(data.left_out) == 1
    with pytest.raises(DataError, match="1 of 18 images can't be used"):
        DomainPair(less, DataConfig(size=24), 0)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")], ids=" then ".join)
def test_what_was_left_out_is_known_however_its_accents_are_stored(toy, forms):
    then, now = (unicodedata.normalize(form, "é.png") for form in forms)
    noted, path = {("trainA", then)}, toy / "trainA" / now
    sorted_images(toy / "trainA")[3].rename(path)
    domain = domain_from_folder(toy)
    assert with_absent(domain, noted) == domain  # it is there
    path.unlink()
    assert len(DomainPair(domain, DataConfig(size=24), 0, left_out=noted).left_out) == 1


def test_notes_of_what_was_left_out_survive_odd_names_and_odd_lines(tmp_path):
    odd = [("trainA", "a\nb\udcff: c.png", "x: \udcff"), ("testB", "d/e", "y")]
    runs.leave_out(tmp_path, odd[:1])
    with (tmp_path / runs.LEFT_OUT).open("a") as file:
        file.write('[]\n["trainC", "/x", "y"]\n["trainA", 3, "y"]\n{"a": 1}\n\n')
    runs.leave_out(tmp_path, odd[1:])
    with (tmp_path / runs.LEFT_OUT).open("a") as file:
        file.write('["trainA", "/cut o')
    assert runs.left_out(tmp_path) == {(part, path) for part, path, _ in odd}


def test_notes_never_go_where_a_link_leads_and_never_stop_a_run(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / runs.LEFT_OUT).symlink_to("precious")
    runs.leave_out(tmp_path, [("trainA", "a", "b")])
    assert (tmp_path / "precious").read_text() == "mine"
    runs.leave_out(tmp_path / "nowhere", [("trainA", "a", "b")])


# Messages


@pytest.fixture
def thousands(tmp_path):
    """A domain with 2000 files that are no images."""
    from data_tools import synth

    folder = synth.make(tmp_path / "bad", size=24, train=4, test=4)
    for i in range(2000):
        (folder / "trainA" / f"bad{i:04}.png").touch()
    return folder


@pytest.fixture
def last_line(capsys):
    """Run something that must be refused: what stderr ends with, bars before it or not."""

    def run(function, *args, **options):
        with pytest.raises(SystemExit) as error:
            function(*args, **options)
        assert error.value.code == 2
        return capsys.readouterr().err.rstrip("\n").splitlines()[-1].split("\r")[-1]

    return run


def test_thousands_of_bad_images_are_a_short_line_and_a_file(train, thousands, last_line, tmp_path):
    line = last_line(train, domain=thousands)
    (file,) = tmp_path.glob("gan_style-list-*.txt")
    assert "2000 of 2016 images can't be used (leave them out with --skip_bad_images): " in line
    assert line.endswith(f"; ... all 2000 are in {file}")
    assert len(line) < 3000
    names = [line.split(": ")[0] for line in file.read_text().splitlines()]
    assert names == [str(path) for path in sorted((thousands / "trainA").glob("bad*"))]


def test_thousands_of_skipped_images_are_listed_beside_the_run(train, thousands):
    said = train(domain=thousands, images=1, skip_bad_images=True, run_dir="run", sample_every=0)
    assert "bad images left out: 2000 (" in said
    assert "; ... all 2000 are in run/bad_images.txt)" in said
    assert len(said) < 5000
    assert len(Path("run/bad_images.txt").read_text().splitlines()) == 2000


@pytest.mark.slow
def test_thousands_of_untranslated_images_are_listed_beside_the_others(
    train, gan_style, thousands, last_line
):
    train(domain=thousands, images=1, skip_bad_images=True, run_dir="run", sample_every=0)
    for i in range(2000):
        (thousands / "testA" / f"bad{i:04}.png").touch()
    line = last_line(gan_style, "translate", run="run", content=thousands / "testA", out="out")
    assert "2000 of 2004 images were left out: " in line
    assert line.endswith("; ... all 2000 are in out/left_out.txt")
    assert len(line) < 3000
    assert len(Path("out/left_out.txt").read_text().splitlines()) == 2000


def test_a_list_that_can_be_kept_nowhere_is_cut_all_the_same(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    line = listed([str(i) for i in range(50)])
    assert line.startswith("0; 1; 2; 3; 4; 5; 6; 7; 8; 9; ... 50 in all (can't write a temp")


# Memory


@pytest.fixture
def photos(tmp_path):
    """40 images of 100 x 100 x 3 = 30,000 bytes."""
    noise = np.random.default_rng(0)
    for part in ("trainA", "trainB"):
        (tmp_path / "p" / part).mkdir(parents=True)
        for i in range(20):
            image = noise.integers(0, 256, (100, 100, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "p" / part / f"{i:02}.png")
    return tmp_path / "p"


class Machine:
    """Memory of which a cache takes some."""

    def __init__(self, size, monkeypatch):
        self.size, self.peak, self.caches = size, 0, []
        monkeypatch.setattr(module, "INTERVAL", 0)
        monkeypatch.setattr(module.memory, "free", lambda device: self.free)
        monkeypatch.setattr(module.memory, "below_peak", lambda: self.peak)

    @property
    def free(self):
        return self.size - sum(cache.size for cache in self.caches)


def cache_of(machine, processes=1, limit=4e9):
    cache = module.ImageCache(lambda size: size, "white", limit, processes)
    machine.caches.append(cache)
    return cache


def test_images_in_memory_keep_to_a_share_of_what_is_free(photos, monkeypatch):
    machine = Machine(4 * 300_000, monkeypatch)  # a quarter are ten images
    cache = cache_of(machine)
    for path in sorted(photos.rglob("*.png")):
        cache.read(path)
    assert (len(cache.arrays), cache.size, cache.short) == (10, 300_000, True)


def test_processes_share_what_is_free(photos, monkeypatch):
    machine = Machine(4 * 300_000, monkeypatch)
    caches = [cache_of(machine, processes=2) for _ in range(2)]
    for path in sorted(photos.rglob("*.png")):
        for cache in caches:
            cache.read(path)
    # Who comes later finds less free and holds less: five each would be a quarter of all.
    assert [len(cache.arrays) for cache in caches] == [5, 4]


def test_what_a_step_holds_at_its_peak_isnt_taken_for_free(photos, monkeypatch):
    machine = Machine(4 * 300_000, monkeypatch)
    machine.peak = 4 * 210_000
    cache = cache_of(machine)
    for path in sorted(photos.rglob("*.png")):
        cache.read(path)
    assert len(cache.arrays) == 3
    machine.peak = 0  # what took it has ended
    for path in sorted(photos.rglob("*.png")):
        cache.read(path)
    assert len(cache.arrays) == 10


def test_enough_memory_is_no_reason_for_a_line(photos, monkeypatch):
    machine = Machine(1e9, monkeypatch)
    cache = cache_of(machine, limit=90_000)
    for path in sorted(photos.rglob("*.png")):
        cache.read(path)
    assert (len(cache.arrays), cache.short) == (3, False)  # as was asked for


def test_a_run_says_that_memory_holds_fewer_images_than_asked_for(train, toy, monkeypatch):
    options = {"domain": toy, "images": 1, "sample_every": 0}
    monkeypatch.setattr(module, "SHARE", 1e-9)
    line = "0.0 GB of images are kept in memory, not --cache_gb 4, as no more is free; "
    assert line in train(**options)
    monkeypatch.setattr(module, "SHARE", 0.25)
    assert "kept in memory" not in train(**options)


# Grey


def colours(folder):
    noise = np.random.default_rng(1)
    for part in ("trainA", "trainB", "testA", "testB"):
        (folder / part).mkdir(parents=True)
        for i in range(4):
            image = noise.integers(0, 256, (53, 61, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / part / f"{i}.png")
    return folder


def reference(path, size):
    """As get_transform of the reference: Grayscale, then Resize; (H, W) in 8 bits."""
    grey = Image.open(path).convert("RGB").convert("L")
    return np.asarray(grey.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def test_grey_is_taken_before_an_image_is_scaled_as_in_the_reference(tmp_path):
    folder = colours(tmp_path / "d")
    config = DataConfig(preprocess="resize", size=24, width=32, flip=False)
    data = DomainPair(domain_from_folder(folder), config, 0, grey=("a",))
    different = 0
    for k in range(8):
        (path, _), (a, b) = data.files(k), data.item(k)
        levels = (a * 255).round().to(torch.uint8).numpy()
        assert all(np.array_equal(channel, reference(path, (24, 32))) for channel in levels)
        assert not torch.equal(b[0], b[1])
        after = Image.open(path).resize((32, 24), Image.Resampling.BICUBIC).convert("L")
        different += int((np.asarray(after) != levels[0]).sum())
    assert different > 0  # scaled first they would have been others
    (sample, *_) = (data.samples(1)["a"] * 255).round().to(torch.uint8).numpy()
    assert np.array_equal(sample[0], reference(folder / "testA" / "0.png", (24, 32)))


def test_one_folder_can_be_grey_as_a_and_coloured_as_b(tmp_path):
    folder = colours(tmp_path / "d")
    domain = domain_from_folder(folder)
    same = module.replace(domain, trainB=domain.trainA)
    data = DomainPair(same, DataConfig(size=24), 0, grey=("a",))
    for k in range(8):
        a, b = data.item(k)
        assert torch.equal(a[0], a[1])
        assert not torch.equal(b[0], b[1])


@pytest.mark.parametrize("name", ["cyclegan", "dualgan"])
def test_methods_say_which_sides_are_grey(name):
    from gan_style import methods

    found = methods.load(name)
    no_identity = {"lambda_identity": 0} if name == "cyclegan" else {}
    for direction, grey in (("a2b", False), ("b2a", True)):
        config = found.Config(channels_b=1, direction=direction, **no_identity)
        with torch.device("meta"):
            method = found.Method(config)
        assert (method.grey_sides, method.grey) == (("b",), grey)


def test_translate_reads_what_a_grey_network_takes_as_training_did(
    train, gan_style, tmp_path, monkeypatch
):
    folder = colours(tmp_path / "d")
    train(domain=folder, images=1, channels_a=1, channels_b=1, sample_every=0, run_dir="run")
    seen = []
    inner = cyclegan.Method.translate_in

    def looked_at(self, direction, content):
        seen.append(content)
        return inner(self, direction, content)

    monkeypatch.setattr(cyclegan.Method, "translate_in", looked_at)
    gan_style("translate", run="run", content=folder / "testA" / "0.png", out="o.png", side=40)
    levels = (seen[-1][0, :, :35, :40] * 255).round().to(torch.uint8).numpy()
    wanted = reference(folder / "testA" / "0.png", (35, 40))
    assert all(np.array_equal(channel, wanted) for channel in levels)
