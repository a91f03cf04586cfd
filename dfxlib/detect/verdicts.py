"""Verdicts for files, folders and tables of images by an exported model, as a stream of rows."""

import base64
import csv
import glob
import html
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import date
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dfxlib.data.decode import PIXEL_LIMIT, ImageFile, image_files
from dfxlib.data.perturb import CONDITIONS, keep
from dfxlib.data.squares import Picture, read_picture
from dfxlib.data.tables import read_table, with_slashes
from dfxlib.data.trees import IMAGE_SUFFIXES, is_clutter, is_image_name, tell_clutter, walk
from dfxlib.detect.export import Opened
from dfxlib.detect.unlike import distances, remarks, unlike_training
from dfxlib.measure.scores import unsure_band
from dfxlib.models.networks import CPU
from dfxlib.names import CLASSES
from dfxlib.system.files import atomic
from dfxlib.system.parallel import map_processes
from dfxlib.system.shown import shown
from dfxlib.training.fit import memory_advice, to_input

COLUMNS: tuple[str, ...]
COLUMNS = ("path", "verdict", "likeliest", "p_dm", "p_gan", "p_real", "p_fake", "p_fake_low", "p_fake_high", "holds")
COLUMNS += ("distance", "unlike", "remark", "format", "width", "height", "problem")

#: What a picture goes through on its way over the web, one at a time; the verdict should survive it.
DELIVERY = (CONDITIONS["jpeg420_q75"], CONDITIONS["scale_50"])

_OTHER = "is no image's"

_PAGE_ROWS = 1000  # pictures that a page shows; a table takes all


def find_images(paths: list[str], *, root: Path | None = None) -> tuple[list[ImageFile], dict[str, str]]:
    """Files behind paths: images, folders with all below them, patterns, CSV tables with a column `path`.

    Paths in a table count from `root`, by default from the table's folder. Comes second: what in
    a folder cannot be judged, with the reason. Raises FileNotFoundError and ValueError for what
    is missing or without an image.
    """
    files: list[ImageFile] = []
    problems: dict[str, str] = {}
    for text in paths:
        # A name that exists is itself, even where its signs would make a pattern.
        found = [text] if os.path.lexists(text) else _matches(text)
        if not found:
            raise FileNotFoundError(f"{text} is missing; expected an image, a folder, a pattern or a CSV with paths")
        for path in map(Path, found):
            if path.is_dir():
                files += _in_folder(path, problems)
            elif path.suffix.lower() == ".csv":
                files += _in_table(path, root)
            else:
                files.append(ImageFile(path))
    return files, problems


def _matches(pattern: str) -> list[str]:
    """What a pattern names, less what a walk would pass over, unless the pattern itself says its name."""
    named = set(pattern.split("/"))
    found = sorted(glob.glob(pattern, recursive=True))
    clutter = {path: part for path in found for part in set(path.split("/")) - named if part and is_clutter(part)}
    tell_clutter(pattern, list(clutter.values()))
    return [path for path in found if path not in clutter]


def _in_folder(folder: Path, problems: dict[str, str]) -> list[ImageFile]:  # adds to `problems` what is no image
    images: list[str] = []
    here: dict[str, str] = {}
    for below, names in walk(folder, set(), here):
        prefix = f"{below}/" if below else ""
        images += [prefix + name for name in names if is_image_name(name)]
        here |= {prefix + name: f"suffix {Path(name).suffix!r} {_OTHER}" for name in names if not is_image_name(name)}
    if not images:
        raise ValueError(f"folder {folder} holds no image; expected files such as {', '.join(sorted(IMAGE_SUFFIXES))}")
    problems.update({str(folder / name): here[name] for name in sorted(here)})
    return [ImageFile(folder / name) for name in sorted(images)]


def _in_table(file: Path, root: Path | None) -> list[ImageFile]:
    table, _ = read_table(file, {"path"})
    if table.empty:
        raise ValueError(f"table {file} lists no image; expected one row an image with its path")
    root = root or file.parent
    listed = table.reindex(columns=["path", "sha256", "container", "row"], fill_value="")  # a manifest has them all
    return image_files(listed.assign(path=with_slashes(listed["path"], root)), root)


