"""Unpaired domain translation with GANs, compared honestly with neural style transfer.

    from gan_style import load, train, evaluate, compare, Style

    monet = load("results/zoo/photo2monet")
    monet("photo.jpg").save("monet.png")

What these names need, torch among it, is imported when they are used first.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan_style.cli.compare import compare as compare
    from gan_style.evaluation.measure import evaluate as evaluate
    from gan_style.styles import Style as Style
    from gan_style.training.launch import Run as Run
    from gan_style.training.launch import train as train
    from gan_style.translation.translator import Translator as Translator
    from gan_style.translation.translator import load as load

__version__ = "0.1.0"

HOMES = {
    "load": "gan_style.translation.translator",
    "Translator": "gan_style.translation.translator",
    "Style": "gan_style.styles",
    "evaluate": "gan_style.evaluation.measure",
    "compare": "gan_style.cli.compare",
    "train": "gan_style.training.launch",
    "Run": "gan_style.training.launch",
}
__all__ = [
    "Run",
    "Style",
    "Translator",
    "__version__",
    "compare",
    "evaluate",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
