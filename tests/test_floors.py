"""The house: a folder imports from folders below its own only, and each stays small enough to read."""

import ast
import tokenize
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dfxlib"

#: Folders from the ground up; those of one floor do not know each other.
FLOORS = (
    {"names", "system"},
    {"data"},
    {"measure", "models"},
    {"plots", "study", "training"},
    {"detect"},
    {"__main__"},
)
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
CODE = sorted([*MODULES, *(ROOT / "dfxdemo").glob("*.py"), *(ROOT / "tools").glob("*.py")])

#: What one reads to understand the method, in twenty minutes.
CORE = ("models/networks.py", "training/fit.py", "training/features.py", "training/augment.py")

#: Most lines of code of each folder. There is no bound on their sum.
LARGEST = {
    "system": 480,
    "data": 2090,
    "models": 715,
    "training": 520,
    "measure": 1800,
    "plots": 660,
    "study": 1690,
    "detect": 1280,
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(module: str) -> str:
    """The folder of dfxlib that a dotted module lies in, or the module itself where it lies in none."""
    return module.split(".")[1]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path) -> set[str]:
    """Modules of this project that a file imports, wherever in the file it does so."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    known = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in CODE}
    return {module for name in names for module in (name, name.rpartition(".")[0]) if module in known}


def lines(*paths: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


def lines_of_code(*paths: Path) -> int:
    """Lines that hold code: docstrings, comments and blank lines are welcome and do not count."""
    return sum(len(_code_lines(path)) for path in paths)


def _code_lines(path: Path) -> set[int]:
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    with open(path, "rb") as file:
        tokens = [token for token in tokenize.tokenize(file.readline) if token.type not in (*layout, tokenize.ENCODING)]
    code = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree(path)):
        if isinstance(node, documented) and ast.get_docstring(node):
            code -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return code


def test_the_package_shows_eight_folders_and_the_studys_words() -> None:
    shown = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if not path.name.startswith("__pycache__")}
    assert shown == set(FLOOR_OF) | {"__init__"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_folder_imports_from_folders_below_its_own_only(path: Path) -> None:
    own = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    others = {module for module in imported(path) if module.startswith("dfxlib.") and room_of(module) != own}
    above = {module for module in others if FLOOR_OF[room_of(module)] >= FLOOR_OF[own]}
    assert not above, f"{path.stem} imports {', '.join(sorted(above))}, on its own floor or above it"
    assert not {module for module in imported(path) if not module.startswith("dfxlib.")}, "dfxlib stands alone"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {".".join(path.relative_to(ROOT).with_suffix("").parts): imported(path) for path in CODE}
    TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_the_demonstration_set_knows_nothing_of_the_study() -> None:
    found = {module for path in (ROOT / "dfxdemo").glob("*.py") for module in imported(path)}
    assert {module for module in found if module.startswith("dfxlib.")} <= {"dfxlib.system.parallel"}


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_a_function_is_under_40_lines(path: Path) -> None:
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]
    long = {node.name: length for node in functions if (length := body_length(node)) >= 40}
    assert not long


def body_length(function: ast.FunctionDef) -> int:
    """Lines from the first statement after the docstring to the end: a signature is documentation."""
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    return function.end_lineno - body[0].lineno + 1


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_no_star_import_no_bare_except_no_blanket_filter(path: Path) -> None:
    for node in ast.walk(tree(path)):
        assert not (isinstance(node, ast.ImportFrom) and node.names[0].name == "*")
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None)
    assert 'simplefilter("ignore")' not in path.read_text() and 'filterwarnings("ignore")' not in path.read_text()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_public_function_says_what_it_does(path: Path) -> None:
    public = [node for node in tree(path).body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", sorted({*CODE, *PACKAGE.rglob("__init__.py")}), ids=name_of)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree(path))


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_a_file_has_at_most_350_lines(path: Path) -> None:
    assert lines(path) <= 350


def test_the_core_has_at_most_600_lines_of_code() -> None:
    assert lines_of_code(*(PACKAGE / name for name in CORE)) <= 600


@pytest.mark.parametrize("room", LARGEST)
def test_a_folder_stays_within_its_bound(room: str) -> None:
    assert lines_of_code(*(PACKAGE / room).glob("*.py")) <= LARGEST[room]


def test_only_the_command_line_reads_study_or_parameter_files() -> None:
    # descriptions of public data sets are data and no settings
    reading = {path.stem for path in MODULES if "import yaml" in path.read_text()}
    assert reading <= {"execute", "descriptions", "__main__"}
