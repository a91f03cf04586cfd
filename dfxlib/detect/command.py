"""The commands `dfx export` and `dfx detect`: their options, and what they print.

Imported for the options alone, and so without anything that takes time.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, redirect_stdout
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from dfxlib.system.files import require_file
from dfxlib.system.stopping import stoppable

if TYPE_CHECKING:
    from dfxlib.data.decode import ImageFile
    from dfxlib.detect.engines import Judge

#: Exit codes of `detect` besides 0: no image could be judged; a verdict that --fail-on names.
NOTHING_JUDGED, FOUND = 1, 3

_STDIN = "-"


def add_detection(commands: argparse._SubParsersAction) -> None:
    """Add both commands to the parser of `dfx`."""
    export = commands.add_parser("export", help="write a trained model as a folder that opens anywhere")
    export.add_argument("run", type=Path, help="runs/STUDY/complete/BACKBONE/seedN")
    export.add_argument("folder", type=Path, help="new folder of the model")
    export.set_defaults(handle=_export)
    detect = commands.add_parser("detect", help="verdicts of an exported model for images")
    add = detect.add_argument
    add("model", type=Path, help="folder that export wrote, or a reference checkpoint with --backbone")
    where = "image, folder with all below it, pattern, CSV with a column path, or - for paths from standard input"
    add("path", nargs="+", help=where)
    add("--out", type=Path, metavar="FILE.csv", help="one row an image; else lines on the screen")
    add("--html", type=Path, metavar="FILE.html", help="a page with thumbnails that needs nothing else")
    add("--json", action="store_true", help="one JSON object a line on standard output, and all else elsewhere")
    add("--fail-on", choices=("fake", "unsure"), default="", help="exit with 3 for such an image (unsure: or fake)")
    add("--always", action="store_true", help="the bare verdict, even of what is unlike the training data")
    add("--root", type=Path, help="folder from which the paths in a CSV count; by default the CSV's")
    add("--no-delivery", action="store_true", help="skip JPEG 75 and half size: a third of the work")
    add("--engine", choices=("auto", "onnx", "torch"), default="auto", help="auto: onnxruntime, or torch with a GPU")
    add("--backbone", default="", help="of a reference checkpoint")
    add("--batch-size", type=int, default=32, help="images judged at once")
    add("--workers", type=int, help="processes that decode; by default one a core")
    add("--pixel-limit", type=at_least_one, help="pixels above which a picture is too large")
    add("--device", default="auto", help="auto, cpu or cuda")
    detect.set_defaults(handle=_detect)


def at_least_one(text: str) -> int:
    """A whole number that is no less than 1, of a command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number of at least 1")
    return int(text)


def _export(options: argparse.Namespace) -> int:
    from dfxlib.detect.export import export_model

    print(f"the model is {export_model(options.run, options.folder)}")
    return 0


def _detect(options: argparse.Namespace) -> int:
    from dfxlib.data.decode import PIXEL_LIMIT
    from dfxlib.detect import verdicts as d
    from dfxlib.detect.engines import open_judge
    from dfxlib.detect.results import save_rows, summary
    from dfxlib.system.memory import keep_freed_memory

    keep_freed_memory()
    written = {option: place for option, place in [("--out", options.out), ("--html", options.html)] if place}
    # Whoever reads lines of JSON reads nothing else there: what is passed over is told elsewhere.
    with redirect_stdout(sys.stderr) if options.json else nullcontext():
        sources, problems = _sources(options, written)
    judge = open_judge(options.model, engine=options.engine, backbone=options.backbone, device=options.device)
    rows = d.detect(
        judge,
        sources,
        delivery=not options.no_delivery,
        always=options.always,
        thumbnails=bool(options.html),
        batch_size=options.batch_size,
        workers=options.workers,
        pixel_limit=PIXEL_LIMIT if options.pixel_limit is None else options.pixel_limit,
    )
    model, limit = _described(judge, options.model)
    lines = "json" if options.json else "" if written else "text"
    with stoppable(None):
        everything = chain(rows, d.problem_rows(problems))
        counts = save_rows(everything, table=options.out, page=options.html, model=model + limit, lines=lines)
    print(summary(counts) + limit, *written.values(), sep="; see ", file=sys.stderr if options.json else sys.stdout)
    return exit_code(counts, options.fail_on)


def exit_code(counts: Counter, fail_on: str) -> int:
    """What `detect` ends with; `fail_on` unsure: anything that is not known to be real."""
    judged = any(counts[name] for name in ("fake", "real", "unsure"))
    names = {"": (), "fake": ("fake",), "unsure": ("fake", "unsure", "problem")}[fail_on]
    return NOTHING_JUDGED if not judged else FOUND if any(counts[name] for name in names) else 0


def _described(judge: "Judge", path: Path) -> tuple[str, str]:
    """What a page calls a model, and which verdicts it never gives, as the rest of a sentence."""
    from dfxlib.measure.cuts import never_said

    manifest = judge.settings["manifest_hash"][:12] or "unknown"
    model = f"{path.resolve().name}: {judge.settings['backbone']}, trained on manifest {manifest}"
    never = never_said(judge.calibration)
    limit = f"; it never says {never}: too few images in its calibration to promise few mistakes" if never else ""
    return model, limit


def _sources(
    options: argparse.Namespace, written: dict[str, Path]
) -> tuple["list[ImageFile] | Iterator[ImageFile]", dict[str, str]]:
    """What is to be judged, once the results are known to lie apart from all that is read."""
    from dfxlib.detect.find import find_images, listed_images

    named = [path for path in options.path if path != _STDIN]
    folders = [path for path in map(Path, [options.model, *named]) if path.is_dir()]
    for option, place in written.items():
        require_file(option, place, apart=folders)
    if options.out and options.html and options.out.resolve() == options.html.resolve():
        raise ValueError(f"--out and --html are both {options.out}; give each a file of its own")
    files, problems = find_images(named, root=options.root)
    _require_apart(written, chain(map(Path, named), (file.container or file.path for file in files)))
    if len(named) == len(options.path):
        return files, problems

    def stream() -> Iterator["ImageFile"]:
        yield from files
        # As names of files come: bytes that are no UTF-8 are kept.
        sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
        for file in listed_images(sys.stdin):
            _require_apart(written, [file.path])
            yield file

    return stream(), problems


def _require_apart(written: dict[str, Path], read: Iterable[Path]) -> None:
    places = [place for place in written.values() if place.exists()]
    for path in read if places else ():
        for place in places:
            if path.exists() and path.samefile(place):
                raise ValueError(f"{place} is among what is read, and would be lost; name another file for the results")
