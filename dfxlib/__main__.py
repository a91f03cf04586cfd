"""The command line: `dfx execute`, `manifest`, `harmonise`, `guidance`, `export`, `detect` and `recompute`.

`python -m dfxlib` is the same.

Exit codes: 0 done, 1 a notebook's cell failed or its kernel died, --strict or --verify found something, detect could
judge no image, or a published number does not come out of its scores, 2 unusable arguments or input, or a full disk,
3 detect gave a verdict that --fail-on names, 124 a time limit, 129 the terminal was closed, 130 interrupted from the
keyboard, 141 whoever read the lines has enough, 143 stopped by SIGTERM.
"""

import argparse
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from dfxlib import __version__
from dfxlib.data.decode import PIXEL_LIMIT
from dfxlib.detect.command import add_detection, at_least_one
from dfxlib.system import live
from dfxlib.system.files import project_path, require_file
from dfxlib.system.shown import shown
from dfxlib.system.stopping import EXIT_CODES

if TYPE_CHECKING:
    import pandas as pd


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code, as the module's text lists them."""
    live.open_streams()
    options = _parser().parse_args(arguments)
    try:
        return options.handle(options)
    except KeyboardInterrupt as stop:  # by a signal, or by the limit of a run before the notebook's first cell
        reason = str(stop) or "interrupted"  # Ctrl-C itself says nothing
        print(f"dfx {options.command}: {shown(reason)}", file=sys.stderr)
        return EXIT_CODES[type(stop).__name__]
    except BrokenPipeError:  # as in `| head`; Python would complain once more when it closes the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except ModuleNotFoundError as error:
        cure = "is not installed; it comes with the extra study: pip install 'dfxlib[study]'"
        print(f"dfx {options.command}: {f'{error.name} {cure}' if error.name else error}", file=sys.stderr)
        return 2
    except (ValueError, OSError, MemoryError) as error:
        told = str(error) or "memory does not suffice; close other programs, or give fewer workers"
        print(f"dfx {options.command}: {shown(told)}", file=sys.stderr)
        return 2


def _execute(options: argparse.Namespace) -> int:
    # Whoever runs many notebooks shows one line for all of them.
    alone = live.LIVE_VARIABLE not in os.environ and not options.progress and live.is_terminal(sys.stderr)
    with (
        live.showing(live.show_runs) if alone else nullcontext(),
        live.telling(options.notebook.stem, options.out.parent.as_posix()),  # at once: what follows imports for seconds
    ):
        return _execute_notebook(options)


def _execute_notebook(options: argparse.Namespace) -> int:
    project_path("~")  # where there is none, papermill could not even be imported
    # jsonschema, which papermill brings, would compile a grammar of web addresses for two seconds; no check here uses
    # it, and jsonschema does without a package that is not there.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment] # None: as if it were not installed
    # Imported here: no other command needs papermill, and a wrong option is told at once.
    from papermill.exceptions import PapermillExecutionError

    from dfxlib.study.execute import execute, explain, failed_notebook, parse_parameters, parse_value, read_parameters

    parameters: dict[str, object] = {}
    for path in options.file:
        parameters |= read_parameters(path)
    for text in options.yaml:
        parameters |= parse_parameters(text, origin=f"parameters {text!r}")
    for name, value in options.parameter:
        # YAML reads nothing as null; on a command line '' is an empty text.
        parameters[name] = parse_value(value, origin=f"parameter {name} {value!r}") if value else ""
    title = f"{options.notebook.stem:<24} {options.out.parent.as_posix()}"
    failed = failed_notebook(options.out)
    try:
        seconds = execute(
            options.notebook,
            options.out,
            parameters=parameters,
            page=options.page,
            code=not options.no_input,
            gpu=options.gpus > 0,
            cell_limit=options.cell_limit,
            run_limit=options.run_limit,
            progress=options.progress,
        )
    except PapermillExecutionError as error:
        live.say(f"{title}: {explain(error)} (cell {error.exec_count}; see {failed})", file=sys.stderr)
        return EXIT_CODES.get(error.ename, 1)
    except RuntimeError as error:  # the kernel did not start
        live.say(f"{title}: {error}; see {failed}", file=sys.stderr)
        return 1
    live.say(f"{title} {seconds:6.1f} s" if seconds else f"{title} was finished by another process")
    return 0


