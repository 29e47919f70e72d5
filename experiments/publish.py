"""Make a net of the zoo of a run: the generator that translates, in half precision, and its config.

python experiments/publish.py --run RUN --out results/zoo/NAME --weights ema

`translate --run results/zoo/NAME` takes the folder as it takes a run. The weights are rounded to
float16, which halves the file; the pretrained encoder is no part of it. A card, README.md, is
written by hand: data, licence, command, minutes, images, machine, KID against minutes, limits.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file

from gan_style import checkpoint, command, config, methods, runs
from gan_style.errors import ConfigError
from gan_style.io.files import write_json

# What a run says of the machine that it was made on.
PLACES = {"run_dir", "resume", "start_from", "data_root", "data_a", "data_b"}


def publish(run: str, out: str, weights: checkpoint.Kind = "ema") -> None:
    """Write <out>/config.json and the generator of the run's direction."""
    folder = Path(out)
    if Path(folder, "config.json").exists():
        raise ConfigError(f"--out is {out!r}, which has a net: give another folder")
    record = runs.read(Path(run))
    module = methods.load(record["train"]["method"])
    options = config.build(module.Config, record["method"])
    method = checkpoint.outline(lambda: module.Method(options))
    checkpoint.check_networks(method, Path(run), weights)
    record = {key: value for key, value in record.items() if key not in ("earlier", "started_from")}
    for section in ("data", "train"):
        kept = {key: value for key, value in record[section].items() if key not in PLACES}
        record[section] = kept
    record["data"]["domain"] = Path(record["data"].get("domain", "")).name
    if "sides" in record["method"]:
        record["method"]["sides"] = "one"  # the other way stays behind
    for net in method.inference_networks:
        state = load_file(checkpoint.weights_file(Path(run), net, weights))
        half = {key: _half(value, key) for key, value in state.items()}
        folder.mkdir(parents=True, exist_ok=True)
        path = checkpoint.weights_file(folder, net, "raw")
        checkpoint.save_weights(half, path, config=record)
        print(f"{path.stat().st_size / 1e6:.1f} MB: {path}")
    write_json(folder / "config.json", record)


def _half(value: torch.Tensor, key: str) -> torch.Tensor:
    half = value.to(torch.float16) if value.is_floating_point() else value
    if not half.isfinite().all():
        raise ConfigError(f"{key} holds numbers that float16 has not")
    return half


if __name__ == "__main__":
    command.only("publish", publish, lambda: __doc__)
