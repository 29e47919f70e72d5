"""What train.py and `python -m gan_style` share: parsing, checking, one line for a mistake.

Fire only parses. Values stay the strings that were typed and are converted by the declared types,
because Fire would guess (`--domain 1e3` would become 1000.0) and start work before it complains of
an unknown flag.
"""

import atexit
import contextlib
import inspect
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fire
from fire.core import FireExit
from fire.decorators import SetParseFn

from gan_style import config, methods
from gan_style.config import DataConfig, TrainConfig, convert, did_you_mean
from gan_style.errors import ConfigError, UserError, WriteError, printable
from gan_style.progress import STDERR, let_go, say


def parse(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Words and options as typed; --help and -h are the option "help", and no word counts.

    --flag is 'True', --noflag and --no-flag are 'False', dashes become underscores.
    """
    words: list[str] = []
    options: dict[str, str] = {}

    @SetParseFn(str)
    def collect(*positional: str, **named: str) -> None:
        words.extend(positional)
        options.update(named)

    if {"-h", "--help"} & set(arguments):
        _, others = parse([each for each in arguments if each not in ("-h", "--help")])
        return [], others | {"help": "True"}
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # Fire's usage is of `collect`
            # The separator keeps Fire from reading a lone "-" as the start of another command.
            fire.Fire(collect, [*arguments, "--", "--separator=\x00"], serialize=lambda _: None)
    except FireExit as error:
        raise ConfigError(f"can't read {' '.join(arguments)!r}: see --help") from error
    return words, {
        key.lstrip("_") if value == "False" else key: value for key, value in options.items()
    }


def no_words(words: Sequence[str]) -> None:
    """Refuse words that belong to no option."""
    if words:
        raise ConfigError(f"{words[0]!r} belongs to no option: see --help")


def run(program: str, function: Callable[[], int | None]) -> None:
    """Call `function` and exit with its code; a user's mistake is one line and its own code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # no notebook's, and not none at all
        # A name that the terminal has no letters for must not end a run.
        sys.stdout.reconfigure(errors="backslashreplace")
    _occupy()
    atexit.register(let_go)  # what nobody takes must not change the exit code
    try:
        code = function()
        _hand_on()
    except UserError as error:
        said = [error, *getattr(error, "__notes__", ())]
        say(f"{program}: {'; '.join(printable(each) for each in said)}", STDERR)
        sys.exit(error.code)
    except BrokenPipeError:  # whoever reads, such as `head`, has seen enough
        sys.exit(1)
    except KeyboardInterrupt:
        say(f"{program}: interrupted", STDERR)
        sys.exit(130)
    if code:
        sys.exit(code)


def _occupy() -> None:
    """Give the numbers of a closed stdin, stdout or stderr away, to nothing.

    Else the next file that is opened gets one, and what a library writes to stderr goes there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free


def _hand_on() -> None:
    """Flush stdout, where there is one.

    Raises:
        BrokenPipeError: whoever read it has ended.
        WriteError: it takes nothing for another reason, such as a full disk.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise WriteError(f"can't write to stdout: {error.strerror or error}") from error


def call(
    function: Callable[..., int | None], words: Sequence[str], options: dict[str, str]
) -> int | None:
    """Call a command: words for its positional-only parameters, options for the others.

    Both are converted by the annotations. A command with `**others` gets options that it doesn't
    name as they are.
    """
    known = dict(inspect.signature(function, eval_str=True).parameters)
    rest = [name for name, each in known.items() if each.kind is each.VAR_KEYWORD]
    for name in rest:
        del known[name]
    positional = [name for name, each in known.items() if each.kind is each.POSITIONAL_ONLY]
    named = {
        name: config.choices_of(each.annotation)
        for name, each in known.items()
        if name not in positional
    }
    program = function.__name__
    others = {key: options[key] for key in options if rest and key not in known}
    options = {key: value for key, value in options.items() if key not in others}
    config.refuse_unknown(options, named, program)
    of_methods = anything(named) if "method" in named and others else {}
    if of_methods:  # which of them exist it says itself, by the method
        config.refuse_reference(others | options, of_methods, program)
    no_words(words[len(positional) :])
    given = dict(zip(positional, words, strict=False)) | options
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in given:
            config.refuse_slip(name, others.keys() - of_methods.keys())
            shown = name.upper() if name in positional else f"--{name}"
            raise ConfigError(f"{shown} is missing: see --help")
    values = {key: convert(key, value, known[key].annotation) for key, value in given.items()}
    ordered = [values.pop(name) for name in positional if name in values]
    return function(*ordered, **values, **others)


def alone(
    arguments: Sequence[str], function: Callable[..., int | None], text: Callable[[], str]
) -> int | None:
    """Call a command with what was typed; without arguments, or for --help, print its `text`."""
    words, options = parse(arguments)
    if "help" in options or not (words or options):
        print(text())
        return None
    return call(function, words, options)


def anything(known: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """A command's options and those of all methods -> their choices; of any name's, its first."""
    of_methods = [config.choices(config.describe(methods.source(each))) for each in methods.names()]
    return {name: its[name] for its in reversed(of_methods) for name in its} | dict(known)


def only(program: str, function: Callable[..., int | None], text: Callable[[], str]) -> None:
    """The whole of a program that is one command."""
    run(program, lambda: alone(sys.argv[1:], function, text))


def with_file(options: dict[str, str]) -> dict[str, Any]:
    """Options over those of the file that --config names."""
    if "config" not in options:
        return dict(options)
    flags = {key: value for key, value in options.items() if key != "config"}
    return over(config.read_toml(Path(options["config"])), flags)


def over(options: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Options with newer ones over them; any budget replaces any other."""
    replaced = set(config.BUDGETS if newer.keys() & set(config.BUDGETS) else ())
    return {key: value for key, value in options.items() if key not in replaced} | newer


def preset_name(options: dict[str, Any]) -> str:
    """The preset that options name, or else their method's first; empty where it has none.

    Raises:
        ConfigError: a name that the method doesn't know.
    """
    method = str(options.get("method", TrainConfig.method))
    known = config.presets(methods.source(method))
    name = convert("preset", options.get("preset", ""), str) or next(iter(known), "")
    if name and not known:
        raise ConfigError(f"--preset is {name!r}, but {method} has no presets: leave it out")
    if name not in known and known:
        raise ConfigError(f"--preset is {name!r}: {did_you_mean(name, known)}")
    return name


def with_preset(options: dict[str, Any], name: str) -> dict[str, Any]:
    """Options over those of a preset of their method; an empty name is its first, if it has any.

    A preset's `domains` are options for the domains of these names, over its others.
    """
    source = methods.source(str(options.get("method", TrainConfig.method)))
    name = preset_name(options | {"preset": name})
    beneath = dict(config.presets(source)[name]) if name else {}
    domains = beneath.pop("domains", {})
    domain = Path(str(options.get("domain", DataConfig.domain))).name
    beneath = over(beneath, domains.get(domain, {}))
    if "size" in options and _exceeds(options["size"], beneath.get("load_size")):
        del beneath["load_size"]  # it follows the size, then
    return over(beneath, {key: value for key, value in options.items() if key != "preset"})


def _exceeds(typed: Any, limit: int | None) -> bool:
    return limit is not None and str(typed).isdecimal() and int(typed) > limit


def sections(options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Options sorted into data, train, method and preset (its name); unknown ones are refused.

    The method's options are read from its source, so this needs no torch.
    """
    method = str(options.get("method", TrainConfig.method))
    config.refuse_unknown(options, known_in_training(method), "train", method)
    homes = {part: [each.name for each in fields] for part, fields in _described(method).items()}
    return config.split(options, {**homes, "preset": ["preset"]})


def known_in_training(method: str) -> dict[str, tuple[str, ...]]:
    """The options of a training by a method -> what they may be."""
    described = [each for fields in _described(method).values() for each in fields]
    return {**config.choices(described), "preset": ()}


def _described(method: str) -> dict[str, list[config.Field]]:
    here = Path(config.__file__)
    return {
        "data": config.describe(here, "DataConfig"),
        "train": config.describe(here, "TrainConfig"),
        "method": config.describe(methods.source(method)),
    }


def training_help(typed: dict[str, Any]) -> str:
    """Every option of a training, by section, with the values in force where nothing is typed.

    These are those of the preset, for the domain, that `typed` names.
    """
    method = str(typed.get("method", TrainConfig.method))
    here, source = Path(config.__file__), methods.source(method)
    presets = config.presets_line(source)
    named = {key: value for key, value in typed.items() if key in ("method", "domain")}
    chosen = with_preset(named, preset_name(typed))
    fields_of = {
        "Data": config.describe(here, "DataConfig"),
        "Training": config.describe(here, "TrainConfig"),
        f"Method {method}" + f"; {presets}" * bool(presets): config.describe(source),
    }
    parts = {
        title: [
            replace(each, default=repr(chosen[each.name])) if each.name in chosen else each
            for each in described
        ]
        for title, described in fields_of.items()
    }
    return "\n\n".join(f"{title}\n{config.help_text(part)}" for title, part in parts.items())
