"""The command line: `python -m dfxlib execute`, `publish` and `guidance`.

Exit codes: 0 done, 1 a notebook's cell failed, 2 unusable arguments or input, 130 interrupted.
"""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return options.handle(options)
    except KeyboardInterrupt:
        print(f"dfxlib {options.command}: interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"dfxlib {options.command}: {error}", file=sys.stderr)
        return 2


def _execute(options: argparse.Namespace) -> int:
    # Imported here: publishing needs no papermill, and a wrong option is told at once.
    from papermill.exceptions import PapermillExecutionError

    from dfxlib.execute import execute, explain, failed_notebook, parse_parameters, parse_value, read_parameters

    parameters = {}
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
        seconds = execute(options.notebook, options.out, parameters=parameters, page=options.page)
    except PapermillExecutionError as error:
        print(f"{title}: {explain(error)} (cell {error.exec_count}; see {failed})", file=sys.stderr)
        return 1
    except RuntimeError as error:  # the kernel died (often for lack of memory) or did not start
        print(f"{title}: {error}; see {failed}", file=sys.stderr)
        return 1
    print(f"{title} {seconds:6.1f} s", flush=True)
    return 0


def _publish(options: argparse.Namespace) -> int:
    from dfxlib.files import project_root
    from dfxlib.report import publish, update_readme

    copied = publish(options.run, options.results)
    print(f"{len(copied)} files copied to {options.results}")
    if update_readme(project_root() / "README.md", options.results):
        print("README.md: table of results renewed")
    return 0


def _guidance(options: argparse.Namespace) -> int:
    from dfxlib.manifest import read_manifest
    from dfxlib.tables import write_guidance

    manifest, _ = read_manifest(options.manifest)
    written = write_guidance(manifest, options.out)
    print(f"{options.out}: {written} of {len(manifest)} images; unseen and excluded ones have no label there")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dfxlib", description="The DeepFeatureX study")
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
    execute.set_defaults(handle=_execute)
    publish = commands.add_parser("publish", help="copy tables, small figures and environment for review")
    publish.add_argument("run", type=Path, help="runs/STUDY")
    publish.add_argument("results", type=Path, help="results/STUDY")
    publish.set_defaults(handle=_publish)
    guidance = commands.add_parser("guidance", help="write the splits of a manifest as the reference reads them")
    guidance.add_argument("manifest", type=Path, help="manifest.csv with its .sha256")
    guidance.add_argument("out", type=Path, help="guidance.csv")
    guidance.set_defaults(handle=_guidance)
    return parser


if __name__ == "__main__":
    sys.exit(main())
