"""The project's own files: one list of dependencies, a README that tells the truth, no traces of a machine."""

import json
import os
import re
import shlex
import signal
import site
import socket
import subprocess
import sys
import time
import tomllib
from http.client import HTTPResponse
from importlib import metadata
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse
from urllib.request import urlopen

import nbformat
import pandas as pd
import papermill
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from packaging.specifiers import SpecifierSet

from dfxlib import __version__
from dfxlib.__main__ import _parser
from dfxlib.measure.published import SCORES
from dfxlib.models.zoo import BACKBONES
from dfxlib.study.records import read_runs
from dfxlib.system.files import project_root
from tools.page_tables import PAGE_TABLES
from tools.result_page import page

ROOT = project_root(Path(__file__).parent)
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "notebooks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RESULTS = sorted(path.parent for path in (ROOT / "results").glob("*/runs.csv"))


def test_environment_yml_defers_to_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert {re.split(r"[<>=]", name)[0] for name in conda} == {"python", "pip"}
    assert pip == {"pip": ["-c constraints.txt", "-e .[test]"]}


def test_constraints_pin_every_dependency_within_its_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().lower().split())
    extras = project["optional-dependencies"]
    assert extras["test"][0] == "dfxlib[study,pretrained]"
    for requirement in [*project["dependencies"], *extras["study"], *extras["pretrained"], *extras["test"][1:]]:
        name, _, bound = requirement.partition(">=")
        pinned = [int(part) for part in re.findall(r"\d+", pins[name])]
        assert pinned >= [int(part) for part in bound.split(".") if part], requirement


def test_pinned_versions_run_on_the_oldest_promised_python() -> None:
    """Debian 12 has Python 3.11.2; a pin that asks for 3.11.5 cannot be installed there."""
    promised = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    oldest = f"{promised.removeprefix('>=')}.0"
    assert oldest == "3.11.0"
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    here = [name for name, version in pins.items() if is_installed(name, version)]
    needed = {name: metadata.metadata(name)["Requires-Python"] or "" for name in here}
    assert here, "the environment is of other versions"
    assert {name: needs for name, needs in needed.items() if not SpecifierSet(needs).contains(oldest)} == {}


def is_installed(name: str, version: str) -> bool:
    try:
        return metadata.version(name) == version
    except metadata.PackageNotFoundError:
        return False