def detect(
    opened: Opened,
    files: list[ImageFile],
    *,
    delivery: bool = True,  # also under JPEG 75 and at half size: three times the work
    thumbnails: bool = False,
    batch_size: int = 32,  # images
    workers: int | None = None,  # processes that decode; None: one a usable core
    pixel_limit: int = PIXEL_LIMIT,  # pixels; a larger picture counts as a decompression bomb
    device: torch.device = CPU,
) -> Iterator[dict]:  # COLUMNS and thumbnail
    """One row a file, in order, as soon as it is judged; a file that cannot be judged is a row with its problem.

    Probabilities are calibrated, `verdict` is one of `verdict`, `likeliest` one of the three natures.
    `p_fake_low` and `p_fake_high` bound the fake score with and without delivery, and `holds`
    says whether all verdicts agree. A picture that is unlike the training data in what `unlike`
    names, its features (`distance` above 1) or a size below the model's input, is `unsure`, whatever
    its score, and has no verdict that could hold. `remark`: another format or size than in training.
    """
    for name, count in {"batch_size": batch_size, "workers": workers}.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} is {count}; expected at least 1")
    how = {name: opened.settings[name] for name in ("image_size", "resize_mode")}
    versions = (keep, *DELIVERY) if delivery else (keep,)
    read = partial(read_picture, versions=versions, thumbnail=thumbnails, pixel_limit=pixel_limit, **how)
    opened.model.to(device)
    # The first one is read here, so that its verdict need not wait for processes to start.
    pictures = zip(files, chain(map(read, files[:1]), map_processes(read, files[1:], workers=workers, label="images")))
    with memory_advice("detect", batch_size):
        yield from _judge(opened, list(islice(pictures, 1)), device)
        while batch := list(islice(pictures, batch_size)):
            yield from _judge(opened, batch, device)


def _judge(opened: Opened, batch: list[tuple[ImageFile, Picture]], device: torch.device) -> Iterator[dict]:
    sound = [picture for _, picture in batch if not picture.problem]
    judged: Iterator[tuple[np.ndarray, float]] = iter(())
    if sound:
        features, p = _score(opened, np.stack([picture.squares for picture in sound]), device)
        far = distances(features, opened.reference) if opened.reference else np.full(len(sound), np.nan)
        judged = zip(p, far)
    for file, picture in batch:
        row: dict = dict.fromkeys(COLUMNS, "") | {"path": _text(file.path), "problem": picture.problem}
        if not picture.problem:
            p, distance = next(judged)
            judgeable = np.isfinite(p).all()
            row |= _row(opened, picture, p, distance) if judgeable else {"problem": "the model's scores are not finite"}
        row["thumbnail"] = picture.thumbnail
        yield row


