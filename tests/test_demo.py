"""The demonstration set: the same images anywhere, a cache that is honest, nothing to cheat by."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dfxdemo import scenes
from dfxdemo.dataset import MARKER, UNFINISHED, expected_files, render_demo
from dfxdemo.design import ARCHITECTURES, UNSEEN, shown_by
from dfxdemo.gan_like import StripConv2d
from dfxdemo.render import undelivered

SMALL = 24
REFERENCE = Path(__file__).with_name("demo_reference.png")


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "set"
    render_demo(root, scenes=SMALL, workers=1)
    return root


@pytest.fixture()
def copy(small_set: Path, tmp_path: Path) -> Path:
    """A copy whose files may be spoilt."""
    for path in small_set.rglob("*"):
        if path.is_file():
            target = tmp_path / "set" / path.relative_to(small_set)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path / "set"


def images(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.png")}


def test_more_scenes_and_more_workers_keep_the_images(small_set: Path, tmp_path: Path) -> None:
    render_demo(tmp_path / "two", scenes=45, workers=2)
    more, fewer = images(tmp_path / "two"), images(small_set)
    assert len(more) == 135 and len(fewer) == 72
    assert all(more[name] == content for name, content in fewer.items())


def test_images_are_the_reference_within_a_grey_level(small_set: Path) -> None:
    """Centres of the first image of each architecture, side by side, as first rendered."""
    with Image.open(REFERENCE) as image:
        reference = np.asarray(image).astype(int)
    np.testing.assert_allclose(reference_strip(small_set).astype(int), reference, atol=1)


def reference_strip(root: Path) -> np.ndarray:  # [32, 15 * 32, 3] uint8
    firsts = [sorted((root / n / a).glob("*.png"))[0] for a, n in ARCHITECTURES.items()]
    return np.hstack([np.asarray(Image.open(path))[16:48, 16:48] for path in firsts])


def test_every_scene_is_shown_once_by_every_nature(small_set: Path) -> None:
    by_nature = {
        nature: sorted(path.stem for path in (small_set / nature).rglob("*.png"))
        for nature in set(ARCHITECTURES.values())
    }
    assert all(stems == [f"scene{s:06d}" for s in range(SMALL)] for stems in by_nature.values())


def test_unseen_architectures_share_no_scene_with_others() -> None:
    natures = sorted(set(ARCHITECTURES.values()))
    assert {ARCHITECTURES[name] for name in UNSEEN} == set(natures)
    for scene in range(300):
        shown = shown_by(scene)
        assert sorted(shown) == natures
        assert len(set(shown.values()) & set(UNSEEN)) in (0, 3)


def test_architectures_are_as_many_as_promised() -> None:
    count = {n: list(ARCHITECTURES.values()).count(n) for n in set(ARCHITECTURES.values())}
    assert count["real"] >= 3 and count["gan_generated"] >= 5 and count["dm_generated"] >= 4
    assert all("like" in a for a, n in ARCHITECTURES.items() if n != "real")
    shown = {a for scene in range(SMALL) for a in shown_by(scene).values()}
    assert shown == set(ARCHITECTURES)
    study = yaml.safe_load((Path(__file__).parents[1] / "studies" / "demo.yaml").read_text())
    assert len(expected_files(study["demo_scenes"])) == 3600, "of which results/demo is; a study in minutes has no more"


def test_files_do_not_tell_the_nature(small_set: Path) -> None:
    facts = set()
    for path in small_set.rglob("*.png"):
        with Image.open(path) as image:
            facts.add((image.format, image.mode, image.size, tuple(image.info)))
    assert facts == {("PNG", "RGB", (64, 64), ())}


def test_a_finished_set_is_left_alone(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfxdemo.dataset._render", lambda *args, **kwargs: pytest.fail("rendered"))
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    render_demo(copy, scenes=SMALL)
    assert before == {path: path.stat().st_mtime_ns for path in copy.rglob("*")}


def test_a_torn_set_is_repaired(copy: Path, small_set: Path) -> None:
    files = sorted(copy.rglob("*.png"))
    files[0].unlink()
    files[5].write_bytes(files[5].read_bytes()[:200])  # cut
    files[9].with_name(files[9].name + ".partial").write_bytes(b"half")
    untouched = files[20].stat().st_mtime_ns
    render_demo(copy, scenes=SMALL, workers=1)
    assert images(copy) == images(small_set)
    assert files[20].stat().st_mtime_ns == untouched
    assert not list(copy.rglob("*.partial"))


def test_a_killed_run_is_continued(copy: Path, small_set: Path) -> None:
    settings = json.loads((copy / MARKER).read_text())
    (copy / MARKER).unlink()
    for path in sorted(copy.rglob("*.png"))[:6]:
        path.unlink()
    begun = {key: settings[key] for key in ("demo", "version", "weights", "seed")}
    (copy / UNFINISHED).write_text(json.dumps(begun))
    render_demo(copy, scenes=SMALL, workers=1)
    assert images(copy) == images(small_set)
    assert (copy / MARKER).exists() and not (copy / UNFINISHED).exists()


def test_other_settings_replace_the_set(copy: Path) -> None:
    before = images(copy)
    render_demo(copy, scenes=3, seed=5, workers=1)
    after = images(copy)
    assert len(after) == 9
    assert all(before[name] != content for name, content in after.items())


@pytest.mark.parametrize("name", ["photo.jpg", "real/mine/a.png", "real/camera_a_bilinear/x.png"])
def test_foreign_files_are_refused_and_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(ValueError, match="not of a demonstration set"):
        render_demo(tmp_path, scenes=1)
    assert (tmp_path / name).read_bytes() == b"mine"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / name]


def test_images_without_a_marker_are_not_taken_for_ours(copy: Path) -> None:
    (copy / MARKER).unlink()
    with pytest.raises(ValueError, match=r"no demo\.json"):
        render_demo(copy, scenes=1)
    assert len(images(copy)) == 72


def test_training_and_study_never_share_random_numbers() -> None:
    drawn = {
        tuple(scenes.random_stream(purpose, seed, scene, "scene").integers(0, 2**60, 2))
        for purpose in scenes.PURPOSES
        for seed in range(3)
        for scene in range(50)
    }
    assert len(drawn) == 2 * 3 * 50
    package = Path(scenes.__file__).parent
    assert '"study"' not in (package.parent / "tools" / "train_demo_generators.py").read_text()
    assert '"training"' not in (package / "render.py").read_text()


def test_weights_are_small_and_complete() -> None:
    sizes = {
        path.stem: path.stat().st_size for path in (Path(scenes.__file__).parent / "weights").glob("*.safetensors")
    }
    assert set(sizes) == {a for a, nature in ARCHITECTURES.items() if nature != "real"}
    assert max(sizes.values()) <= 500_000 and sum(sizes.values()) <= 3_000_000


@pytest.mark.parametrize("wrong", [{"scenes": 0}, {"seed": -1}])
def test_wrong_settings_are_refused(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected at least"):
        render_demo(tmp_path / "set", **{"scenes": 1} | wrong)


def test_every_architecture_can_show_a_scene_and_what_the_set_shows_is_among_it() -> None:
    shown = undelivered([0], seed=0)
    everyone = undelivered([0], seed=0, architectures=tuple(ARCHITECTURES))
    assert {architecture: nature for nature, architecture, _ in everyone} == ARCHITECTURES
    assert len(shown) == 3
    for key, pixels in shown.items():
        np.testing.assert_array_equal(everyone[key], pixels)


@pytest.mark.parametrize("kernel, stride, side", [(3, 1, 19), (3, 1, 2), (4, 2, 18)])
def test_a_convolution_by_strips_is_the_convolution(kernel: int, stride: int, side: int) -> None:
    torch.manual_seed(0)
    layer = StripConv2d(3, 5, kernel, stride=stride, padding=1).double()
    images = torch.randn(2, 3, side, side + 1, dtype=torch.float64)
    whole = torch.nn.functional.conv2d(images, layer.weight, layer.bias, stride, padding=1)
    torch.testing.assert_close(layer(images), whole, rtol=0, atol=1e-12)