def test_the_oldest_python_at_hand_imports_the_study_and_renders_a_page(tmp_path: Path) -> None:
    """The packages of this environment, under an older patch of the same Python: compiled modules suit both."""
    named = [Path(folder, f"python3.{sys.version_info.minor}") for folder in os.get_exec_path()]
    versions = {python: version_of(python) for python in named if python.is_file()}
    oldest = min(versions, key=versions.__getitem__, default=Path(sys.executable))
    if versions.get(oldest, sys.version_info[:3]) >= sys.version_info[:3]:
        pytest.skip("no Python of this minor version is older than the one that runs the tests")
    cells = [new_markdown_cell("# Page\n\nText with [a link](10_other.ipynb)."), new_code_cell("1 + 1")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "page.ipynb")
    text = f"""
import sys
sys.path += {[str(ROOT), *site.getsitepackages()]!r}
import jupyterlab, papermill, snakemake
from pathlib import Path
from dfxlib.study.pages import to_html
assert "Text with" in to_html(Path({str(tmp_path / "page.ipynb")!r}), code=True, pictures=Path({str(tmp_path)!r}))
"""
    variables = os.environ | {"JUPYTER_PATH": f"{sys.prefix}/share/jupyter"}  # templates of pages
    done = subprocess.run([oldest, "-I", "-c", text], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{oldest}: {done.stderr}"


def version_of(python: Path) -> tuple[int, ...]:
    command = [python, "-I", "-c", "import sys; print(*sys.version_info[:3])"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return tuple(map(int, said.split())) or (99,)  # a shim that starts nothing


@pytest.mark.parametrize("results", RESULTS, ids=lambda path: path.name)
def test_the_pages_repeat_the_published_numbers(results: Path) -> None:
    marked = rf"<!-- (\w+):{results.name} -->\n(.*?)\n<!-- /\1 -->"
    blocks = [block for place in PAGES for block in re.findall(marked, place.read_text(encoding="utf-8"), re.S)]
    assert blocks, "make publish fills them"
    for mark, text in blocks:
        assert text == PAGE_TABLES[mark](results)


def test_the_results_repeat_the_base_models_at_two_main_shares() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- share09 -->\n(.*?)\n<!-- /share09 -->", page, re.S).group(1)
    measured = pd.read_csv(ROOT / "benchmarks" / "results" / "demo_images.csv")
    for nature, rows in measured.groupby("base_model"):
        areas = [
            "{valid_auc:.3f} ({valid_auc_low:.3f} to {valid_auc_high:.3f})".format(**row)
            for row in rows.sort_values("main_share").to_dict("records")
        ]
        assert f"| {nature} | {' | '.join(areas)} |" in block


@pytest.mark.parametrize(
    "place", [*PAGES, *(folder / "README.md" for folder in RESULTS)], ids=lambda path: path.parent.name
)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(place: Path) -> None:
    text = place.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        target = place.parent / name if name else place
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, link


def test_the_published_audit_of_the_demonstration_lies_where_the_set_was_made_to_lie() -> None:
    audit = pd.read_csv(ROOT / "results" / "demo" / "tables" / "main.csv").set_index("method")["value"]
    assert audit["metadata"] == pytest.approx(1 / 3), "nothing but chance in mode, size and format"
    assert audit["bytes"] <= 0.5, "or the size of the file tells natures apart"
    assert audit["scalars"] <= audit["spectrum"] - 0.1, "noise and sharpness tell some, traces tell more"
    assert 0.6 <= audit["spectrum"] <= 0.9, "neither without traces nor solved by them"


@pytest.mark.xfail(strict=True, reason="0.553 (0.514 to 0.592) on today's scenes; its delivery needs more noise")
def test_noise_and_sharpness_tell_the_natures_of_the_demonstration_no_further_apart_than_a_half() -> None:
    main = pd.read_csv(ROOT / "results" / "demo" / "tables" / "main.csv").set_index("method")
    assert main.loc["scalars", "value"] <= 0.5


@pytest.mark.parametrize("results", RESULTS, ids=lambda path: path.name)
def test_published_results_are_few_files_and_name_environment_and_manifest_of_every_run(results: Path) -> None:
    files = [path for path in results.rglob("*") if path.is_file()]
    assert len(files) <= 40 and sum(path.stat().st_size for path in files) <= 3_000_000
    assert len(list(results.glob("figures/*.png"))) <= 15
    for own in read_runs(results)[1].values():
        assert own["environment"]["packages"] and own["metrics"]["manifest_hash"]


@pytest.mark.parametrize("results", RESULTS, ids=lambda path: path.name)
def test_the_page_of_results_follows_from_the_other_files(results: Path) -> None:
    assert (results / "README.md").read_text(encoding="utf-8") == page(results, name=results.name)


def test_the_readme_is_a_page() -> None:
    assert len(README.splitlines()) <= 150 and len(README.split()) <= 1300


def test_a_forge_tests_every_promised_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = [name.rpartition(" ")[2] for name in project["classifiers"]]
    assert promised[0] == project["requires-python"].removeprefix(">=")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == promised
    steps = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert {"make lint", "make test", "make recompute"} <= set(steps)
    pages = yaml.safe_load((ROOT / ".github" / "workflows" / "pages.yml").read_text())
    assert "make site" in [step.get("run") for step in pages["jobs"]["site"]["steps"]]


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    assert citation == newest == __version__


def test_the_site_is_pushed_by_the_two_documented_lines(tmp_path: Path) -> None:
    lines = re.search(r"Two lines push.*?```sh\n(.*?)```", (ROOT / "docs" / "running.md").read_text(), re.S)[1]
    assert len(lines.splitlines()) == 2
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<h1>Site</h1>")
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "forge"], check=True)
    subprocess.run(["sh", "-ec", lines.replace("ADDRESS", "../forge")], cwd=tmp_path, check=True, capture_output=True)
    log = subprocess.run(["git", "log", "--oneline", "pages"], cwd=tmp_path / "forge", capture_output=True, text=True)
    assert len(log.stdout.splitlines()) == 1, "a branch without history"


def test_the_inventory_holds_the_images_of_the_paper() -> None:
    inventory = pd.read_csv(ROOT / "data_manifests" / "deepfeaturex_inventory.csv")
    totals = inventory.groupby("nature")["images"].sum().to_dict()
    assert totals == {"dm_generated": 15421, "gan_generated": 37572, "real": 19341}


def commands() -> list[list[str]]:
    """Every line of a shell in README and docs, without comments, as words."""
    blocks = [block for place in PAGES for block in re.findall(r"```sh\n(.*?)```", place.read_text(), re.S)]
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line]