@torch.inference_mode()
def _score(opened: Opened, squares: np.ndarray, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """[B, versions, S, S, 3] -> features of the raw pictures [B, 3, D], probabilities [B, versions, 3]."""
    count, versions = squares.shape[:2]
    inputs = to_input(squares.reshape(-1, *squares.shape[2:]), device)  # [B * versions, 3, S, S]
    features = opened.model.features(inputs)  # [B * versions, 3, D]
    logits = opened.model.head(features).double() / opened.calibration["temperature"]
    p = torch.softmax(logits, dim=1).view(count, versions, len(CLASSES))
    raw = features.view(count, versions, *features.shape[1:])[:, 0]
    return raw.float().cpu().numpy(), p.cpu().numpy()


def _row(opened: Opened, picture: Picture, p: np.ndarray, distance: float) -> dict:  # p: [versions, 3], raw first
    p_fake = 1 - p[:, CLASSES.index("real")]
    verdicts = [verdict(score, opened.calibration) for score in p_fake]
    p_dm, p_gan, p_real = p[0].tolist()
    row = {
        "verdict": verdicts[0],
        "likeliest": CLASSES[p[0].argmax()],
        "p_dm": p_dm,
        "p_gan": p_gan,
        "p_real": p_real,
        "p_fake": float(p_fake[0]),
        "format": picture.format,
        "width": picture.width,
        "height": picture.height,
    }
    if len(p) > 1:
        row["p_fake_low"], row["p_fake_high"] = float(p_fake.min()), float(p_fake.max())
        row["holds"] = "yes" if len(set(verdicts)) == 1 else "no"
    if opened.reference:
        known, size = opened.reference, {"width": picture.width, "height": picture.height}
        found = unlike_training(known, image_size=opened.settings["image_size"], distance=distance, **size)
        row["distance"], row["unlike"] = float(distance), "; ".join(found)
        row["remark"] = "; ".join(remarks(known, kind=picture.format, **size))
        if found:
            row["verdict"], row["holds"] = "unsure", ""
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
    line = "{path}: {verdict} {p_fake:.2f} (diffusion {p_dm:.2f}, GAN {p_gan:.2f}, real {p_real:.2f})".format(**row)
    if row["holds"]:
        change = "holds" if row["holds"] == "yes" else "does not hold"
        line += f"; {change} under delivery ({row['p_fake_low']:.2f} to {row['p_fake_high']:.2f})"
    if row["remark"]:
        line += f"; remark: {row['remark']}"
    if row["unlike"]:
        line += f"; unlike the training data: {row['unlike']}"
    return shown(line)


def save_rows(rows: Iterable[dict], *, table: Path | None = None, page: Path | None = None, model: str = "") -> Counter:
    """Write rows as they come, as a CSV, a page under the name of the `model`, or both, and count the verdicts.

    With neither they are lines on the screen. The files appear whole when the last row is
    written, or not at all. Of a table that is interrupted the finished rows stay, as
    NAME.partial.csv, which the exception then names.
    """
    counts: Counter = Counter()
    with ExitStack() as stack:
        # A table or a page that nobody asked for is written into nothing.
        table_partial = stack.enter_context(atomic(table)) if table else os.devnull
        page_partial = stack.enter_context(atomic(page)) if page else os.devnull
        table_file = stack.enter_context(open(table_partial, "w", encoding="utf-8", newline=""))
        page_file = stack.enter_context(open(page_partial, "w", encoding="utf-8", newline=""))
        writer = csv.DictWriter(table_file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        page_file.write(f"{_PAGE_HEAD}<p>{html.escape(model)}; {date.today()}</p><table>\n")
        try:
            for row in rows:
                writer.writerow({name: f"{v:.6f}" if isinstance(v, float) else v for name, v in row.items()})
                if not (table or page):
                    tqdm.write(describe(row))  # above the progress bar
                if page and counts.total() < _PAGE_ROWS:
                    page_file.write(_page_row(row))
                counts[_counted_as(row)] += 1
        except KeyboardInterrupt as stop:
            reason = str(stop) or "interrupted"  # Ctrl-C itself says nothing
            told = f"{reason} after {summary(counts)}"
            if table:
                left = Path(table_partial).rename(table.with_suffix(f".partial{table.suffix}"))
                told += f"; see {left}"
            raise type(stop)(told) from stop
        left_out = counts.total() - _PAGE_ROWS
        more = f"; {left_out} more" if left_out > 0 else ""
        page_file.write(_PAGE_END.format(summary=summary(counts), more=more))
    return counts


def _counted_as(row: dict) -> str:
    """The verdict, or why there is none: `problem` of an image, `other` where the file is no image's."""
    if row["verdict"]:
        return row["verdict"]
    return "other" if row["problem"].endswith(_OTHER) else "problem"


def summary(counts: Counter) -> str:
    """How many images got each verdict, and how many files are none, as a sentence's part."""
    images = counts.total() - counts["other"]
    told = ["1 image" if images == 1 else f"{images} images"]
    told += [f"{counts[name]} {name}" for name in ("fake", "real", "unsure") if counts[name]]
    told.append(f"{counts['problem']} with a problem")
    if counts["other"]:
        told.append(f"{counts['other']} other")
    return ", ".join(told)


def _text(path: Path | str) -> str:
    """A path as text; bytes of its name that are no UTF-8 are shown as such."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


_PAGE_HEAD = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Verdicts</title><style>
body { font: 0.9rem sans-serif; margin: 1rem auto; max-width: 70rem; padding: 0 1rem }
td { border-top: 1px solid #ddd; padding: 0.4rem; vertical-align: top; overflow-wrap: anywhere }
meter { width: 8rem } .problem { color: #666 } .warning { color: #a50f15 } tfoot { display: table-header-group }
</style><h1>Verdicts</h1>
<p>Indications for a person to weigh, and no proof. The bar is the calibrated fake score.</p>"""

# The style shows it above the rows, before which it is not known.
_PAGE_END = '<tfoot><tr><td colspan="3">{summary}{more}</td></tr></tfoot></table></html>\n'


def _page_row(row: dict) -> str:
    picture = base64.b64encode(row["thumbnail"]).decode()
    image = f'<img alt="" src="data:image/jpeg;base64,{picture}">' if picture else ""
    path = html.escape(shown(row["path"]))
    told = html.escape(describe(row)).removeprefix(f"{path}: ")
    told = f"<strong>{row['verdict']}</strong>{told.removeprefix(row['verdict'])}"
    told = re.sub("does not hold|unlike the training data: .*", r'<span class="warning">\g<0></span>', told)
    if row["problem"]:
        style, bar = "problem", ""
    else:
        style, bar = "", f'<meter min="0" max="1" value="{row["p_fake"]:.4f}"></meter>'
    return f'<tr class="{style}"><td>{image}</td><td>{path}<br>{told}</td><td>{bar}</td></tr>\n'
