"""Write the licence of every package that is locked, and what it is for, to docs/licences.md.

The lock says which there are and who needs them; the licences are what the installed packages
declare, read by pip-licenses.
"""

import json
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
# Of packages whose metadata name none: an empty one that brings NVIDIA's libraries.
UNNAMED = {"cuda-toolkit": "NVIDIA Proprietary Software"}
PAGE = ROOT / "docs" / "licences.md"
START, END = "<!-- packages: written by make licences -->", "<!-- end of the packages -->"


def needed() -> dict[str, set[str]]:
    """The names that setup.cfg asks for, by what they are for; the first purpose counts."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = setup["options.extras_require"]
    lists = {
        "To train and translate": setup["options"]["install_requires"],
        "For the documentation": extras["docs"],
        "To read HEIC, an extra": extras["heic"],
        "For development": extras["dev"],
    }
    return {
        purpose: {canonicalize_name(Requirement(line).name) for line in lines.split("\n") if line}
        for purpose, lines in lists.items()
    }


def locked(lock: str) -> tuple[dict[str, str], dict[str, set[str]]]:
    """The version of each package in the text of a lock, and the packages that need it."""
    versions, parents = {}, {}
    for entry in re.split(r"\n(?=\S)", lock):
        if pin := re.match(r"([\w.-]+)==([^\s;]+)", entry):
            (via,) = re.findall(r"# via (.+)", entry)
            versions[pin[1]] = pin[2]
            parents[pin[1]] = set(via.split(", "))
    return versions, parents


def purposes(parents: dict[str, set[str]]) -> dict[str, list[str]]:
    """The names of all packages of a lock, sorted, by what they are for."""
    result = {}
    left = set(parents)
    for purpose, roots in needed().items():
        found = set(roots)
        while more := {name for name in parents if parents[name] & found} - found:
            found |= more
        result[purpose] = sorted(found & left)
        left -= found
    return result


def declared() -> dict[str, tuple[str, str]]:
    """Version and licence of every package that is installed here."""
    command = [sys.executable, "-m", "piplicenses", "--with-system", "--format", "json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return {
        canonicalize_name(row["Name"]): (row["Version"], row["License"])
        for row in json.loads(result.stdout)
    }


def tables() -> str:
    """One table a purpose, of what is installed here: on Linux all of the lock is."""
    versions, parents = locked((ROOT / "requirements-dev.lock").read_text(encoding="utf-8"))
    installed = declared()
    lines = []
    for purpose, names in purposes(parents).items():
        lines += [f"## {purpose}", "", "| package | version | licence |", "|---|---|---|"]
        for name in names:
            version, licence = installed.get(name, ("none", ""))
            if version != versions[name]:
                sys.exit(f"{name} {versions[name]} is locked, {version} is installed: make install")
            licence = UNNAMED.get(name, licence)
            if licence == "UNKNOWN":
                sys.exit(f"{name} declares no licence: look it up, and add it to UNNAMED")
            lines.append(f"| {name} | {version} | {licence} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{START}\n\n{tables()}\n{END}{after}", encoding="utf-8")
