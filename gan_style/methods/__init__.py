"""The methods, one file each, found by their file names."""

import pkgutil
from importlib import import_module
from pathlib import Path
from types import ModuleType

from gan_style.config import did_you_mean
from gan_style.errors import ConfigError


def names() -> list[str]:
    """Every method there is."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def source(name: str) -> Path:
    """The file of a method, found without importing it (and so without torch)."""
    if name not in names():
        raise ConfigError(f"unknown method {name!r}: {did_you_mean(name, names())}")
    return Path(__path__[0]) / f"{name}.py"


def load(name: str) -> ModuleType:
    """The module of a method: it holds PAPER, Config and Method."""
    source(name)
    return import_module(f"{__name__}.{name}")


def retired(name: str) -> frozenset[str]:
    """Options of training alone that a method has no more, but runs on users' disks have."""
    return frozenset(getattr(load(name), "RETIRED", ()))
