"""What train.py and `python -m gan_style` share: parsing, checking, one line for a mistake.

Fire only parses. Values stay the strings that were typed and are converted by the declared types,
because Fire would guess (`--domain 1e3` would become 1000.0) and start work before it complains of
an unknown flag.
"""

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import fire
from fire.core import FireExit
from fire.decorators import SetParseFn

from gan_style import config, methods
from gan_style.config import DataConfig, TrainConfig, convert, did_you_mean
from gan_style.errors import ConfigError, UserError


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """Options as typed; --flag is 'True', --noflag and --no-flag are 'False', dashes underscores.

    Raises:
        ConfigError: a word that belongs to no option.
    """
    typed: dict[str, str] = {}
    words: list[str] = []

    @SetParseFn(str)
    def collect(*positional: str, **options: str) -> None:
        words.extend(positional)
        typed.update(options)

    if {"-h", "--help"} & set(arguments):
        return {"help": "True"}
    try:
        # The separator keeps Fire from reading a lone "-" as the start of another command.
        fire.Fire(collect, [*arguments, "--", "--separator=\x00"], serialize=lambda _: None)
    except FireExit as error:
        raise ConfigError(f"can't read the options {' '.join(arguments)!r}: see --help") from error
    if words:
        raise ConfigError(f"{words[0]!r} belongs to no option: see --help")
    return {key.lstrip("_") if value == "False" else key: value for key, value in typed.items()}


def run(program: str, function: Callable[[], None]) -> None:
    """Call `function`; a user's mistake becomes one line on stderr and its exit code."""
    try:
        function()
    except UserError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(130)


def call(function: Callable[..., None], options: dict[str, str]) -> None:
    """Call a command with the options typed, converted by its annotations."""
    known = inspect.signature(function, eval_str=True).parameters
    for key in options:
        if key not in known:
            raise ConfigError(f"unknown option --{key}: {did_you_mean(key, known, '--')}")
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            raise ConfigError(f"--{name} is missing: see --help")
    function(**{key: convert(key, value, known[key].annotation) for key, value in options.items()})


def with_file(options: dict[str, str]) -> dict[str, Any]:
    """Options over those of the file that --config names."""
    if "config" not in options:
        return dict(options)
    flags = {key: value for key, value in options.items() if key != "config"}
    return config.read_toml(Path(options["config"])) | flags


def sections(options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Options sorted into data, train and method; unknown ones are refused.

    The method's options are read from its source, so this needs no torch.
    """
    source = methods.source(str(options.get("method", TrainConfig.method)))
    return config.split(
        options,
        {
            "data": [field.name for field in fields(DataConfig)],
            "train": [field.name for field in fields(TrainConfig)],
            "method": [field.name for field in config.describe(source)],
        },
    )


def training_help(method: str) -> str:
    """Every option of a training, by section."""
    here = Path(config.__file__)
    parts = {
        "Data": config.describe(here, "DataConfig"),
        "Training": config.describe(here, "TrainConfig"),
        f"Method {method}": config.describe(methods.source(method)),
    }
    return "\n\n".join(f"{title}\n{config.help_text(part)}" for title, part in parts.items())
