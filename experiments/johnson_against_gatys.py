"""How far a training of Johnson has come: its loss on test images against iterations of Gatys.

python experiments/johnson_against_gatys.py --run results/monet2photo/johnson/0001
       --content data/monet2photo/testB --style painting.jpg --out johnson.png

Both are judged by the same objective, that of pytorch/examples (`--preset johnson` of gatys), on
`count` images spread over the folder, at 256 pixels. Gatys starts from the content. --earlier names
a folder with copies of the run's net.safetensors from during the training, named by the images seen
(000001000.safetensors), for a curve.
"""

from pathlib import Path

import matplotlib as mpl
import torch
from safetensors.torch import load_file

from gan_style import checkpoint, command, config, runs
from gan_style.data import images
from gan_style.errors import DataError
from gan_style.io.files import atomic_file
from gan_style.methods import gatys, johnson
from gan_style.progress import Bar
from gan_style.styles import Style

mpl.use("Agg")
import matplotlib.pyplot as plt

MARKS = (10, 25, 50)


def compare(
    run: str,
    content: str,
    style: str,
    out: str,
    pictures: str = "",
    earlier: str = "",
    count: int = 10,
    side: int = 256,
) -> None:
    """Print a row an image, draw the curve; pictures, where named, gets the images side by side."""
    files = images.spread(images.list_images(Path(content)), count)
    if not files:
        raise DataError(f"--content {content}: no images in this folder")
    painting = _tensor(Path(style), side)
    nets = _nets(Path(run), earlier)
    trained = next(iter(nets.values())).config
    for name in ("content_layer", "content_weight", "style_layers", "style_loss", "style_weight"):
        if getattr(trained, name) != gatys.PRESETS["johnson"][name]:
            raise DataError(f"{run} was trained with another {name}: {getattr(trained, name)}")
    judge = gatys.Method(gatys.Config(**gatys.PRESETS["johnson"], iterations=max(MARKS)))
    lost: dict[str, list[float]] = {}
    rows = []
    for path in Bar(files, unit=" images"):
        photo = _tensor(path, side)
        with torch.no_grad():
            loss = judge._objective(photo, [Style(image=painting)])
            lost.setdefault("content", []).append(_sum(loss(photo)))
            for step in judge.optimise(photo, painting):
                if step.done in MARKS:
                    lost.setdefault(f"gatys {step.done}", []).append(sum(step.terms.values()))
            row = [photo, step.image.clamp(0, 1)]
            for name, method in nets.items():
                row.append(method.translate(photo))
                lost.setdefault(name, []).append(_sum(loss(row[-1])))
            rows.append([images.from_tensor(each[0]) for each in (*row[:2], row[-1])])
    last = list(nets)[-1]
    names = ["content", *(f"gatys {n}" for n in MARKS), last]
    print(f"| image | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    for index, path in enumerate(files):
        values = " | ".join(f"{lost[name][index]:.3g}" for name in names)
        print(f"| {path.name} | {values} |")
    for mark in MARKS:
        pairs = zip(lost[last], lost[f"gatys {mark}"], strict=True)
        wins = sum(mine < theirs for mine, theirs in pairs)
        print(f"below Gatys after {mark} iterations: {wins} of {len(files)}")
    _draw(lost, list(nets), Path(out))
    if pictures:
        titles = ["content", f"gatys {max(MARKS)}", "johnson"] * 2
        joined = [[*a, *b] for a, b in zip(rows[::2], rows[1::2], strict=False)]
        with atomic_file(Path(pictures)) as partial:
            images.Image.fromarray(images.grid(joined, titles, 192)).save(partial, quality=88)


def _nets(run: Path, earlier: str) -> dict[str, johnson.Method]:
    """Images seen -> the method with the weights of then; the run's own last."""
    record = runs.read(run)
    built = config.build(johnson.Config, record["method"])
    files = sorted(Path(earlier).glob("*.safetensors")) if earlier else []
    methods = {}
    for path in files:
        methods[str(int(path.stem))] = method = johnson.Method(built).eval()
        method.net.load_state_dict(load_file(path))
    final = johnson.Method(built).eval()
    checkpoint.load_networks(final, run)
    seen = checkpoint.checkpoints(run)[-1].name
    return {name: net for name, net in methods.items() if name != str(int(seen))} | {
        str(int(seen)): final
    }


def _tensor(path: Path, side: int) -> torch.Tensor:
    array = images.to_array(images.load_image(path))
    scale = side / max(array.shape[:2])
    size = tuple(max(32, round(length * scale) // 4 * 4) for length in array.shape[:2])
    return images.to_tensor(images.resize(array, (size[0], size[1])))[None]


def _sum(terms: dict[str, torch.Tensor]) -> float:
    return float(sum(terms.values()))


def _draw(lost: dict[str, list[float]], nets: list[str], out: Path) -> None:
    means = {name: sum(values) / len(values) for name, values in lost.items()}
    figure, axes = plt.subplots(figsize=(7, 3.6), dpi=110, layout="constrained")
    seen = [int(name) for name in nets]
    axes.semilogy(seen, [means[name] for name in nets], "o-", label="johnson")
    lines = zip((":", "-.", "--", "-"), ("content", *(f"gatys {n}" for n in MARKS)), strict=True)
    for style, name in lines:
        axes.axhline(means[name], linestyle=style, color="grey", label=name)
    axes.set_xlabel("images that Johnson's network was trained on")
    axes.set_ylabel("loss, mean of the test images")
    axes.legend(fontsize=8)
    with atomic_file(out) as partial:
        figure.savefig(partial)
    plt.close(figure)


if __name__ == "__main__":
    command.only("johnson_against_gatys.py", compare, lambda: __doc__ or "")
