"""House rules of the committed notebooks (design of the study, "A notebook, cell by cell")."""

import ast
import json
import re
import statistics
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import papermill
import pytest
import yaml
from samples import rows

from dfxdemo.design import UNSEEN
from dfxlib.study import settings
from dfxlib.system.files import project_root

ROOT = project_root(Path(__file__).parent)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STEPS = {
    "00_prepare_dataset": "manifest",
    "10_train_base_model": "base",
    "15_train_three_way_baseline": "three_way",
    "20_train_complete_model": "complete",
    "30_jpeg_robustness": "robustness",
    "40_generalization": "generalization",
    "50_baselines_and_ablations": "baselines",
    "60_detect_images": "detection",
    "90_report": "report",
}


def cells(notebook: Path, kind: str = "code") -> list[dict]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def parameters_cell(notebook: Path) -> str:
    (cell,) = [cell for cell in cells(notebook) if "parameters" in cell["metadata"].get("tags", [])]
    return source(cell)


def test_every_notebook_of_the_study_is_there_in_order() -> None:
    assert [path.stem for path in NOTEBOOKS] == list(STEPS)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
class TestHouseRules:
    def test_it_is_committed_without_outputs_and_with_unique_cell_ids(self, notebook: Path) -> None:
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(notebook))
        identities = [cell["id"] for cell in json.loads(notebook.read_text())["cells"]]
        assert len(set(identities)) == len(identities)

    def test_it_has_16_to_26_cells_and_opens_with_its_question(self, notebook: Path) -> None:
        assert 16 <= len(json.loads(notebook.read_text())["cells"]) <= 26
        opening = source(cells(notebook, "markdown")[0])
        assert opening.startswith(f"# {notebook.stem[:2]} ")
        for word in ("**Question:**", "**Needs**", "**Writes**", "**Time**"):
            assert word in opening

    def test_imports_stand_in_the_first_code_cell_only(self, notebook: Path) -> None:
        for cell in cells(notebook)[1:]:
            nodes = ast.walk(ast.parse(source(cell)))
            assert [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)] == []

    def test_parameters_have_a_name_a_type_a_value_and_a_meaning_on_one_line(self, notebook: Path) -> None:
        for line in parameters_cell(notebook).splitlines():
            assert re.fullmatch(r"\w+: (int|float|str|list|dict|bool) = .+  # .+", line), line
            assert line.count(" = ") == 1, "papermill cannot inspect a line with a second assignment"

    def test_papermill_sees_every_parameter_with_its_type(self, notebook: Path) -> None:
        seen = papermill.inspect_notebook(str(notebook))
        names = [line.split(":")[0] for line in parameters_cell(notebook).splitlines()]
        assert list(seen) == names
        assert all(seen[name]["inferred_type_name"] != "None" for name in names)

    def test_code_is_short_and_free_of_magics(self, notebook: Path) -> None:
        for cell in cells(notebook):
            lines = source(cell).splitlines()
            is_parameters = source(cell) == parameters_cell(notebook)
            assert len(lines) <= (30 if is_parameters else 25)  # imports, and a table of parameters
            if not is_parameters:
                assert max(map(len, lines)) <= 120
            assert not any(line.lstrip().startswith(("%", "!")) for line in lines)
            functions = [n for n in ast.walk(ast.parse(source(cell))) if isinstance(n, ast.FunctionDef)]
            assert all(node.end_lineno - node.lineno < 10 for node in functions)

    def test_half_of_its_code_cells_have_at_most_8_lines_and_none_over_20(self, notebook: Path) -> None:
        _, *others = [cell for cell in cells(notebook) if source(cell) != parameters_cell(notebook)]
        lengths = [len(source(cell).splitlines()) for cell in others]
        assert statistics.median(lengths) <= 8 and max(lengths) <= 20

    def test_no_code_path_asks_for_the_name_of_a_study(self, notebook: Path) -> None:
        body = "\n".join(source(cell) for cell in cells(notebook) if source(cell) != parameters_cell(notebook))
        names = [path.stem for path in (ROOT / "studies").glob("*.yaml")]
        constants = {node.value for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Constant)}
        assert not constants & set(names)

    def test_its_last_code_cell_finishes_the_run(self, notebook: Path) -> None:
        assert "run.finish(" in source(cells(notebook)[-1])


