"""Verdicts for pictures, as a stream of rows: what the model says, and whether it can say anything at all."""

import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
from PIL import Image

from dfxlib.data.decode import PIXEL_LIMIT, ImageFile
from dfxlib.data.perturb import CONDITIONS, keep
from dfxlib.detect.engines import Judge
from dfxlib.detect.pictures import Picture, read_picture
from dfxlib.detect.unlike import distances, remarks, unlike_training
from dfxlib.measure.cuts import unsure_band
from dfxlib.names import CLASSES
from dfxlib.system.parallel import map_processes
from dfxlib.system.shown import shown

#: The columns of a row, in order; docs/detection.md says what each holds, and their names stay.
COLUMNS: tuple[str, ...]
COLUMNS = ("path", "verdict", "reason", "likeliest", "p_dm", "p_gan", "p_real", "p_fake")
COLUMNS += ("p_fake_low", "p_fake_high", "holds", "distance", "unlike", "remark", "declares")
COLUMNS += ("format", "width", "height", "problem")

#: Why a verdict is `unsure`.
UNLIKE, BETWEEN = "unlike the training data", "the fake score lies in the band of unsure"

#: What a picture goes through on its way over the web, one at a time; the verdict should survive it.
DELIVERY = (CONDITIONS["jpeg420_q75"], CONDITIONS["scale_50"])


def detect(
    judge: Judge,
    sources: Iterable[ImageFile | Image.Image],  # a list, or a stream of any length, of which little is read ahead
    *,
    delivery: bool = True,  # also under JPEG 75 and at half size: three times the work
    always: bool = False,  # the bare verdict at the threshold, also of a picture that is unlike the training data
    thumbnails: bool = False,
    batch_size: int = 32,  # images
    workers: int | None = None,  # processes that decode; None: one a usable core
    pixel_limit: int = PIXEL_LIMIT,  # pixels; a larger picture is a problem
) -> Iterator[dict]:  # COLUMNS and thumbnail
    """One row a picture, in order, as soon as it is judged; one that cannot be judged is a row with its problem.

    Probabilities are calibrated, `verdict` is one of `verdict`, `likeliest` one of the three natures.
    `p_fake_low` and `p_fake_high` bound the fake score with and without delivery, and `holds`
    says whether all verdicts agree. A picture that is unlike the training data in what `unlike`
    names, its features (`distance` above 1) or a size below the model's input, is `unsure`, whatever
    its score, and has no verdict that could hold. `remark`: another format or size than in training.
    `declares`: what the file says of itself, which no score knows.
    """
    for name, count in {"batch_size": batch_size, "workers": workers}.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} is {count}; expected at least 1")
    how = {name: judge.settings[name] for name in ("image_size", "resize_mode")}
    versions = (keep, *DELIVERY) if delivery else (keep,)
    read = partial(_read, versions=versions, thumbnail=thumbnails, pixel_limit=pixel_limit, **how)
    stream = iter(sources)
    others = sources[1:] if isinstance(sources, list) else stream
    # The first one is read here, so that its verdict need not wait for processes to start.
    pictures = chain(map(read, islice(stream, 1)), map_processes(read, others, workers=workers, label="images"))
    yield from _judge(judge, list(islice(pictures, 1)), always)
    while batch := list(islice(pictures, batch_size)):
        yield from _judge(judge, batch, always)


def _read(source: ImageFile | Image.Image, **how: object) -> tuple[str, Picture]:
    """The name of a picture with what was read of it: a stream has passed by when that comes back."""
    name = _text(source.path) if isinstance(source, ImageFile) else ""
    return name, read_picture(source, **how)  # type: ignore[arg-type]


def _judge(judge: Judge, batch: list[tuple[str, Picture]], always: bool) -> Iterator[dict]:
    sound = [picture for _, picture in batch if not picture.problem]
    judged: Iterator[tuple[np.ndarray, float]] = iter(())
    if sound:
        features, p = _score(judge, np.stack([picture.squares for picture in sound]))
        far = distances(features, judge.reference) if judge.reference else np.full(len(sound), np.nan)
        judged = zip(p, far)
    for path, picture in batch:
        row: dict = dict.fromkeys(COLUMNS, "") | {"path": path, "problem": picture.problem}
        if not picture.problem:
            p, distance = next(judged)
            found = _row(judge, picture, p, distance, always=always)
            fits = p.min() >= 0 and np.allclose(p.sum(axis=1), 1, atol=1e-3)
            fault = "no probabilities" if np.isfinite(p).all() else "not finite"
            row |= found if fits else {"problem": f"the model's scores are {fault}"}
        row["thumbnail"] = picture.thumbnail
        yield row


