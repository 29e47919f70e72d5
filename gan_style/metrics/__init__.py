"""One file a metric, with INFO and Metric; no list to edit."""

import pkgutil
from importlib import import_module
from types import ModuleType

from gan_style.config import did_you_mean
from gan_style.errors import ConfigError


def names() -> list[str]:
    """Every metric, sorted."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if not name.startswith("_"))


def load(name: str) -> ModuleType:
    """The module of a metric: INFO and Metric.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in names():
        raise ConfigError(f"unknown metric {name!r}: {did_you_mean(name, names())}")
    return import_module(f"{__name__}.{name}")
