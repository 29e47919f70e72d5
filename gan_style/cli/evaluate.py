"""The command evaluate: numbers of a folder of translations."""

from pathlib import Path

from gan_style.cli.shared import say_left_out
from gan_style.config import at_least, entries
from gan_style.errors import DataError, printable
from gan_style.io.files import make_writable


def evaluate(
    translated: str,
    content: str,
    style: str = "",
    collection: str = "",
    pairs: str = "",
    truth: str = "",
    reconstructed: str = "",
    metrics: str = "",
    size: int = 256,
    seed: int = 0,
    batch_size: int | None = None,
    workers: int = 2,
    device: str = "",
    features: str = "",
    out: str = "",
    overwrite: bool = False,
    pattern: str = "{stem}",
) -> None:
    """Measure a folder of translations, by whichever program they were made.

    Reads images and writes metrics.json: every metric's number, its uncertainty, and what it was
    computed by. Translations are called as their contents, or <style>/<content>, as translate
    writes them; other names by --pattern. What can't be computed, for want of weights or images,
    says why; images that can't be read are left out, and named.
    Example: python -m gan_style evaluate --content data/monet2photo/testB
             --translated results/monet2photo/cyclegan/0001/translated/testB/b2a
             --style data/monet2photo/testA

    Args:
        translated: folder of the translations.
        content: folder of the images that they were made from.
        style: the style image of all of them; or a folder, of the target collection or of the
            styles that --pairs or the names of the translations name.
        collection: folder of the target collection; --style where that is a folder.
        pairs: CSV file with the columns content and style, paths in the two folders: evaluates
            these and no others.
        truth: folder of true translations, called as the contents.
        reconstructed: folder of translations of the translations, back to the contents' side.
        metrics: some of those that python -m gan_style metrics lists, joined by commas; all when
            not given, or all.
        size: side in pixels of the squares that all images are scaled to.
        seed: of the bootstrap, and of the subsets that the spread of a distance is of.
        batch_size: images at once; 1 on a CPU and 16 on an accelerator when not given.
        workers: threads that read images.
        device: cpu, cuda, cuda:1, mps; cuda where there is one when not given.
        features: folder where the collection's features are kept for the next time.
        out: file to write; <translated>/metrics.json when not given.
        overwrite: replace the file.
        pattern: what translations are called, as for translate: '{stem}_fake' is x_fake.png of
            x.jpg, '{stem}_in_{style}' has the style's name too; other images there don't count.
    """
    at_least(1, batch_size=batch_size, workers=workers)
    at_least(0, seed=seed)
    at_least(32, size=size)
    path = Path(out) if out else Path(translated) / "metrics.json"
    if path.exists() and not overwrite:
        raise DataError(f"{path} is there already: give another --out, or --overwrite")
    from gan_style.evaluation import measure
    from gan_style.io.files import write_json

    target = collection or (style if style and Path(style).is_dir() else "")
    say_left_out(*map(Path, filter(None, (translated, content, target))))
    make_writable(path.parent)
    found = measure.evaluate(
        translated, content, style=style or None, collection=target or None, pairs=pairs or None,
        truth=truth or None, reconstructed=reconstructed or None, metrics=entries(metrics),
        size=size, seed=seed, batch_size=batch_size, workers=workers, device=device,
        features=features or None, pattern=pattern,
    )  # fmt: skip
    write_json(path, found.record)
    print("\n".join(measure.lines(found.columns, found.values)))
    if left := 0 if pairs else found.record["protocol"]["untranslated"]:
        print(f"{left} of {found.contents} contents have no translation")
    bad = measure.bad_note(found.seen, path.with_suffix(".left_out.txt"))
    part = measure.part_note(found.seen.notes, path.with_suffix(".read_in_part.txt"))
    shapes = measure.shapes_note(found.samples, found.seen)
    for note in filter(None, (shapes, part, bad)):
        print(printable(note))
    print(f"{measure.measured(found.values, found.samples)}, numbers in {path}")