def _manifest(options: argparse.Namespace) -> int:
    from dfxlib.data import manifest as m

    source = {"layout": options.layout, "columns": dict(options.column), "workers": options.workers}
    if options.verify:
        findings = m.verify_manifest(m.read_manifest(options.verify)[0], options.root, **source)
        counts = findings["finding"].value_counts()
        if len(findings):
            print(findings.head(20).assign(path=lambda rows: rows["path"].map(shown)).to_string(index=False))
        else:
            print(f"{options.root} is as {options.verify} says")
        print(", ".join(f"{counts.get(kind, 0)} {kind}" for kind in ("missing", "changed", "new")))
        return 1 if len(findings) else 0
    require_file("--out", options.out, apart=[options.root])
    names = ["group_pattern", "near_duplicates", "split_seed", "use_declared", "pixel_limit"]
    names += ["unseen", "unseen_families", "unseen_after"]
    settings = source | {name: getattr(options, name) for name in names}
    # A data set may lack a class that another one brings, so no nature is required.
    manifest = m.build_manifest(options.root, required=(), sidecar=project_path(options.cache_root), **settings)
    digest = m.write_manifest(manifest, options.out)
    problems = _describe(manifest, use_declared=options.use_declared)
    print(f"{len(manifest)} rows, manifest {digest[:12]} in {options.out}")
    return 1 if options.strict and problems else 0


def _describe(manifest: "pd.DataFrame", *, use_declared: bool) -> int:  # images with a problem
    """Print what is in a manifest, and what deserves a look."""
    from dfxlib.data import manifest as m
    from dfxlib.data.splits import trained_relatives
    from dfxlib.measure.copies import large_groups, largest_groups

    names = ["path", "nature", "architecture", "group", "declared_split", "problem"]  # what a data set says
    manifest = manifest.assign(**{name: manifest[name].map(shown) for name in names})
    print(m.count_images(manifest).to_string())
    duplicates, disputed, problems = m.merged_groups(manifest), m.disputed_groups(manifest), m.problem_kinds(manifest)
    if len(duplicates):
        print(f"{len(duplicates)} sets of equal pictures, first {duplicates['paths'].iloc[0]}")
    largest = largest_groups(manifest, count=3)
    if len(largest):
        print(f"the largest groups:\n{largest.to_string(index=False)}", *large_groups(manifest), sep="\n")
    for sentence in trained_relatives(manifest, manifest):
        print(sentence)
    if len(disputed):
        first = disputed.iloc[0]
        print(f"{len(disputed)} groups span declared splits, first {first['declared']}: {first['paths']}")
    usable = manifest[manifest["problem"] == ""]
    undeclared = int((usable["declared_split"] == "").sum())
    if use_declared and undeclared:
        print(f"{undeclared} images declare no split and were split by hash")
    excluded = int((usable["split"] == "excluded").sum())
    if excluded:
        print(f"{excluded} sound images are excluded: for their nature, or because their group stands on two sides")
    if len(problems):
        print(f"{problems['images'].sum()} files have a problem:\n{problems.to_string(index=False)}")
    return int(problems["images"].sum())


def _guidance(options: argparse.Namespace) -> int:
    from dfxlib.data.guidance import write_guidance
    from dfxlib.data.manifest import read_manifest

    require_file("out", options.out, apart=[])
    if options.out.resolve() == options.manifest.resolve():
        raise ValueError(f"{options.out} is what is read, and would be lost; name another file")
    manifest, _ = read_manifest(options.manifest)
    written = write_guidance(manifest, options.out)
    print(f"{options.out}: {written} of {len(manifest)} images; unseen and excluded ones have no label there")
    return 0


def _recompute(options: argparse.Namespace) -> int:
    from dfxlib.measure.published import SCORES
    from dfxlib.study.recompute import by_step, check

    checked = check(options.results)
    print("not computed from scores:", *by_step(checked.others), sep="\n  ")
    for sentence in checked.different:
        print(f"{options.results}/{sentence}")
    every, scores = len(checked.same) + len(checked.different), options.results / SCORES
    print(f"{len(checked.same)} of {every} tables and records come out of {scores} as they were published")
    return 1 if checked.different else 0


