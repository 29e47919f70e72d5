"""What several commands share: which run or method they are asked for."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from gan_style import methods, runs
from gan_style.config import choices, choices_of, describe, refuse_unknown
from gan_style.errors import ConfigError

Weights = Literal["raw", "ema", "best"]  # of a run


def choose(
    function: Callable[..., None], run: str, method: str, weights: Weights, options: dict[str, str]
) -> Any:
    """The `translator.Chosen` that the options of a command (`function`) name."""
    if bool(run) == bool(method):
        both = f"--run is {run!r} and --method {method!r}"
        raise ConfigError(f"{both if run else 'no --run and no --method'}: give one of the two")
    name = runs.read(Path(run))["train"]["method"] if run else method
    refuse_unknown(options, known_options(function, name), function.__name__, name)

    from gan_style.translation import translator

    if run:
        return translator.of_run(run, weights, options)
    return translator.of_method(method, weights, options)


def known_options(function: Callable[..., None], name: str) -> dict[str, tuple[str, ...]]:
    """The options of a command and of its method -> what they may be."""
    own = dict(inspect.signature(function, eval_str=True).parameters)
    del own["options"]
    of_command = {key: choices_of(each.annotation) for key, each in own.items()}
    return {"preset": (), **choices(describe(methods.source(name))), **of_command}


def refuse_styles(name: str, **given: str) -> None:
    """Refuse options of style images, for a method that takes none."""
    for option, value in given.items():
        if value:
            raise ConfigError(f"--{option} is {value!r}, but {name} takes no style image")


def say_left_out(*folders: Path) -> None:
    """Name the kinds of files in these folders that aren't read."""
    from gan_style.data.images import left_out

    for folder in folders:
        if folder.is_dir() and (line := left_out(folder)):
            print(line)
