"""An exported model: opens anywhere, judges as the run did, and tells what is wrong with it."""

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from samples import SETTINGS, rows, squares
from sklearn.decomposition import PCA
from trained import CALIBRATION

import dfxlib
from dfxlib.__main__ import main
from dfxlib.data.residual import BLOCK
from dfxlib.detect import engines
from dfxlib.detect.engines import onnx_judge, open_judge, torch_judge
from dfxlib.detect.export import Opened, export_model, open_model
from dfxlib.detect.folder import FORMAT, Folder
from dfxlib.detect.graph import OPSET, write_graph
from dfxlib.detect.plain import require_plain
from dfxlib.detect.unlike import (
    describe_training,
    distances,
    load_reference,
    remarks,
    save_reference,
    unlike_training,
)
from dfxlib.measure.band import MOSTLY, ON_AVERAGE
from dfxlib.models.networks import BaseModel, DeepFeatureXNet, build_head
from dfxlib.models.saved import save_model
from dfxlib.names import CLASSES
from dfxlib.study.run_folder import vouch
from dfxlib.system.files import sha256_file, write_vouched
from dfxlib.training.fit import to_input


@pytest.fixture()
def copy(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "copy")


def test_the_folder_judges_as_the_model_that_was_trained(exported: Path, trained_model: DeepFeatureXNet) -> None:
    opened = open_model(exported)
    images = to_input(squares(5), torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(opened.model(images), trained_model(images))
    assert not opened.model.training and opened.settings["classes"] == list(CLASSES)
    assert opened.calibration["threshold"] == 0.25 and opened.calibration["temperature"] == 2.0
    assert opened.reference["spectra"].shape == (3, BLOCK**2)


def test_the_description_says_what_is_needed_to_use_and_to_trace_it(exported: Path) -> None:
    stated = json.loads((exported / "model.json").read_text())
    settings = stated["settings"]
    assert stated["format"] == FORMAT and settings["classes"] == list(CLASSES)
    expected = {
        "image_size": 32,
        "crop_size": 0,
        "crops": 1,
        "resize_mode": "crop",
        "front_end": "rgb",
        "stem": "imagenet",
        "manifest_hash": "0" * 64,
    }
    assert settings == settings | expected and stated["made"]["commit"]
    assert stated["files"]["model.safetensors"] == sha256_file(exported / "model.safetensors")
    undefined = [row for row in stated["metrics"] if row["metric"] == "AUC"]
    assert undefined[0]["value"] is None, "JSON knows no NaN"


def test_the_card_is_written_from_the_results(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    assert "| three-way | balanced accuracy | 0.700 (0.600 to 0.800) | 60 |" in card
    assert "| fake score | AUC | undefined | 60 |" in card
    assert card.count("Not measured so far.") == 1, "robustness was, generalization was not"
    assert "| raw | AUC | 0.900 (0.800 to 1.000) |" in card


def test_the_command_exports_and_replaces_its_own_and_nothing_else(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for _ in range(2):
        assert main(["export", str(trained_run), str(tmp_path / "model")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert main(["export", str(trained_run), str(tmp_path / "mine")]) == 2
    assert "mine was not written by this command; give a new folder" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.tex").is_file()


def test_every_file_of_a_model_may_be_read_and_written_by_whom_the_umask_says(
    trained_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    for name in ("model.safetensors", "reference.npz"):
        (run / name).chmod(0o644)
    earlier = os.umask(0o002)
    try:
        folder = export_model(run, tmp_path / "model")
    finally:
        os.umask(earlier)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {
        path.name: "0o664" for path in folder.iterdir()
    }


def test_a_model_is_not_written_into_its_run_and_a_damaged_record_is_named(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    assert main(["export", str(run), str(run / "model")]) == 2
    told = capsys.readouterr().err
    assert told == f"dfx export: model folder {run}/model lies in {run}, which is only read; name a place outside it\n"
    (run / "calibration.json").write_text('{"temperature": ')
    assert main(["export", str(run), str(tmp_path / "model")]) == 2
    assert f"{run}/calibration.json holds no JSON (" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"] and not (run / "model").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "calibration.json", "reference.npz", "tables/summary.csv"])
def test_a_run_that_is_not_finished_is_not_exported(
    trained_run: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / name).unlink()
    assert main(["export", str(run), str(tmp_path / "model")]) == 2
    assert f"lacks {name}; expected a finished run of 20_train_complete_model" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "model.json", "reference.npz"])
def test_a_flipped_byte_is_told_with_the_file(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(ValueError, match=rf"copy is damaged: {name} does not match its checksum; copy the folder ag"):
        open_model(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "model.json.sha256", "reference.npz"])
def test_a_missing_file_is_told(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks {name}; copy the folder again"):
        open_model(copy)


def test_the_card_is_for_people_to_add_to_and_to_leave_away(copy: Path) -> None:
    with (copy / "README.md").open("a") as card:
        card.write("Licence: CC BY 4.0\n")
    assert open_model(copy).calibration
    (copy / "README.md").unlink()
    assert open_model(copy).calibration


@pytest.mark.parametrize(("number", "cure"), [(FORMAT - 1, "export the run again"), (FORMAT + 1, "update dfxlib")])
def test_another_version_of_the_format_is_refused(copy: Path, number: int, cure: str) -> None:
    stated = json.loads((copy / "model.json").read_text()) | {"format": number}
    write_vouched(copy / "model.json", lambda path: path.write_text(json.dumps(stated)))
    with pytest.raises(ValueError, match=f"has format {number}; this dfxlib reads format {FORMAT}; {cure}"):
        open_model(copy)


def with_band(folder: Path, name: str, band: dict) -> Path:
    """A run or a model, whose calibration is given a band."""
    stated = json.loads((folder / name).read_text())
    stated.get("calibration", stated).update(band)
    write_vouched(folder / name, lambda path: path.write_text(json.dumps(stated)))
    return folder


BAND = {"unsure_low": 0.2, "unsure_high": 0.7, "unsure_error": 0.05}


def test_an_exported_model_says_which_of_the_two_promises_its_band_keeps(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "complete" / "resnet18" / "seed0")
    for promise in (MOSTLY, ON_AVERAGE):
        (run / "calibration.json").write_text((trained_run / "calibration.json").read_text())
        band = BAND | {"unsure_promise": promise}
        folder = export_model(with_band(run, "calibration.json", band), tmp_path / "model")
        assert open_model(folder).calibration["unsure_promise"] == promise
        card = (folder / "README.md").read_text()
        assert (
            f"promises 5% of real images called fake and 5% of fakes called real at most, each {promise}, for" in card
        )


@pytest.mark.slow
def test_the_licence_of_pretrained_weights_travels_with_them(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "complete" / "efficientnet_lite0" / "seed0")
    torch.manual_seed(0)
    bases = [BaseModel("efficientnet_lite0", weights="imagenet", image_size=32) for _ in CLASSES]
    settings = SETTINGS | {"backbone": "efficientnet_lite0", "weights": "imagenet"}
    settings |= {"base_models": dict.fromkeys(CLASSES, "0")}
    save_model(run / "model.safetensors", DeepFeatureXNet(bases), settings=settings)
    folder = export_model(run, tmp_path / "model")
    assert "Apache" in (folder / "LICENSE.weights").read_text()


@pytest.mark.parametrize(
    "text", ["{}", '{"format": null}', '{"format": "new"}', "[]", "no JSON", "[" * 10**5, '{"format": Infinity}']
)
def test_a_description_without_a_format_is_told(copy: Path, text: str) -> None:
    write_vouched(copy / "model.json", lambda path: path.write_text(text))
    with pytest.raises(ValueError, match=r"model\.json states no number as its format; copy the folder again, or expo"):
        open_model(copy)


def test_what_is_no_exported_model_is_told_with_the_cure(trained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no model\.json; make one with `dfx export"):
        open_model(trained_run)
    with pytest.raises(FileNotFoundError, match="nowhere is missing; expected a folder that"):
        open_model(tmp_path / "nowhere")


def test_a_run_whose_files_changed_is_not_exported(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    vouch(run, {}, seconds=1)
    (run / "calibration.json").write_text("{}")
    with pytest.raises(ValueError, match=r"calibration\.json was changed; run 20_train_complete_model again"):
        export_model(run, tmp_path / "model")


class TestNovelty:
    def test_the_distance_orders_pictures_as_the_likelihood_of_probabilistic_pca_does(self) -> None:
        random = np.random.default_rng(0)
        mixing = random.normal(size=(6, 384))
        train, held, new = ((random.normal(size=(n, 6)) @ mixing).astype(np.float32) for n in (400, 200, 50))
        train, held, new = (a + random.normal(size=a.shape, scale=0.1).astype(np.float32) for a in (train, held, new))
        shape = (-1, 3, 128)
        known = describe_training(train.reshape(shape), held.reshape(shape), table(), np.zeros((3, 4)))
        # The same approximate fit: among directions of noise an exact one chooses others.
        oracle = PCA(n_components=len(known["variances"]), svd_solver="randomized", random_state=0).fit(train)
        found = distances(new.reshape(shape), known) * known["limit"]
        constant = oracle.score_samples(oracle.mean_[None])[0]  # the likelihood at distance 0
        assert found**2 == pytest.approx(2 * (constant - oracle.score_samples(new)), rel=0.01)
        assert (distances(held.reshape(shape), known) > 1).mean() == pytest.approx(0.01, abs=0.005)
        assert (distances(3 * new.reshape(shape), known) > 1).mean() > 0.5

    def test_it_takes_at_most_5_mb_for_the_widest_backbone(self, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        features = random.normal(size=(300, 3, 2208)).astype(np.float32)
        known = describe_training(features, features[:20], table(), random.normal(size=(3, BLOCK**2)))
        path = save_reference(tmp_path / "reference.npz", known)
        assert path.stat().st_size < 5e6
        assert all(np.array_equal(known[name], value) for name, value in load_reference(path).items())

    def test_the_distance_keeps_its_digits_far_from_zero(self) -> None:
        """Where float32 would lose them: features of thousands that differ by hundredths."""
        random = np.random.default_rng(0)
        near, far = random.normal(size=(2, 40, 3, 8))
        known = describe_training(near[:30], near[30:], table(), np.zeros((3, 4)))
        moved = known | {"mean": known["mean"].astype(np.float64) + 1e6}
        assert distances(far + 1e6, moved) == pytest.approx(distances(far, known), rel=1e-6)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({}, []),
            ({"width": 29}, []),
            ({"height": 4000}, []),
            ({"width": 27}, ["27 x 40 pixels, smaller than the model's input of 28"]),
            ({"distance": 2.5}, ["features 2.50 times as far from training as 99% of held-out images"]),
        ],
    )
    def test_it_says_in_what_a_picture_is_unlike_the_training_data(self, changes: dict, words: list[str]) -> None:
        known = {"sides": np.array([30, 40])}
        assert (
            unlike_training(known, **{"image_size": 28, "width": 40, "height": 40, "distance": 0.9} | changes) == words
        )

    def test_a_size_that_training_had_is_like_it_however_large_the_input(self) -> None:
        """Small pictures that are enlarged, as CIFAR's are for a backbone with ImageNet weights."""
        known, facts = {"sides": np.array([32, 32])}, {"image_size": 224, "distance": 0.9, "height": 32}
        assert unlike_training(known, width=32, **facts) == []
        assert unlike_training(known, width=31, **facts) != []

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({}, []),
            ({"kind": "WEBP"}, ["WEBP, training had JPEG and PNG"]),
            ({"kind": ""}, []),
            ({"height": 41}, ["40 x 41 pixels, training had sides of 30 to 40"]),
            ({"width": 29}, ["29 x 40 pixels, training had sides of 30 to 40"]),
            ({"image_size": 20}, []),
            ({"image_size": 21}, ["half the size is less than the model's input of 21"]),
        ],
    )
    def test_another_format_or_size_is_a_remark(self, changes: dict, words: list[str]) -> None:
        known = {"formats": np.array(["JPEG", "PNG"]), "sides": np.array([30, 40])}
        assert remarks(known, **{"image_size": 0, "kind": "PNG", "width": 40, "height": 40} | changes) == words

    def test_a_few_small_pictures_in_training_do_not_make_small_pictures_alike(self) -> None:
        few = rows(300).assign(format="PNG", width=64, height=np.where(np.arange(300) < 2, 8, 64))
        features = np.random.default_rng(0).normal(size=(300, 3, 4)).astype(np.float32)
        for table, least in ((few, 64), (few.head(100), 8)):
            known = describe_training(features[: len(table)], features, table, np.ones((3, BLOCK**2)))
            assert known["sides"].tolist() == [least, 64]


def table() -> pd.DataFrame:
    return rows(6).assign(format="PNG", width=64, height=64)


class TestCard:
    def test_a_hub_reads_it_and_opens_the_folder_as_it_is(self, exported: Path) -> None:
        card = ModelCard.load(exported / "README.md")
        assert card.data.library_name == "dfxlib" and card.data.pipeline_tag == "image-classification"
        headings = re.findall(r"^## (.+)$", card.text, re.M)
        assert headings == ["How to use it", "Intended use", "Data", "Metrics", "Limits"]
        assert "{" not in card.text.replace("{batch", ""), "every field is filled in"
        assert "formats and sides in pixels: PNG; 32 to 32." in card.text

    def test_its_code_is_that_of_the_readme(self, exported: Path) -> None:
        (block,) = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.S)
        assert 'dfxlib.load("model")' in block and 'model.detect("photo.jpg")' in block


class TestGraph:
    @pytest.mark.parametrize(
        ("backbone", "front_end", "stem"),
        [
            ("timm:test_resnet", "rgb", "enlarged"),
            ("timm:test_vit", "rgb", "imagenet"),
            ("resnet18", "residual", "imagenet"),
        ],
    )
    def test_both_engines_say_the_same(
        self, backbone: str, front_end: str, stem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Any number of pictures, with crops and another head: what a study can train can be exported."""
        side = 192 if "vit" in backbone else 48
        cropped = {"crop_size": 0, "crops": 1} if "vit" in backbone else {"crop_size": 32, "crops": 4}
        how = {"weights": "none", "image_size": side, "front_end": front_end, "stem": stem, **cropped}
        torch.manual_seed(0)
        bases = [BaseModel(backbone, **how) for _ in CLASSES]
        head = build_head("permuted", width=bases[0].classifier.in_features, without="real", crops=bases[0].crops)
        model = DeepFeatureXNet(bases, head).eval()
        settings = SETTINGS | {"backbone": backbone} | how
        weights = save_model(tmp_path / "model.safetensors", model, settings=settings)
        graph = write_graph(tmp_path / "model.onnx", model, weights, image_size=side, temperature=0.5)
        assert graph.stat().st_size < weights.stat().st_size / 4, "weights are not written twice"
        folder = Folder(tmp_path, settings, CALIBRATION, load_reference_of(bases[0]))
        opened = Opened(model, settings, CALIBRATION | {"temperature": 0.5}, None)
        judges = onnx_judge(folder), torch_judge(opened, torch.device("cpu"))
        for count, at_once in ((1, 1), (5, 2 * side**2), (5, 2**18)):  # pixels: onnxruntime takes a batch in parts
            monkeypatch.setattr(engines, "_PASS", at_once)
            pictures = squares(count, side=side)
            (features, p), (same_features, same_p) = (judge.score(pictures) for judge in judges)
            assert np.abs(p - same_p).max() < 1e-5 and np.abs(features - same_features).max() < 1e-4
            with torch.no_grad():
                logits = model(to_input(pictures, torch.device("cpu"))).double()
            assert np.abs(p - torch.softmax(logits / 0.5, dim=1).numpy()).max() < 1e-5
            assert p.sum(axis=1) == pytest.approx(1, abs=1e-6) and features.std() > 1e-3

    def test_it_says_what_it_is_made_of(self, exported: Path) -> None:
        graph = onnx.load(exported / "model.onnx", load_external_data=False)
        assert (graph.producer_name, graph.producer_version) == ("dfxlib", dfxlib.__version__)
        assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", OPSET)]
        assert b"/" + Path(torch.__file__).parent.name.encode() + b"/" not in (exported / "model.onnx").read_bytes()
        onnx.checker.check_model(str(exported / "model.onnx"))

    def test_it_is_the_same_bytes_each_time(self, exported: Path, trained_run: Path, tmp_path: Path) -> None:
        again = export_model(trained_run, tmp_path / "model")
        assert sha256_file(again / "model.onnx") == sha256_file(exported / "model.onnx")


def planted_graph(copy: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    """A folder whose maker changed the graph and stated the checksums of what came out."""
    graph = onnx.load(copy / "model.onnx", load_external_data=False)
    change(graph)
    (copy / "model.onnx").write_bytes(graph.SerializeToString())
    stated = json.loads((copy / "model.json").read_text())
    stated["files"]["model.onnx"] = sha256_file(copy / "model.onnx")
    write_vouched(copy / "model.json", lambda path: path.write_text(json.dumps(stated)))
    return copy


def placed(graph: onnx.ModelProto, key: str, value: str) -> None:
    tensor = next(tensor for tensor in graph.graph.initializer if tensor.external_data)
    next(entry for entry in tensor.external_data if entry.key == key).value = value


def with_loop(graph: onnx.ModelProto) -> None:
    inner = onnx.helper.make_graph([], "inner", [], [])
    graph.graph.node.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))


def with_sparse(graph: onnx.ModelProto, field: str) -> None:
    """A constant whose values lie elsewhere, in one of the fields for sparse tensors."""
    attribute = graph.graph.node[0].attribute.add(name="sparse_value")
    several = field == "sparse_tensors"
    attribute.type = onnx.AttributeProto.SPARSE_TENSORS if several else onnx.AttributeProto.SPARSE_TENSOR
    tensor = attribute.sparse_tensors.add() if several else attribute.sparse_tensor
    tensor.dims.append(4)
    tensor.values.CopyFrom(onnx.TensorProto(data_type=1, dims=[1], data_location=1))
    tensor.values.external_data.add(key="location", value="../../secret")


HOSTILE = {
    "operators that are not ONNX's own": lambda graph: setattr(graph.graph.node[0], "domain", "com.example"),
    "functions of its own": lambda graph: graph.functions.add(name="f", domain="f"),
    "an operator with a graph inside": with_loop,
    "sparse weights": lambda graph: graph.graph.sparse_initializer.add(),
    "an operator with sparse weights": lambda graph: with_sparse(graph, "sparse_tensor"),
    "an operator with sparse weights (several)": lambda graph: with_sparse(graph, "sparse_tensors"),
    "weights that lie in another file": lambda graph: placed(graph, "location", "../../secret"),
    "a weight that model.safetensors has no room for": lambda graph: placed(graph, "offset", str(10**12)),
    "no graph": lambda graph: graph.graph.ClearField("node"),
}


class TestFoldersFromElsewhere:
    @pytest.mark.parametrize("fault", HOSTILE)
    def test_a_graph_with_anything_else_than_onnx_is_refused(self, copy: Path, fault: str) -> None:
        folder, told = planted_graph(copy, HOSTILE[fault]), fault.removesuffix(" (several)")
        with pytest.raises(ValueError, match=f"holds {re.escape(told)}; expected a graph that `dfx export` wrote"):
            open_judge(folder, engine="onnx")

    def test_a_weight_larger_than_its_place_is_refused_before_memory_is_taken(self, copy: Path) -> None:
        def enlarge(graph: onnx.ModelProto) -> None:
            tensor = next(tensor for tensor in graph.graph.initializer if tensor.external_data)
            tensor.dims[0] = 10**12

        with pytest.raises(ValueError, match=r"a weight that model\.safetensors has no room for"):
            open_judge(planted_graph(copy, enlarge), engine="onnx")

    @pytest.mark.parametrize(
        "data", [b"", b"\x3a\xff\xff\xff\xff\x0f", b"\x00" * 40, b"\x3a\x02\x0a\x05", b"\xff" * 90]
    )
    def test_bytes_that_are_no_graph_are_told(self, copy: Path, data: bytes) -> None:
        (copy / "model.onnx").write_bytes(data)
        with pytest.raises(ValueError, match=r"model\.onnx holds no (graph|message that can be read)"):
            require_plain(copy / "model.onnx", copy / "model.safetensors")

    def test_a_tag_of_which_others_read_the_lower_bits_is_refused(self, copy: Path) -> None:
        """protobuf cuts a tag to 32 bits: what hides behind a longer one is another graph for onnxruntime."""
        hidden = b"\xba\x80\x80\x80\x10\x00"  # field 7, a graph, with bit 32 set
        (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes() + hidden)
        with pytest.raises(ValueError, match=r"model\.onnx holds no message that can be read"):
            require_plain(copy / "model.onnx", copy / "model.safetensors")

    @given(st.binary(max_size=200))
    def test_no_bytes_make_the_reader_of_graphs_raise_anything_else(self, data: bytes) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            path.write_bytes(data)
            with suppress(ValueError):
                require_plain(path, path)

    @pytest.mark.parametrize(
        "changes, words",
        [
            ({"image_size": 10**7}, "image_size 10000000, expected 1 to 4096 pixels"),
            ({"image_size": "32"}, "image_size 32, expected 1 to 4096 pixels"),
            ({"resize_mode": "__import__"}, "a resize_mode or classes that no model here has"),
            ({"backbone": 3}, "something else than a name or a number"),
            ({"threshold": float("inf")}, "a temperature that is not above 0, or a cut that is not finite"),
            ({"temperature": float("inf")}, "a temperature that is not above 0, or a cut that is not finite"),
        ],
    )
    def test_a_description_that_cannot_be_worked_with_is_told(self, copy: Path, changes: dict, words: str) -> None:
        stated = json.loads((copy / "model.json").read_text())
        stated["calibration" if set(changes) <= set(CALIBRATION) else "settings"] |= changes
        write_vouched(copy / "model.json", lambda path: path.write_text(json.dumps(stated)))
        with pytest.raises(ValueError, match=re.escape(f"model.json states {words}")):
            open_judge(copy)

    def test_a_description_of_another_models_weights_is_told(self, copy: Path) -> None:
        stated = json.loads((copy / "model.json").read_text())
        stated["settings"]["seed"] = 5
        write_vouched(copy / "model.json", lambda path: path.write_text(json.dumps(stated)))
        with pytest.raises(ValueError, match=r"model\.safetensors and model\.json state different settings"):
            open_model(copy)

    def test_an_array_that_states_more_than_it_holds_takes_no_memory(self, copy: Path) -> None:
        known = load_reference(copy / "reference.npz")
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**13,)})
        with zipfile.ZipFile(copy / "reference.npz", "w") as archive:
            for name in known:
                archive.writestr(f"{name}.npy", header.getvalue())
        with pytest.raises(ValueError, match=r"is no reference of a model \(mean\.npy states more than it holds\)"):
            load_reference(copy / "reference.npz")

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("mean", np.nan, "numbers that are not finite, or spreads that are not above 0"),
            ("directions", np.inf, "numbers that are not finite, or spreads that are not above 0"),
            ("limit", np.nan, "numbers that are not finite, or spreads that are not above 0"),
            ("limit", 0, "numbers that are not finite, or spreads that are not above 0"),
            ("variances", -1, "numbers that are not finite, or spreads that are not above 0"),
            ("other_variance", np.inf, "numbers that are not finite, or spreads that are not above 0"),
            ("sides", np.array(["a", "b"]), "parts of another kind"),
        ],
    )
    def test_a_reference_by_which_no_distance_is_known_is_told_before_a_verdict(
        self, copy: Path, name: str, value: object, words: str
    ) -> None:
        path = copy / "reference.npz"
        known = load_reference(path)
        np.savez(path, **known | {name: np.full(known[name].shape, value)})
        stated = json.loads((copy / "model.json").read_text())
        stated["files"]["reference.npz"] = sha256_file(path)
        write_vouched(copy / "model.json", lambda path: path.write_text(json.dumps(stated)))
        told = re.escape(f"{path} is no reference of a model ({words}); export the run again")
        with pytest.raises(ValueError, match=told):
            open_judge(copy)

    def test_a_picture_whose_distance_is_no_number_is_unlike_the_training_data(self) -> None:
        known = {"sides": np.array([30, 40])}
        (told,) = unlike_training(known, image_size=30, width=40, height=40, distance=float("nan"))
        assert told.startswith("features nan times as far from training as ")


def load_reference_of(base: BaseModel) -> dict[str, np.ndarray]:
    features = np.random.default_rng(0).normal(size=(30, 3, base.classifier.in_features)).astype(np.float32)
    return describe_training(features[:20], features[20:], table(), np.ones((3, BLOCK**2)))