def _score(judge: Judge, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[B, versions, S, S, 3] -> features of the raw pictures [B, 3, D], probabilities [B, versions, 3]."""
    count, versions = squares.shape[:2]
    features, p = judge.score(squares.reshape(-1, *squares.shape[2:]))
    raw = features.reshape(count, versions, *features.shape[1:])[:, 0]
    return raw, p.reshape(count, versions, len(CLASSES))


def _row(judge: Judge, picture: Picture, p: np.ndarray, distance: float, *, always: bool) -> dict:
    """What is said of one picture, whose probabilities are [versions, 3], those of the raw picture first."""
    p_fake = 1 - p[:, CLASSES.index("real")]
    bare = {"threshold": judge.calibration["threshold"]}
    verdicts = [verdict(score, bare if always else judge.calibration) for score in p_fake]
    row = {
        "verdict": verdicts[0],
        "reason": BETWEEN if verdicts[0] == "unsure" else "",
        "likeliest": CLASSES[p[0].argmax()],
        **dict(zip(("p_dm", "p_gan", "p_real"), p[0].tolist())),
        "p_fake": float(p_fake[0]),
        "declares": picture.declares,
        "format": picture.format,
        "width": picture.width,
        "height": picture.height,
    }
    if len(p) > 1:
        row["p_fake_low"], row["p_fake_high"] = float(p_fake.min()), float(p_fake.max())
        row["holds"] = "yes" if len(set(verdicts)) == 1 else "no"
    if judge.reference:
        known, size = judge.reference, {"width": picture.width, "height": picture.height}
        found = unlike_training(known, image_size=judge.settings["image_size"], distance=distance, **size)
        row["distance"], row["unlike"] = float(distance), "; ".join(found)
        halved = judge.settings["image_size"] if len(p) > 1 else 0
        row["remark"] = "; ".join(remarks(known, image_size=halved, kind=picture.format, **size))
        if found and not always:
            row |= {"verdict": "unsure", "reason": UNLIKE, "holds": ""}
    return row


def verdict(p_fake: float, calibration: dict) -> str:
    """`fake` or `real` at the frozen threshold; where there is a band, `unsure` in [unsure_low, unsure_high)."""
    low, high = unsure_band(calibration)
    if p_fake >= high:
        return "fake"
    return "real" if p_fake < low else "unsure"


def problem_rows(problems: dict[str, str]) -> Iterator[dict]:
    """Rows of what could not even be opened as an image."""
    for path, problem in problems.items():
        yield dict.fromkeys(COLUMNS, "") | {"path": _text(path), "problem": problem, "thumbnail": b""}


def describe(row: dict) -> str:
    """One row as a line, `shown` as a terminal may show it: names and what files say of themselves are others' text."""
    if row["problem"]:
        return shown(f"{row['path']}: {row['problem']}")
    line = f"{row['path']}: {row['verdict']}"
    if row["unlike"]:
        # Before any number: of such a picture the numbers mean little.
        line += f", {UNLIKE} ({row['unlike']})"
    line += "; fake score {p_fake:.2f} (diffusion {p_dm:.2f}, GAN {p_gan:.2f}, real {p_real:.2f})".format(**row)
    if row["holds"]:
        change = "holds" if row["holds"] == "yes" else "does not hold"
        line += f"; {change} under delivery ({row['p_fake_low']:.2f} to {row['p_fake_high']:.2f})"
    if row["declares"]:
        line += f"; the file declares: {row['declares']}"
    if row["remark"]:
        line += f"; remark: {row['remark']}"
    return shown(line)


def _text(path: Path | str) -> str:
    """A path as text; bytes of its name that are no UTF-8 are shown as such."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
