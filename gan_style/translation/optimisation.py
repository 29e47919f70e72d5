"""One image by an OptimisedMethod: progress, pictures and curves on the way, and going on later.

<out>/photo.png                       the result
<out>/photo.steps/0050.png            intermediate images, and the losses for TensorBoard
<out>/photo.state.safetensors         only while it isn't finished: where it stood
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor

from gan_style import checkpoint
from gan_style.curves import Curves
from gan_style.data.images import from_tensor, save_png
from gan_style.errors import Interrupted, WriteError, printable
from gan_style.io.files import atomic_file
from gan_style.maths.descent import Step
from gan_style.method import OptimisedMethod
from gan_style.progress import STDERR, Bar, say
from gan_style.signals import postponed
from gan_style.styles import Style

SAVE_EVERY_SECONDS = 300.0


def optimise(
    method: OptimisedMethod,
    content: Tensor,
    styles: Sequence[Style],
    output: Path,
    options: Mapping[str, Any],
    save_every: int = 0,
    resume: bool = False,
    finish: Callable[[Tensor], Tensor] = lambda image: image,
    again: set[Path] | None = None,
) -> Tensor:
    """Run `method.optimise` to its end.

    Args:
        method: on the device of the images.
        content: (1, 3, H, W), RGB in [0, 1].
        styles: at least one.
        output: file of the result, beside which everything else is written; not itself written.
        options: what the result depends on beside the images; a state of others isn't gone on from.
        save_every: iterations between two intermediate images; 0 writes neither those nor curves.
        resume: go on from `output`'s state where there is one of the same options and images.
        finish: what is still to be done to an image before it can be looked at.
        again: gets `output` where there is a state of others, so that it is begun anew.

    Returns:
        The image (1, 3, H, W), not finished.

    Raises:
        CheckpointError: there is a state that can't be read.
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
    """
    made_of = json.dumps([dict(options), _digest(content, styles)])
    saved = _state_file(output)
    start: dict[str, Any] = {"image": content}
    if resume and saved.exists():
        earlier = checkpoint.load_state(saved)
        if isinstance(earlier, dict) and earlier.get("made_of") == made_of:
            start = earlier
        elif again is not None:
            again.add(output)
    signals: list[int] = []
    curves = Curves(output.with_suffix(".steps")) if save_every else None
    last_saved = time.monotonic()
    image = start["image"].to(content.device)  # all there is if no iteration was left to do
    with (
        Bar(desc=printable(output.stem), unit=" it", delay=2) as bar,
        postponed(signals.append),
        closing(curves) if curves else nullcontext(),
    ):
        for step in method.optimise(content, styles, start.get("state")):
            image = step.image
            _show(bar, step)
            if curves:
                terms = {f"loss/{name}": value for name, value in step.terms.items()}
                curves.scalars(terms, step.done)
                if step.done % save_every == 0 or step.done == step.total:
                    path = output.with_suffix(".steps") / f"{step.done:04}.png"
                    save_png(from_tensor(finish(image)[0]), path)
            due = time.monotonic() - last_saved > SAVE_EVERY_SECONDS
            if signals or (due and step.done < step.total):
                stand = {"made_of": made_of, "image": step.image, "state": step.state}
                try:
                    with atomic_file(saved) as partial:
                        checkpoint.save_state(stand, partial)
                except WriteError as error:
                    if signals:
                        raise
                    say(f"{bar.desc}: {error}; going on without", STDERR)
                last_saved = time.monotonic()
            if signals:
                raise Interrupted(
                    f"stopped by signal {signals[0]} after {step.done} of {step.total} "
                    "iterations, its state is saved: go on with the same command and --resume"
                )
    return image


def is_under_way(output: Path) -> bool:
    """Whether there is a state of a result to go on from."""
    return _state_file(output).exists()


def forget(output: Path) -> None:
    """Remove the state of a result that is finished."""
    _state_file(output).unlink(missing_ok=True)


def _state_file(output: Path) -> Path:
    """Beside the result, and called after it where that is no longer than names can be."""
    name = os.fsencode(output.with_suffix(".state.safetensors").name)
    if len(name) > 255:
        name = f"{hashlib.sha256(name).hexdigest()}.state.safetensors".encode()
    return output.with_name(os.fsdecode(name))


def _show(bar: Bar, step: Step) -> None:
    if bar.total is None:
        bar.total, bar.initial = step.total, step.done - 1
        bar.n = step.done - 1
    bar.update(step.done - bar.n)
    bar.set_postfix({name: f"{value:.3g}" for name, value in step.terms.items()}, refresh=False)
    if step.note:
        say(f"{bar.desc}: {step.note}")


def _digest(content: Tensor, styles: Sequence[Style]) -> str:
    """What the images and masks are, in a few letters."""
    sha = hashlib.sha256()
    for tensor in [content, *(t for s in styles for t in (s.image, s.content_mask, s.style_mask))]:
        if tensor is not None:
            sha.update(repr(tuple(tensor.shape)).encode() + tensor.cpu().numpy().tobytes())
    sha.update(repr([style.weight for style in styles]).encode())
    return sha.hexdigest()
