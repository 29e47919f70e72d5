"""A training loses nothing: locks, damaged checkpoints, full disks, broken numbers."""

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_training import events, same, weights
from torch.utils.tensorboard import SummaryWriter

from gan_style import checkpoint, curves, runs
from gan_style.errors import CheckpointError, ConfigError
from gan_style.io import files
from gan_style.methods import cyclegan
from gan_style.training.loop import Trainer

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def train(train):
    """At one rate, whatever the budget: runs that are resumed have a smaller one first."""
    return lambda **options: train(schedule="constant", **options)


@pytest.fixture
def whole(train, toy):
    """A run of six steps that nothing disturbed."""
    train(domain=toy, images=6, run_dir="whole")
    return "whole"


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_two_trainings_never_share_a_run(train, toy, refusal):
    train(domain=toy, images=2, run_dir="run")
    before = weights("run")
    held = runs.lock(Path("run"))
    again = {"domain": toy, "images": 4, "run_dir": "run", "resume": "auto"}
    assert "run is in use by another training" in refusal(train, **again)
    with pytest.raises(ConfigError, match="in use"):
        runs.lock(Path("run"))
    assert same(weights("run"), before)
    held.release()
    assert "going on after 2 images" in train(**again)


def test_two_new_runs_that_start_together_are_told_apart(train, toy, refusal):
    Path("run").mkdir()
    held = runs.lock(Path("run"))  # as the other one has it before it writes config.json
    assert "in use by another training" in refusal(train, domain=toy, images=1, run_dir="run")
    held.release()
    assert not Path("run/config.json").exists()


@pytest.mark.parametrize(("name", "position"), [("state", 2000), ("state", -100), ("process_0", 4)])
@pytest.mark.slow
def test_a_flipped_bit_is_noticed_and_the_checkpoint_before_taken(
    train, toy, whole, name, position
):
    options = {"domain": toy, "run_dir": "run", "checkpoint_minutes": 0}
    train(images=4, **options)
    newest = Path("run/checkpoints/000000004")
    flip(newest / f"{name}.safetensors", position)
    said = train(resume="auto", **(options | {"images": 6}))
    assert "checkpoint left out as it is damaged: run/checkpoints/000000004" in said
    assert "going on after 3 images" in said
    assert same(weights("run"), weights(whole))
    assert Path("run/checkpoints/damaged-000000004").is_dir()
    assert [path.name for path in checkpoint.checkpoints(Path("run"))] == ["000000005", "000000006"]


def test_a_lost_part_of_a_checkpoint_is_noticed(train, toy):
    train(domain=toy, run_dir="run", images=2, checkpoint_minutes=0)
    newest = Path("run/checkpoints/000000002")
    (newest / "process_0.safetensors").unlink()
    assert "process_0" in checkpoint.damage(newest)
    assert checkpoint.newest_sound(Path("run"))[0] == newest.with_name("000000001")


def test_without_a_sound_checkpoint_nothing_is_renamed(train, toy):
    train(domain=toy, run_dir="run", images=2, checkpoint_minutes=0)
    for path in Path("run/checkpoints").rglob("state.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint of run is sound"):
        checkpoint.newest_sound(Path("run"))
    assert len(checkpoint.checkpoints(Path("run"))) == 2


def test_a_run_that_ended_before_its_first_checkpoint_begins_again(train, toy, whole):
    train(domain=toy, images=1, run_dir="run")
    shutil.rmtree("run/checkpoints")
    said = train(domain=toy, images=6, run_dir="run", resume="auto")
    assert "no checkpoint was there yet: starting from the beginning" in said
    assert same(weights("run"), weights(whole))


def test_a_start_that_was_ended_early_hides_no_earlier_run(train, toy):
    train(domain=toy, images=1)
    Path("results/toy/cyclegan/0002").mkdir()
    assert "going on after 1 images" in train(domain=toy, images=2, resume="auto")


def test_what_an_ended_process_was_writing_is_removed(train, toy):
    train(domain=toy, images=1, run_dir="run")
    Path("run/checkpoints/.partial-000000002").mkdir()
    Path("run/.partial-77-gen_ab.safetensors").touch()
    train(domain=toy, images=2, run_dir="run", resume="auto")
    assert not list(Path("run").rglob(".partial-*"))


