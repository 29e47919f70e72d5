"""What the documentation says can be typed and followed."""

import ast
import importlib
import inspect
import re
import shlex
from dataclasses import fields

import pytest
from conftest import ROOT

import gan_style
from data_tools import check, download
from gan_style import __main__, command, config, methods
from gan_style.comparison import Comparison

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = {
    "data_tools.download": download.bring,
    "data_tools.check": check.look,
    **{f"gan_style {name}": function for name, function in __main__.COMMANDS.items()},
}


def commands():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        code = re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)
        code += re.findall(r"`([^`\n]+)`", text)
        for line in "\n".join(code).splitlines():
            if re.search(r"(python|launch.*|torchrun.*) train\.py|python -m ", line):
                yield page.name, line.strip()


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_every_command_in_the_docs_has_options_that_exist(page, line):
    typed = shlex.split(line)
    if "train.py" in typed:
        words, options = command.parse(typed[typed.index("train.py") + 1 :])
        words = [word for word in words if word != "..."]
        command.no_words(words)
        if "help" not in options:
            command.sections(command.with_file(options) if "config" not in options else {})
        return
    typed = typed[typed.index("-m") + 1 :]
    name = " ".join(typed[:2]) if typed[0] == "gan_style" else typed[0]
    if name == "gan_style":
        return
    words, options = command.parse(typed[2 if typed[0] == "gan_style" else 1 :])
    known = {*inspect.signature(PROGRAMS[name]).parameters, "config"}
    if name == "gan_style compare":
        known |= {field.name for field in fields(Comparison)}
    if name in ("gan_style translate", "gan_style cost"):
        methods_options = [config.describe(methods.source(each)) for each in methods.names()]
        known |= {"preset", *(field.name for its in methods_options for field in its)}
    assert set(options) <= known
    assert len(words) <= len(known)


def test_every_make_target_in_the_docs_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    for page in PAGES:
        for target in re.findall(r"make ([a-z-]+)`?(?:\n|`)", page.read_text(encoding="utf-8")):
            assert target in targets, (page.name, target)


def test_every_link_and_picture_is_there():
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).is_file(), (page.name, target)


def test_the_summary_names_every_command():
    overview = __main__._overview()
    assert all(name in overview for name in [*__main__.COMMANDS, *__main__.MODULES])
    assert all(inspect.getdoc(function) for function in __main__.COMMANDS.values())
    for name, summary in __main__.MODULES.values():
        assert importlib.import_module(name).HELP.splitlines()[0] == summary


def test_messages_advise_commands_that_are_there_outside_of_a_checkout_too():
    for path in sorted([*ROOT.glob("gan_style/**/*.py"), *ROOT.glob("data_tools/*.py")]):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                said = [n.value for n in ast.walk(function) if isinstance(n, ast.Constant)]
                for text in said:
                    if isinstance(text, str) and text != ast.get_docstring(function, clean=False):
                        assert not re.search(r"train\.py|-m data_tools", text), (path.name, text)


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_every_name_and_option_in_the_pythons_examples_exists(page):
    """Calls of ours, by their names; what they are given is made up, so they aren't run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    called = set()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                assert {each.name for each in node.names} <= set(gan_style.__all__)
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            name, given = node.func.id, {each.arg for each in node.keywords}
            if name == "train":
                known = {*command.known_in_training("quick"), "callbacks"}
            elif name in gan_style.__all__:
                known = set(inspect.signature(getattr(gan_style, name)).parameters)
                known |= {"direction"} if name == "load" else set()
                known |= {"pairs"} if name == "compare" else set()
            else:
                continue
            called.add(name)
            assert given <= known, (name, given - known)
    assert called
