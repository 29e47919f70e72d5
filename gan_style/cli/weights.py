"""The command weights: pretrained networks."""

from gan_style.errors import ConfigError


def list_weights(action: str = "", name: str = "", /) -> None:
    """List the pretrained weights and which of them are here, or fetch some.

    Methods fetch what they need themselves. Files are kept in the folder that GAN_STYLE_WEIGHTS
    names, else in the user's cache folder; every one is compared with its published checksum.
    Example: python -m gan_style weights fetch adain

    Args:
        action: fetch; nothing lists.
        name: weights to fetch.
    """
    from gan_style import weights

    if action not in ("", "fetch") or (action and not name):
        typed = " ".join(filter(None, ["weights", action, name]))
        raise ConfigError(f"can't read {typed!r}: known: weights, weights fetch NAME")
    if action:
        print(weights.fetch(name))
        return
    print(f"folder: {weights.folder()}")
    for row in weights.rows():
        size = f"{row.size / 1e6:.0f} MB" if row.size else "size unknown"
        print(f"\n{row.name:20}{row.path or 'missing'}\n    {row.about}, {size}, {row.licence}")
        for file, sources in row.files.items():
            print(f"    {file}: {', or '.join(sources)}")