def test_a_disk_without_room_is_noticed_before_the_start(train, toy, refusal, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 10_000))
    line = refusal(train, domain=toy, images=1, run_dir="run")
    assert "run is on a disk with 0.0 GB free" in line
    assert not Path("run/config.json").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 5 * 10**6))
    assert "samples beside" not in train(domain=toy, images=1, samples=1, run_dir="run")


def test_pictures_that_will_not_fit_are_told(train, toy, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 5 * 10**6))
    monkeypatch.setattr("gan_style.training.loop.Trainer.train", lambda self: None)
    said = train(domain=toy, images=10**6, sample_every=1, run_dir="run")
    assert "the disk has 0.0 GB free, too little for" in said


def test_the_room_that_is_asked_for_is_what_a_run_takes(train, toy, monkeypatch):
    asked, needed = [], Trainer.bytes_needed
    monkeypatch.setattr(
        Trainer, "bytes_needed", lambda self: asked.append(needed(self)) or asked[-1]
    )
    train(domain=toy, images=3, run_dir="run", keep=3, checkpoint_minutes=0, width_generator=16)
    taken = runs.bytes_of_weights(Path("run"))
    assert taken < asked[0][0] < 1.5 * taken  # room for one checkpoint more than the three


def test_a_full_disk_on_the_way_costs_a_checkpoint_not_the_run(
    train, toy, whole, monkeypatch, capsys
):
    save_file, full = checkpoint.save_file, ["000000002", "000000003"]

    def save(tensors, path, metadata):
        if path.parent.name.removeprefix(".partial-") in full and path.name.startswith("state"):
            path.write_bytes(b"half")
            raise FULL
        save_file(tensors, path, metadata)

    monkeypatch.setattr(checkpoint, "save_file", save)
    trainer_save, left = Trainer.save, []

    def watched(self):
        try:
            trainer_save(self)
        finally:
            left.append(sorted(path.name for path in Path("run/checkpoints").iterdir()))

    monkeypatch.setattr(Trainer, "save", watched)
    train(domain=toy, images=6, run_dir="run", checkpoint_minutes=0)
    assert left[:4] == [["000000001"]] * 3 + [["000000001", "000000004"]]
    assert same(weights("run"), weights(whole))


@pytest.mark.slow
def test_a_full_disk_at_the_end_leaves_the_checkpoint_before(
    train, toy, whole, refusal, monkeypatch
):
    options = {"domain": toy, "run_dir": "run", "checkpoint_minutes": 0}
    train(images=3, **options)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", raiser(FULL))
        with pytest.raises(SystemExit) as error:
            train(resume="auto", **(options | {"images": 6}))
        assert error.value.code == 2
    assert [path.name for path in checkpoint.checkpoints(Path("run"))] == ["000000002", "000000003"]
    assert "going on after 3 images" in train(resume="auto", **(options | {"images": 6}))
    assert same(weights("run"), weights(whole))


def raiser(error):
    def raises(*args, **options):
        raise error

    return raises


def test_a_writer_that_fails_never_ends_a_run(train, toy, whole, monkeypatch):
    monkeypatch.setattr(SummaryWriter, "flush", raiser(FULL))
    train(domain=toy, images=6, log_every=1, sample_every=2, run_dir="run")
    assert same(weights("run"), weights(whole))


def test_curves_go_on_with_nothing_missing_when_the_disk_has_room_again(monkeypatch, capsys):
    shown = curves.Curves(Path("run/tensorboard"))
    monkeypatch.setattr(curves, "RETRY", 0.0)
    with monkeypatch.context() as patch:
        shown.scalars({"loss": 1.0}, 1)
        patch.setattr(SummaryWriter, "flush", raiser(FULL))
        shown.scalars({"loss": 2.0}, 2)
        shown.picture("samples", np.zeros((8, 8, 3), np.uint8), 2)
        shown.scalars({"loss": 3.0}, 3)
    shown.scalars({"loss": 4.0}, 4)
    shown.close()
    steps = [event.step for event in events("run").Scalars("loss")]
    assert sorted(set(steps)) == [1, 2, 3, 4]
    said = capsys.readouterr().err
    assert said.count("can't be written") == 1
    assert said.count("curves go on") == 1


