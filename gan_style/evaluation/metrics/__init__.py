"""One file a metric, with INFO and Metric; no list to edit."""

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import get_args

from gan_style.config import did_you_mean
from gan_style.errors import ConfigError
from gan_style.evaluation.metric import Against, Info

FIRST = ("kid", "fid", "artfid", "lpips_alex", "ssim", "gram")  # of their kind, in a report


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number of a report: a metric against one thing, of one kind of features."""

    metric: str
    title: str
    against: Against
    features: str
    info: Info


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


def columns() -> dict[str, Column]:
    """Every number that there is, by the key that reports know it by, in their order.

    A metric's first number has the metric's own name: "kid"; others say what they are of:
    "kid_vgg16", "ssim_truth".
    """
    order = get_args(Against)

    def place(item: tuple[str, Column]) -> tuple[int, int]:
        key, column = item
        return order.index(column.against), FIRST.index(key) if key in FIRST else len(FIRST)

    found = {}
    for name in names():
        info: Info = load(name).INFO
        features = info.features[0] if info.features else ""
        found[name] = Column(
            metric=name, title=info.title, against=info.against, features=features, info=info
        )
        for other in info.features[1:]:
            title = f"{info.title} ({other} features)"
            found[f"{name}_{other}"] = Column(
                metric=name, title=title, against=info.against, features=other, info=info
            )
        for against in info.also:
            title = f"{info.title}, to the {against}"
            found[f"{name}_{against}"] = Column(
                metric=name, title=title, against=against, features=features, info=info
            )
    return dict(sorted(found.items(), key=place))