def test_commands_of_the_pages_are_known_with_their_files_and_options() -> None:
    """Those of detecting and testing run in tests of their own; here nothing is computed."""
    known: set[str] = set()
    for program, *words in commands():
        name = Path(program).name
        known.add(name)
        if name == "dfx":
            _parser().parse_args(words)
        elif name == "make":
            assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.M), words
        elif name == "papermill":
            notebook = next(word for word in words if word.startswith("notebooks/"))
            parameters = papermill.inspect_notebook(str(ROOT / notebook))
            given = [words[place + 1] for place, word in enumerate(words) if word == "-p"]
            assert set(given) <= set(parameters), words
        elif name == "snakemake":
            assert (ROOT / words[words.index("--configfile") + 1]).is_file()
            assert "--workflow-profile" not in words or (ROOT / words[words.index("--workflow-profile") + 1]).is_dir()
            keys = {word.partition("=")[0] for word in words if re.match(r"\w+=", word)}
            assert keys <= set(yaml.safe_load((ROOT / "studies" / "demo.yaml").read_text())), words
        else:
            assert name == "git", words
    assert known >= {"dfx", "make", "papermill", "snakemake", "git"}


def test_the_readme_lists_every_notebook() -> None:
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{notebook.name})" in README


def test_studies_name_known_backbones() -> None:
    full = yaml.safe_load((ROOT / "studies" / "deepfeaturex.yaml").read_text())
    assert set(full["backbones"]) <= set(BACKBONES)


def test_no_tracked_file_is_large_without_a_reason() -> None:
    """Scores of a study are larger: all its published numbers follow from them."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in tracked.split("\0") if name]
    allowed = {path: 3_000_000 if path.name == SCORES else 500_000 for path in paths if path.is_file()}
    assert [str(path) for path, most in allowed.items() if path.stat().st_size > most] == []


def test_jupyterlab_finds_the_kernel_of_this_environment() -> None:
    jupyter = Path(sys.executable).with_name("jupyter")
    listing = subprocess.run([jupyter, "kernelspec", "list", "--json"], capture_output=True, text=True, check=True)
    assert "python3" in json.loads(listing.stdout)["kernelspecs"]
    assert subprocess.run([jupyter, "lab", "--version"], capture_output=True, check=False).returncode == 0


def test_make_lab_opens_the_notebooks_and_reaches_the_whole_project(tmp_path: Path) -> None:
    """The server that the Makefile starts, asked as a browser would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = {"open_browser": False, "allow_root": True, "port": port, "ip": "127.0.0.1"}
    (tmp_path / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": server}))
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_TOKEN": "word"}
    command = ["make", "lab", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.installed"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, start_new_session=True) as lab:
        try:
            start = answer(f"http://127.0.0.1:{port}/?token=word", tries=120)
            assert urlparse(start.url).path == "/lab/tree/notebooks"
            for place in ("notebooks/00_prepare_dataset.ipynb", "studies/demo.yaml", "results", "README.md"):
                address = f"http://127.0.0.1:{port}/api/contents/{place}?content=0&token=word"
                assert json.load(answer(address, tries=1))["path"] == place
        finally:
            os.killpg(lab.pid, signal.SIGKILL)


def answer(address: str, *, tries: int) -> HTTPResponse:
    """What a server answers, once it does."""
    for left in reversed(range(tries)):
        try:
            return urlopen(address, timeout=30)
        except URLError:
            if not left:
                raise
            time.sleep(0.5)
    raise AssertionError


def map_of_contributing() -> list[str]:
    """Paths and patterns of the map, from its indentation."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = re.search(r"<!-- map -->\n```\n(.*?)```", text, re.S).group(1).splitlines()
    folders, entries = [], []
    for line in lines:
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        folders = folders[:depth]
        if name.endswith("/"):
            folders.append(name)
        else:
            assert len(line.split()) > 1, f"{name} has no word of what it is"
            entries.append("".join([*folders, name]))
    return entries


def test_the_map_names_every_file_once_and_nothing_else() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [name for name in listed.split("\0") if name and (ROOT / name).exists()]
    entries = map_of_contributing()
    places = {name: [entry for entry in entries if in_map(name, entry)] for name in files}
    assert {name: found for name, found in places.items() if len(found) != 1} == {}
    assert [entry for entry in entries if not any(in_map(name, entry) for name in files)] == []


def in_map(name: str, entry: str) -> bool:
    """A star stands for a name, or at an entry's end for all below."""
    pattern = re.escape(entry).replace(r"\*", "[^/]*")
    return re.fullmatch(pattern + ("(/.*)?" if entry.endswith("*") else ""), name) is not None
