"""Commands: gan_style COMMAND --option=value ..., or python -m gan_style COMMAND ..."""

import importlib
import inspect
import sys
from collections.abc import Callable
from inspect import getdoc
from typing import Any

import gan_style
from gan_style import command
from gan_style.cli.compare import compare
from gan_style.cli.cost import cost
from gan_style.cli.evaluate import evaluate
from gan_style.cli.grid import grid
from gan_style.cli.methods import list_methods
from gan_style.cli.metrics import list_metrics
from gan_style.cli.report import write_report
from gan_style.cli.translate import translate
from gan_style.cli.vote import vote
from gan_style.cli.weights import list_weights
from gan_style.config import did_you_mean
from gan_style.errors import ConfigError

COMMANDS: dict[str, Callable[..., Any]] = {
    "translate": translate,
    "grid": grid,
    "evaluate": evaluate,
    "cost": cost,
    "compare": compare,
    "report": write_report,
    "vote": vote,
    "methods": list_methods,
    "metrics": list_metrics,
    "weights": list_weights,
}
# Commands that are modules, imported when they are called; `main` takes what was typed after them.
MODULES = {
    "train": ("gan_style.training.launch", "Train a method on unpaired collections of images."),
    "download": ("data_tools.download", "Bring a known dataset, ready for training."),
    "check": ("data_tools.check", "Open every image of a dataset and say what is wrong with it."),
    "synth": (
        "data_tools.synth",
        "Draw a toy dataset: discs on dark gradients (A), stripes and squares on light (B).",
    ),
}


def _overview() -> str:
    summaries = {name: (getdoc(f) or "").splitlines()[0] for name, f in COMMANDS.items()}
    summaries |= {name: summary for name, (_, summary) in MODULES.items()}
    width = max(map(len, summaries)) + 3
    return "\n".join(
        [
            "Commands: gan_style COMMAND --option=value ..., or python -m gan_style COMMAND ...",
            "",
            *(f"  {name:{width}}{summary}" for name, summary in summaries.items()),
            "",
            "Options of a command: gan_style COMMAND --help",
            "Training on several processes: accelerate launch -m gan_style train ...",
        ]
    )


def main() -> int | None:
    """Find the command, check its options, call it."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return None
    if arguments[0] in ("--version", "-V"):
        print(f"gan_style {gan_style.__version__}")
        return None
    if arguments[0] in MODULES:
        module = importlib.import_module(MODULES[arguments[0]][0])
        code: int | None = module.main(arguments[1:])
        return code
    if arguments[0] not in COMMANDS:
        near = did_you_mean(arguments[0], [*COMMANDS, *MODULES])
        raise ConfigError(f"unknown command {arguments[0]!r}: {near}")
    function = COMMANDS[arguments[0]]
    words, options = command.parse(arguments[1:])
    if "help" in options:
        print(getdoc(function))
        return None
    known = inspect.signature(function).parameters
    own_file = "config" in known  # one that the command reads itself
    command.call(function, words, options if own_file else command.with_file(options))
    return None


def cli() -> None:
    """The console script `gan_style`."""
    command.run("gan_style", main)


if __name__ == "__main__":
    cli()
