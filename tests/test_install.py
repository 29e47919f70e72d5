"""What a newcomer does first: an environment from a lock, whatever the index publishes later."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / ".ci"))

import install

LOCKS = ("requirements.lock", "requirements-dev.lock")


def wheel(folder, name, version, requires=(), extras=()):
    """A wheel of one empty module; its line for a lock."""
    info, path = f"{name}-{version}.dist-info", folder / f"{name}-{version}-py3-none-any.whl"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {each}" for each in requires]
    metadata += [f"Provides-Extra: {each}" for each in extras]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", f"version = {version!r}\n")
        file.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index on this disk of nothing but the wheels that a test puts into it."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An empty environment with the pip that Python brings."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    install.make(folder)
    return folder


def installed(environment):
    """Versions of the made-up packages in an environment."""
    code = "from importlib.metadata import distributions; "
    code += "print(*(f'{each.name}=={each.version}' for each in distributions()))"
    command = [environment / "bin" / "python", "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    versions = dict(word.split("==") for word in found.stdout.split())
    return {name: versions[name] for name in ("alpha", "beta", "gamma") if name in versions}


def pip_of(environment, whose):
    """The pip that Python brings, or the one that is locked, working on the same environment."""
    python = str(environment / "bin" / "python")
    quiet = ["--disable-pip-version-check", "--no-input"]
    if whose == "locked":
        return [sys.executable, "-m", "pip", "--python", python, *quiet]
    return [python, "-m", "pip", *quiet]


@pytest.mark.parametrize("whose", ["ensurepip", "locked"])
@pytest.mark.slow
def test_what_is_locked_comes_whatever_newer_releases_there_are(
    index, environment, whose, tmp_path, capsys
):
    lock, log = tmp_path / "toy.lock", tmp_path / "log"
    log.touch()
    lock.write_text(
        wheel(index, "alpha", "1.0", requires=["beta[more]>=1.0"])
        + wheel(index, "beta", "1.0", requires=['gamma>=1.0; extra == "more"'], extras=["more"])
        + wheel(index, "gamma", "1.0")
    )
    wheel(index, "beta", "2.0", requires=['gamma>=2.0; extra == "more"'], extras=["more"])
    wheel(index, "gamma", "2.0")
    pip = pip_of(environment, whose)
    install.packages(pip, lock, log)
    try:
        assert installed(environment) == {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}
        install.settle(pip, lock, log, tmp_path / "kept")
        assert capsys.readouterr().out == ""
        assert (tmp_path / "kept").read_text() == "alpha\nbeta\ngamma\ngan-style\n"
    finally:
        subprocess.run(
            [*pip, "uninstall", "--yes", "--quiet", "alpha", "beta", "gamma"], check=True
        )


def test_a_file_that_is_not_the_locked_one_is_refused_with_the_end_of_the_log(
    index, environment, tmp_path
):
    lock, log = tmp_path / "toy.lock", tmp_path / "log"
    log.touch()
    line = wheel(index, "alpha", "1.0")
    lock.write_text(line.replace("sha256:", "sha256:0")[: len(line) - 1] + "\n")
    with pytest.raises(install.Failed) as error:
        install.packages(pip_of(environment, "ensurepip"), lock, log)
    assert "DO NOT MATCH THE HASHES" in str(error.value)
    assert str(error.value).endswith(f"all of it: {log}")
    assert len(str(error.value).splitlines()) <= install.TAIL + 2
    assert installed(environment) == {}


@pytest.mark.parametrize("whose", ["an earlier lock's", "unknown"])
@pytest.mark.slow
def test_what_an_earlier_lock_left_goes_when_it_no_longer_fits(
    index, environment, tmp_path, capsys, whose
):
    lock, log = tmp_path / "toy.lock", tmp_path / "log"
    log.touch()
    pip = pip_of(environment, "ensurepip")
    old = wheel(index, "beta", "1.0") + wheel(index, "alpha", "1.0", requires=["beta<2"])
    lock.write_text(old)
    install.packages(pip, lock, log)
    lock.write_text(wheel(index, "beta", "2.0") + wheel(index, "gamma", "1.0"))
    install.packages(pip, lock, log)
    kept = tmp_path / "kept"
    kept.write_text("beta\n")  # alpha is the user's own
    install.settle(pip, lock, log, kept)
    assert installed(environment) == {"alpha": "1.0", "beta": "2.0", "gamma": "1.0"}
    assert "Note: not of this project, and doesn't fit it: alpha 1.0 has" in capsys.readouterr().out
    kept.unlink() if whose == "unknown" else kept.write_text("alpha\nbeta\n")
    install.settle(pip, lock, log, kept)
    assert installed(environment) == {"beta": "2.0", "gamma": "1.0"}
    assert capsys.readouterr().out.endswith("of an earlier lock: alpha.\n")
    subprocess.run([*pip, "uninstall", "--yes", "--quiet", "beta", "gamma"], check=True)


@pytest.mark.slow
def test_a_lock_that_contradicts_itself_is_refused(index, environment, tmp_path):
    lock, log = tmp_path / "toy.lock", tmp_path / "log"
    log.touch()
    pip = pip_of(environment, "ensurepip")
    lock.write_text(
        wheel(index, "alpha", "1.0", requires=["beta>=2"]) + wheel(index, "beta", "1.0")
    )
    install.packages(pip, lock, log)
    with pytest.raises(
        install.Failed, match=r"toy\.lock pins doesn't fit together: alpha 1\.0 has"
    ):
        install.settle(pip, lock, log, tmp_path / "kept")
    subprocess.run([*pip, "uninstall", "--yes", "--quiet", "alpha", "beta"], check=True)


def test_an_environment_whose_python_is_gone_is_made_anew(tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    assert not install.works(python)
    python.symlink_to(tmp_path / "gone")
    assert not install.works(python)
    python.unlink()
    python.symlink_to(sys.executable)
    assert install.works(python)


@pytest.mark.parametrize("state", ["gone", "without its packages", "sound"])
@pytest.mark.parametrize(
    ("target", "lock"), [("demo", "requirements"), ("lint", "requirements-dev")]
)
def test_make_makes_an_environment_anew_whose_python_is(tmp_path, state, target, lock):
    for name in ("Makefile", "setup.cfg", "pyproject.toml", *LOCKS):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    if state == "gone":
        python.symlink_to(tmp_path / "nowhere")
    else:  # another version sees no packages, nor does -S
        isolated = "-S" if state == "without its packages" else ""
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" {isolated} "$@"\n')
        python.chmod(0o755)
    for ready in (".ready", ".ready-dev"):  # in this order, and newer than the locks
        (tmp_path / ".venv" / ready).touch()
    outer = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}  # of the make that runs the tests
    result = subprocess.run(
        ["make", "--dry-run", "VENV=.venv", target],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name not in outer},
        check=True,
    )
    assert (f".ci/install.py .venv {lock}.lock" in result.stdout) is (state != "sound")


def test_too_small_a_disk_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10**10, 10**10 - 10**9, 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(install.Failed, match=r"has 1\.0 GB free, but the environment takes"):
        install.refuse_without_room(tmp_path / "deep" / "venv")


def test_how_far_pip_is_stands_in_one_line():
    log = (
        "Collecting alpha==1.0 (from -r toy.lock (line 1))\n  Downloading alpha.whl (858.1 MB)\n"
        "Processing /somewhere/beta.whl\n  Using cached gamma.whl (141.9 MB)\n"
    )
    assert install.how_far(log, 3) == "2 of 3 packages, 1.0 GB"
    assert install.how_far(f"{log}\nInstalling collected packages: alpha", 3) == (
        "all is here, unpacking"
    )


def test_a_lock_of_users_has_the_pins_of_the_developers():
    users, developers = (
        dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.M)) for name in LOCKS
    )
    assert len(users) > 60
    assert {name: developers.get(name) for name in users} == users
    assert not {"pytest", "ruff", "mypy", "mkdocs", "playwright"} & users.keys()


def test_the_commands_of_the_package_are_found_without_a_checkout(tmp_path):
    script = Path(sys.executable).with_name("gan_style")
    for words in (["--version"], ["download"], ["train", "--help"]):
        result = subprocess.run(
            [script, *words], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert (result.returncode, result.stderr) == (0, "")
