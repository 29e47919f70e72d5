"""Small comparisons on disk, as `compare` leaves them: metrics.json and the pictures it names.

    folder = comparisons.write(tmp_path / "report", comparisons.small())

`small` has a reference, two methods and one that failed; `comparison` and `method` make others.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

METRICS = {
    "kid": ("KID", "lower", "collection"),
    "fid": ("FID", "lower", "collection"),
    "sliced_wasserstein": ("SWD x 1000", "lower", "collection"),
    "artfid": ("ArtFID-style product (1 + LPIPS)(1 + FID)", "lower", "collection"),
    "lpips_alex": ("LPIPS (v0.1, AlexNet)", "lower", "content"),
    "ssim": ("SSIM (luma, 11x11 Gaussian of 1.5 pixels)", "higher", "content"),
    "gram": ("Gram loss (mean square, Gram / HW)", "lower", "style"),
    "cycle_l1": ("cycle L1", "lower", "reconstruction"),
    "psnr": ("PSNR (dB, RGB, at most 100)", "higher", "truth"),
}  # fmt: skip
COLOUR = {"colour_histogram": ("Colour histogram distance (RGB-uv)", "lower", "style")}


def of_pairs(*each):
    """A metric's entry from its number for each pair; its interval is one deviation each way."""
    known = [number for number in each if number is not None]
    mean, spread = float(np.mean(known)), float(np.std(known))
    return {
        "value": mean,
        "low": mean - spread,
        "high": mean + spread,
        "images": len(known),
        "each": list(each),
    }


def of_set(value, margin=None, images=4, **further):
    """A metric's entry from one number for all images."""
    interval = {} if margin is None else {"low": value - margin, "high": value + margin}
    return {"value": value, **interval, "images": images, **further}


def seconds(median, **further):
    """The timing of one size."""
    return {"median": median, "p95": median * 1.1, "runs": 10, "estimated": False, **further}


def method(label, pairs=4, **changes):
    """A method's entry; its images are called after it."""
    return {
        "reference": False,
        "paper": {
            "title": f"The paper of {label}",
            "year": 2017,
            "url": "https://example.org/paper",
            "family": "collection",
            "style": "collection",
        },
        "settings": {"generator": "resnet_6", "lambda_cycle": 10.0},
        "weights": "as trained (raw), after 1843 images",
        "licences": [],
        "commands": ["accelerate launch train.py", "python -m gan_style translate"],
        "notes": [],
        "error": None,
        "images": [f"../compare/{label}/{number}.png" for number in range(pairs)],
        "values": {},
        "cost": {},
        **changes,
    }


def reference(label="unchanged", pairs=4, **changes):
    """A row that is a scale for the others: the contents left alone."""
    nothing = {
        "reference": True,
        "images": [f"../contents/{number}.png" for number in range(pairs)],
        "paper": None,
        "settings": {},
        "weights": "",
        "commands": [],
    }
    return method(label, pairs, **nothing | changes)


def failed(label, why="it ran out of memory"):
    """A method without a result."""
    return method(label, error=why, images=[], values={}, cost={})


def comparison(methods, pairs=4, metrics=tuple(METRICS), **changes):
    """The content of metrics.json."""
    return {
        "title": "Photographs towards Monet",
        "made_by": {
            "gan_style": "0.1.0",
            "commit": "abc1234",
            "python": "3.11.7",
            "libraries": {"torch": "2.15.0", "numpy": "2.4.6"},
            "machine": "some processor, 2 cores",
        },
        "command": "python -m gan_style compare --config experiments/compare_toy.toml",
        "protocol": {
            "size": 256,
            "resize": "256x256 pixels, bicubic, whatever the shape",
            "seed": 0,
            "content": "data/toy/testA",
            "style": "data/toy/trainB",
            "collection": "data/toy/testB",
            "collection_images": 121,
        },
        "pairs": [
            {
                "name": f"{number}.png",
                "content": f"../contents/{number}.png",
                "style": f"../styles/{number}.png",
            }
            for number in range(pairs)
        ],
        "metrics": {
            key: {
                "title": (METRICS | COLOUR)[key][0],
                "better": (METRICS | COLOUR)[key][1],
                "against": (METRICS | COLOUR)[key][2],
                "source": f"Somebody 2018, https://example.org/{key}",
                "metric": key,
                "features": "",
            }
            for key in metrics
        },
        "methods": methods,
        **changes,
    }


def small():
    """`near` is close to the collection, `far` keeps its content and is quick; all apart."""
    near = {
        "kid": of_set(0.01, 0.002),
        "fid": of_set(90.0, few=1.0),
        "artfid": of_set(137.0, few=1.0),
        "lpips_alex": of_pairs(0.48, 0.50, 0.52, 0.50),
        "ssim": of_pairs(0.4, 0.5, 0.4, 0.5),
        "gram": {"missing": "not computed (weights missing: get them)"},
    }
    far = {
        "kid": of_set(0.05, 0.004),
        "fid": of_set(150.0, few=1.0),
        "artfid": of_set(166.0, few=1.0),
        "lpips_alex": of_pairs(0.09, 0.11, 0.10, 0.10),
        "ssim": of_pairs(0.8, 0.9, 0.8, 0.9),
        "gram": {"missing": "not computed (weights missing: get them)"},
    }
    training = {"seconds": 1800.0, "images": 1843, "device": "cpu"}
    return comparison(
        {
            "unchanged": reference(
                values={"kid": of_set(0.09, 0.005), "lpips_alex": of_pairs(0, 0, 0, 0)}
            ),
            "near": method(
                "near",
                values=near,
                cost={
                    "parameters": 11_378_179,
                    "bytes": 45_600_000,
                    "training": training,
                    "device": "cpu, 2 threads",
                    "sizes": {"256": seconds(0.31, peak_bytes=9e8), "512": seconds(1.2)},
                },
            ),
            "far": method(
                "far",
                values=far,
                cost={
                    "parameters": 0,
                    "device": "cpu, 2 threads",
                    "sizes": {
                        "256": seconds(0.05),
                        "512": {"missing": "over the limit of 60 s"},
                    },
                },
            ),
            "broken": failed("broken"),
        }
    )


def write(folder, record, side=48):
    """metrics.json in `folder`, and every picture that it names beside it; `folder` comes back."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    names = [pair[key] for pair in record["pairs"] for key in ("content", "style")]
    names += [name for entry in record["methods"].values() for name in entry.get("images", ())]
    for number, name in enumerate(dict.fromkeys(name for name in names if name)):
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _picture(number, side).save(path)
    return folder


def _picture(number: int, side: int) -> Image.Image:
    """A ramp in a colour of its own."""
    ramp = np.linspace(0, 1, side)[:, None, None] * np.ones((side, side, 3))
    colour = np.random.default_rng(number).uniform(0.3, 1, 3)
    return Image.fromarray((255 * ramp * colour).astype(np.uint8))


def files(folder: Path):
    """Names of what a report wrote there."""
    return sorted(path.name for path in folder.iterdir() if path.name != "metrics.json")
