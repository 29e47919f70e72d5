"""The command methods: what there is, and its options."""

from typing import Any

from gan_style import methods
from gan_style.config import describe, help_text, presets


def list_methods(name: str = "", /) -> None:
    """List the methods, or print the options of one.

    Example: python -m gan_style methods cyclegan

    Args:
        name: method whose options to print.
    """
    if name:
        source = methods.source(name)
        print(f"{name}\n{help_text(describe(source))}")
        for preset, options in presets(source).items():
            domains = options.pop("domains", {})
            print(f"preset {preset}: {_as_flags(options) or 'as above'}")
            for domain, its in domains.items():
                print(f"  for --domain {domain}: {_as_flags(its)}")
        return
    for each in methods.names():
        summary = methods.source(each).read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
        print(f"{each:12}{summary}")


def _as_flags(options: dict[str, Any]) -> str:
    return " ".join(f"--{key}={value}" for key, value in options.items())
