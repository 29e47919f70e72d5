"""Bars and lines beside work: few in a file, and none of them can end what they are about."""

import fcntl
import io
import os
import pty
import select
import struct
import subprocess
import sys
import termios

import pytest
from conftest import ROOT
from test_training import same, weights

from gan_style import command, progress, signals
from gan_style.progress import STDERR, Bar, say

DAY = 86400.0  # seconds


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so, for a bar's lines."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def updates(bar, clock, seconds, every):
    for _ in range(int(seconds / every)):
        clock.now += every
        bar.update()
        bar.refresh()  # as a description that changes does


def test_a_bar_in_a_file_is_no_line_for_a_minute_and_then_one_a_minute(clock, capsys):
    with Bar(total=1000, unit=" images") as bar:
        updates(bar, clock, 59, 1)
        assert capsys.readouterr().err == ""
        updates(bar, clock, 3600 - 59, 1)
        said = capsys.readouterr().err
    assert said.count("\n") == 60
    assert "\r" not in said
    assert said.startswith("  6%")


def test_a_bar_of_five_days_is_some_hundreds_of_lines(clock, capsys):
    with Bar() as bar:
        updates(bar, clock, 5 * DAY, 10)
    assert 200 < capsys.readouterr().err.count("\n") < 600


def test_a_bar_says_where_it_ended_if_it_said_anything(clock, capsys):
    for seconds, leave, count in ((50, True, 0), (70, True, 2), (70, False, 1)):
        with Bar(total=70, leave=leave) as bar:
            updates(bar, clock, seconds, 1)
            clock.now += 5
        said = capsys.readouterr().err
        assert said.count("\n") == count
        assert ("100%" in said) == (count == 2)


def test_a_line_leaves_the_bar_of_a_file_alone(clock, capsys):
    with Bar(total=5):
        say("KID after 3 images", STDERR)
    assert capsys.readouterr().err == "KID after 3 images\n"


def test_a_terminal_sees_its_bar_at_once(monkeypatch):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with Bar(total=5) as bar:
            bar.update()
        seen = ""
        while select.select([ours], [], [], 0)[0]:  # a read may end early
            seen += os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "  0%" in seen
    assert seen.count("\r") > 1


class Gone(io.StringIO):
    def write(self, text):
        raise OSError(5, "Input/output error")


class Closed(io.StringIO):
    def flush(self):
        raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize(
    "output", [None, Gone(), Closed(), object()], ids=["none", "gone", "closed", "strange"]
)
def test_saying_something_never_fails(monkeypatch, output):
    monkeypatch.setattr(sys, "stderr", output)
    monkeypatch.setattr(sys, "stdout", output)
    with Bar(total=2) as bar:
        say("a line")
        say("a line", STDERR)
        bar.set_description("computing KID")
        bar.update()
    progress.let_go()


@pytest.mark.parametrize("output", [None, io.StringIO(), Gone()], ids=["none", "notebook", "gone"])
def test_a_command_runs_whatever_stdout_is(monkeypatch, output):
    monkeypatch.setattr(sys, "stdout", output)
    command.run("x", lambda: say("found"))
    if type(output) is io.StringIO:
        assert output.getvalue() == "found\n"


def ended(body, redirected="", **environment):
    """Exit code and stderr of a program whose main function is `body`."""
    code = f"""
import sys
from gan_style import command
from gan_style.errors import DataError
from gan_style.progress import say
def main():
    {body}
command.run("x", main)
"""
    line = f'exec "{sys.executable}" -c "$0" {redirected}'
    buffered = {key: os.environ[key] for key in os.environ if key != "PYTHONUNBUFFERED"}
    result = subprocess.run(
        ["sh", "-c", line, code],
        cwd=ROOT,
        env=buffered | environment,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return result.returncode, result.stderr


@pytest.mark.parametrize("output", [">/dev/full", ">&-"])
def test_who_takes_no_lines_changes_no_exit_code(output):
    assert ended("raise DataError('no such folder')", f"2{output}")[0] == 2
    assert ended("raise KeyError('a bug')", f"2{output}")[0] == 1
    assert ended("say('finished')", output) == (0, "")


@pytest.mark.slow
def test_a_start_says_what_is_not_read_to_a_full_disk_and_goes_on(toy):
    """Unbuffered, as in a container, each line fails by itself."""
    (toy / "readme.doc").touch()
    body = f"""from gan_style.training import launch
    from pathlib import Path
    from types import SimpleNamespace
    notes = {{Path(str(i)): 'a line' for i in range(20)}}
    launch.say_unread(SimpleNamespace(cache=SimpleNamespace(notes=notes)), [Path({str(toy)!r})])"""
    assert ended(body, ">/dev/full", PYTHONUNBUFFERED="1") == (0, "")


def test_a_command_whose_answer_cannot_be_written_says_so():
    code, said = ended("print('0.5')", ">/dev/full")
    assert (code, said) == (2, "x: can't write to stdout: No space left on device\n")


def test_no_file_is_opened_in_the_place_of_a_closed_stderr(tmp_path):
    body = f"f = open(r'{tmp_path / 'a'}', 'w'); import os; os.write(2, b'a warning'); f.close()"
    assert ended(body, "2>&-")[0] == 0
    assert (tmp_path / "a").read_text() == ""


def test_signals_that_a_system_lacks_or_others_handle_are_left_alone(monkeypatch):
    monkeypatch.delattr("signal.SIGHUP")
    monkeypatch.setattr("signal.getsignal", lambda number: None)  # a handler that isn't Python's
    monkeypatch.setattr("signal.signal", None)  # is not called
    with signals.postponed(print):
        pass


@pytest.mark.slow
def test_a_second_training_in_one_process_knows_nothing_of_the_first(train, toy):
    """As in a notebook: `%run train.py` again, with another precision and batch size."""
    train(domain=toy, images=2, run_dir="alone")
    train(domain=toy, images=2, run_dir="other", precision="bf16", batch_size=2)
    train(domain=toy, images=2, run_dir="again")
    assert same(weights("alone"), weights("again"))