def test_a_full_disk_is_not_asked_again_at_every_step(monkeypatch):
    tries = []

    def full(self, *arguments, **options):
        tries.append(1)
        raise FULL

    monkeypatch.setattr(SummaryWriter, "__init__", full)
    shown = curves.Curves(Path("run/tensorboard"))
    for step in range(5):
        shown.scalars({"loss": 1.0}, step)
    assert len(tries) == 1
    shown.close()


def test_the_images_of_a_broken_step_are_kept_as_they_were_shown(train, toy, refusal, monkeypatch):
    losses, batches = cyclegan.Method.losses, []

    def broken(self, batch):
        batches.append({side: images.clone() for side, images in batch.items()})
        for player, terms in losses(self, batch):
            if len(batches) == 3:
                terms["fake_b" if player == "discriminator" else "cycle_a"] *= float("nan")
            yield player, terms

    monkeypatch.setattr(cyclegan.Method, "losses", broken)
    options = {"domain": toy, "run_dir": "run", "batch_size": 2, "checkpoint_minutes": 0}
    with pytest.raises(SystemExit) as error:
        train(images=12, log_every=1, **options)
    assert error.value.code == 1
    folder = Path("run/broken/000000006")
    for side in "ab":
        shown = torch.stack(
            [
                torch.from_numpy(np.array(Image.open(folder / f"{item:09}_{side}.png")))
                for item in (4, 5)
            ]
        )
        assert torch.equal(shown.permute(0, 3, 1, 2).float() / 255, batches[2][side])
    assert (folder / "files.json").exists()
    newest = checkpoint.checkpoints(Path("run"))[-1]
    assert newest.name == "000000004"
    assert not checkpoint.damage(newest)


@pytest.mark.parametrize("precision", ["fp32", "auto"])
@pytest.mark.slow
def test_deterministic_runs_are_equal_bit_for_bit(train, toy, monkeypatch, precision):
    losses, seen = cyclegan.Method.losses, []

    def looked_at(self, batch):
        seen.append(torch.are_deterministic_algorithms_enabled())
        return losses(self, batch)

    monkeypatch.setattr(cyclegan.Method, "losses", looked_at)
    for run in ("one", "other"):
        train(domain=toy, images=4, deterministic=True, precision=precision, run_dir=run)
    assert all(seen)
    assert same(weights("one"), weights("other"))
    train(domain=toy, images=1)
    assert not seen[-1]


def test_what_cannot_be_deterministic_says_what_is_saved(train, toy, monkeypatch, capsys):
    preview, count = cyclegan.Method.preview, iter(range(9))

    def refused(self, batch):
        if next(count):
            raise RuntimeError("x does not have a deterministic implementation, but you set")
        return preview(self, batch)

    monkeypatch.setattr(cyclegan.Method, "preview", refused)
    with pytest.raises(SystemExit) as error:
        train(domain=toy, images=4, sample_every=2, deterministic=True, run_dir="run")
    assert error.value.code == 1
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        "train.py: --deterministic can't be kept on cpu: x does not have a deterministic "
        "implementation; after 2 images everything is saved; go on with: --run_dir run "
        "--resume auto"
    )


def test_weights_may_be_read_by_whom_the_umask_lets(train, toy):
    before = os.umask(0o027)
    try:
        train(domain=toy, images=1, run_dir="run")
    finally:
        os.umask(before)
    assert Path("run/gen_ab.safetensors").stat().st_mode & 0o777 == 0o640


# Other systems: what Windows lacks is hidden


def test_files_are_forced_out_by_a_handle_that_may_write_where_that_is_asked_for(
    tmp_path, monkeypatch
):
    opened, really = [], os.open
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(os, "open", lambda path, flags: opened.append(flags) or really(path, flags))
    (tmp_path / "file").write_text("kept")
    files.sync(tmp_path / "file")
    files.sync(tmp_path)
    assert opened == [os.O_RDWR, os.O_RDONLY]
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_that_cannot_be_opened_is_left_to_the_system(tmp_path, monkeypatch):
    def refuse(path, flags):
        raise PermissionError

    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "open", refuse)
    files.sync(tmp_path)
    with pytest.raises(PermissionError):
        files.sync(tmp_path / "file")


def test_images_are_noted_without_a_flag_of_unix(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_NOFOLLOW")
    runs.leave_out(tmp_path, [("trainA", "x.png", "broken")])
    assert runs.left_out(tmp_path) == {("trainA", "x.png")}