def _harmonise(options: argparse.Namespace) -> int:
    from dfxlib.data.harmonise import RECORD, Recipe, harmonise

    quality, subsampling = options.quality, options.subsampling
    if quality is None:
        quality = 95 if options.format == "jpeg" else 0
    if subsampling is None:
        subsampling = "4:4:4" if options.format == "jpeg" else ""
    recipe = Recipe(options.format, quality, subsampling, resize=options.resize, crop=options.crop)
    table = harmonise(options.manifest, options.root, options.out, recipe=recipe, workers=options.workers)
    print(f"{len(table)} images in {options.out}, recorded in {RECORD}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dfx", description="The DeepFeatureX study")
    parser.add_argument("--version", action="version", version=f"dfx {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    execute = commands.add_parser("execute", help="run a notebook with papermill, with an honest outcome")
    execute.add_argument("notebook", type=Path)
    execute.add_argument("out", type=Path, help="executed notebook; its folder is the run's folder")
    execute.add_argument("-f", "--file", type=Path, action="append", default=[], help="parameters, YAML or JSON")
    execute.add_argument("-y", "--yaml", action="append", default=[], help="parameters, as YAML text")
    execute.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="one parameter"
    )
    execute.add_argument("--page", default="", help="name of an HTML page without code, written beside OUT")
    execute.add_argument("--no-input", action="store_true", help="leave the code out of the HTML beside OUT")
    execute.add_argument("--gpus", type=int, choices=(0, 1), default=0, help="1: take a GPU that no other job has")
    execute.add_argument("--cell-limit", type=int, metavar="S", help="seconds that a cell may take")
    execute.add_argument("--run-limit", type=int, metavar="S", help="seconds that the whole may take")
    execute.add_argument("--progress", action="store_true", help="print what cells print, as it comes, to stderr")
    execute.set_defaults(handle=_execute)
    _add_manifest(commands.add_parser("manifest", help="read every image of a data set once, or verify that"))
    _add_harmonise(commands)
    add_detection(commands)
    guidance = commands.add_parser("guidance", help="write the splits of a manifest as the reference reads them")
    guidance.add_argument("manifest", type=Path, help="manifest.csv with its .sha256")
    guidance.add_argument("out", type=Path, help="guidance.csv")
    guidance.set_defaults(handle=_guidance)
    recompute = commands.add_parser("recompute", help="compute published numbers again, from the scores beside them")
    recompute.add_argument("results", type=Path, help="results/STUDY")
    recompute.set_defaults(handle=_recompute)
    return parser


def _add_manifest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, help="folder of the data set; nothing in it is changed")
    parser.add_argument("--layout", default="folders", help="name of a layout, or a description's YAML file")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--out", type=Path, help="manifest to write, a CSV file")
    task.add_argument("--verify", type=Path, metavar="FILE", help="manifest to compare the files with, by checksum")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when any file has a problem")
    parser.add_argument("--column", nargs=2, action="append", default=[], metavar=("NAME", "HEADER"), help="of a table")
    parser.add_argument("--group-pattern", default="", help="regular expression; equal matches in paths share a group")
    near = "near copies share a group (re-encoded, slightly resized or mirrored pictures)"
    parser.add_argument("--near-duplicates", action=argparse.BooleanOptionalAction, default=True, help=near)
    parser.add_argument("--split-seed", type=int, default=0, help="decides the splits")
    parser.add_argument(
        "--unseen", action="append", default=[], help="architecture that no training may see; once for each"
    )
    parser.add_argument("--unseen-families", action="append", default=[], metavar="FAMILY", help="nor any of a family")
    after = "nor generators that were released later"
    parser.add_argument("--unseen-after", default="", metavar="YEAR-MONTH", help=after)
    parser.add_argument("--use-declared", action="store_true", help="let the data set's own splits decide")
    large = "pixels above which a picture is too large"
    parser.add_argument("--pixel-limit", type=at_least_one, default=PIXEL_LIMIT, help=large)
    parser.add_argument("--workers", type=int, help="processes; by default one a core")
    parser.add_argument("--cache-root", default="data/cache", help="folder that remembers what unchanged files hold")
    parser.set_defaults(handle=_manifest)


def _add_harmonise(commands: argparse._SubParsersAction) -> None:
    harmonise = commands.add_parser("harmonise", help="a new tree in which all classes are stored alike")
    harmonise.add_argument("manifest", type=Path, help="manifest.csv of the images, by 00_prepare_dataset")
    harmonise.add_argument("root", type=Path, help="the folder that the manifest describes; it stays untouched")
    harmonise.add_argument("out", type=Path, help="new folder OUT/nature/architecture/image, with images.csv")
    harmonise.add_argument("--format", choices=("png", "jpeg"), default="png")
    harmonise.add_argument("--quality", type=int, help="of JPEG, 1 to 100 (95)")
    harmonise.add_argument("--subsampling", choices=("4:4:4", "4:2:2", "4:2:0"), help="of JPEG (4:4:4)")
    size = harmonise.add_mutually_exclusive_group()
    size.add_argument("--resize", type=int, default=0, metavar="N", help="to squares of N x N pixels")
    size.add_argument("--crop", type=int, default=0, metavar="N", help="to the central N x N pixels")
    harmonise.add_argument("--workers", type=int, help="processes (one a usable core)")
    harmonise.set_defaults(handle=_harmonise)


if __name__ == "__main__":
    sys.exit(main())