@pytest.mark.parametrize(("stem", "step"), STEPS.items())
def test_defaults_are_the_demonstration(stem: str, step: str) -> None:
    demo = settings.check_study(yaml.safe_load((ROOT / "studies" / "demo.yaml").read_text()))
    given = settings.science(demo, step, backbone=demo["backbones"][0], seed=0) | settings.place(demo, step)
    given.pop("run_root")  # stepping through writes to runs/lab and leaves runs/demo alone
    given.pop("natures", None)  # a batch job trains one base model, stepping through all three
    # A study tests its own models on its own manifest; others are given by hand.
    by_hand = {"run_root", "natures", "model_path", "manifest_path"}
    namespace: dict = {}
    exec(parameters_cell(ROOT / "notebooks" / f"{stem}.ipynb"), namespace)
    assert {name: namespace[name] for name in given} == given
    known = {line.split(":")[0] for line in parameters_cell(ROOT / "notebooks" / f"{stem}.ipynb").splitlines()}
    assert known <= set(given) | by_hand, "a parameter that no study can set"


def test_the_demonstration_holds_out_what_the_set_names_as_unseen() -> None:
    demo = yaml.safe_load((ROOT / "studies" / "demo.yaml").read_text())
    assert tuple(demo["unseen"]) == UNSEEN


@pytest.fixture()
def only_tested() -> pd.DataFrame:
    """Rows as a data set's own splits leave them: one generator stands in the test part alone, its relative trains."""
    table = rows(24, architectures=2).assign(family="", released="", content="unknown")
    table.loc[table["nature"] == "gan_generated", "family"] = "WGAN"
    trains = (table["architecture"] != "gan_generated_1") & (table.index % 12 < 6)
    return table.assign(split=table["split"].mask(trains, "complete_train"))


RELATIVE = "Unseen gan_generated_1 has relatives that train: gan_generated_0 (family WGAN); "


def cell_of(stem: str, name: str) -> str:
    (found,) = [source(cell) for cell in cells(ROOT / "notebooks" / f"{stem}.ipynb") if cell["id"] == name]
    return found


def test_notebook_00_warns_of_a_generator_that_is_only_tested(
    only_tested: pd.DataFrame, capsys: pytest.CaptureFixture
) -> None:
    run = SimpleNamespace(save_table=lambda name, table: table, save_figure=lambda name, figure: None)
    known: dict = {}
    exec(cell_of("00_prepare_dataset", "imports"), known)
    exec(cell_of("00_prepare_dataset", "counts"), known | {"manifest": only_tested, "run": run, "layout": "csv"})
    assert capsys.readouterr().out.startswith(RELATIVE)
    plt.close("all")


def test_the_report_calls_a_generator_unseen_that_is_only_tested(only_tested: pd.DataFrame) -> None:
    said: list[str] = []
    known: dict = {}
    exec(cell_of("90_report", "imports"), known)
    known |= dict.fromkeys(["run_root", "question", "backbones", "seeds", "variants"], "")
    known["report"] = SimpleNamespace(
        collect_runs=lambda *a, **k: (pd.DataFrame({"run": []}), []),
        refuse_unfit=lambda *a, **k: None,
        read_records=lambda *a: {},
        heading=lambda *a: "",
        warnings_of=lambda *a: [],
    )
    known["open_manifest"] = lambda root: (only_tested, "0")
    known["open_run"] = lambda *a, **k: SimpleNamespace(save_table=lambda name, table: table)
    known |= {"Markdown": str, "display": said.append}
    exec(cell_of("90_report", "open-run"), known)
    assert any(sentence.startswith(f"**Note.** {RELATIVE}") for sentence in said)
    exec("\n".join(cell_of("90_report", "data").splitlines()[:2]), known)
    assert said[-1] == "Never seen in training: gan_generated_1."


@pytest.mark.parametrize(
    ("root", "own", "told"),
    [("data", "1", "are not those that this model was trained on"), ("", "0", "of the study are not at hand")],
)
def test_neighbours_are_training_images_of_this_model_or_none(
    root: str, own: str, told: str, capsys: pytest.CaptureFixture
) -> None:
    """An exported model may come from elsewhere, while the study at hand has training images of its own."""
    (cell,) = [cell for cell in cells(ROOT / "notebooks" / "60_detect_images.ipynb") if cell["id"] == "nearest"]
    opened = SimpleNamespace(settings={"manifest_hash": own})
    exec(source(cell), {"has_study": True, "data_root": root, "manifest_hash": "0", "opened": opened})
    assert told in capsys.readouterr().out
