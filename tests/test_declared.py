"""What a file declares: read as facts, cut and escaped, never raising; and what of it contradicts a label."""

import io
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from samples import noise, rows

from dfxlib.data.declared import contradiction, declared, read_declared
from dfxlib.data.decode import ImageFile
from dfxlib.measure.audit import declarations, declared_finding

TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"

#: A manifest as C2PA lays it out: a JUMBF description box, and a claim in CBOR.
STORE = b"jumb\0\0\0\x1ejumdc2pa\0\x11\0\x10\x80\0\0\xaa\x008\x9bq\x03c2pa\0"
CLAIM = b"\xa2\x6fclaim_generator\x78\x1cAn Editor/1.0 c2pa-rs/0.31.3" + b"\x74claim_generator_info\x81\xa1\x64name"
CLAIM += b"\x6bA Generator"


def png(**texts: str) -> bytes:
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    for key, text in texts.items():
        info.add_text(key, text, zip=len(text) > 100)
    noise(0).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def behind_pixels(key: str, text: str, **texts: str) -> bytes:
    """A PNG with a text chunk after its pixels, and others before them."""
    data, body = png(**texts), b"tEXt" + f"{key}\0{text}".encode()
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return data[:-12] + chunk + data[-12:]


def webp(**texts: str) -> bytes:
    """A WebP with EXIF texts."""
    exif, file = Image.Exif(), io.BytesIO()
    tags = {"description": 0x010E, "make": 0x010F, "model": 0x0110}
    exif.update({tags[name]: text for name, text in texts.items()})
    noise(0).save(file, "WEBP", exif=exif)
    return file.getvalue()


def action(kind: str, key: str) -> bytes:
    """A map of CBOR with a source type, and the next key right behind it."""
    address = f"{TYPES}{kind}".encode()
    typed = b"\xa2\x71digitalSourceType\x78" + bytes([len(address)]) + address
    return STORE + typed + bytes([0x60 + len(key)]) + key.encode() + b"\x61x"


def jpeg(*, make: str = "", model: str = "", software: str = "", comment: bytes = b"", segment: bytes = b"") -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif.update({tag: value for tag, value in {0x010F: make, 0x0110: model, 0x0131: software}.items() if value})
    if comment:
        exif.get_ifd(0x8769)[0x9286] = comment
    noise(0).save(file, "JPEG", exif=exif)
    data = file.getvalue()
    length = (len(segment) + 2).to_bytes(2, "big")
    return data[:2] + b"\xff\xeb" + length + segment + data[2:] if segment else data


@pytest.mark.parametrize(
    "data, facts",
    [
        (png(), ""),
        (jpeg(), ""),
        (png(parameters="a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7"), "generator Automatic1111"),
        (png(prompt='{"3": {"class_type": "KSampler"}}', workflow='{"nodes": []}' * 20), "generator ComfyUI"),
        (png(Software="NovelAI", Comment='{"sampler": "k"}'), "generator NovelAI"),
        (png(Comment='{"sampler": "k"}'), "generator a sampler"),
        (png(Description="a cat Job ID: 1-2"), "generator Midjourney"),
        (webp(description="a cat Job ID: 1-2"), "generator Midjourney"),
        (behind_pixels("parameters", "a cat\nSteps: 20"), "generator Automatic1111"),
        (webp(model='prompt:{"3": {"class_type": "K"}}', make='workflow:{"nodes": []}'), "generator ComfyUI"),
        (webp(description='Workflow:{"nodes": []}', make="Canon"), "generator ComfyUI; camera Canon"),
        (png(parameters='{"sui_image_params": {"prompt": "a cat"}}'), "generator SwarmUI"),
        (jpeg(comment=b'ASCII\0\0\0{"3": {"class_type": "KSampler"}}'), "generator ComfyUI"),
        (png(Comment="a comment", Software="GIMP"), ""),
        (jpeg(make="Canon", model="Canon EOS 5D"), "camera Canon EOS 5D"),
        (jpeg(software="Adobe Firefly 3"), "generator Adobe Firefly 3"),
        (jpeg(comment=b"ASCII\0\0\0a cat Steps: 20"), "generator Automatic1111"),
        (jpeg(comment=b"UNICODE\0" + "Steps: 20".encode("utf-16-be")), "generator Automatic1111"),
        (jpeg(segment=STORE), "C2PA manifest"),
        (jpeg(segment=STORE + CLAIM), "C2PA manifest by An Editor/1.0 c2pa-rs/0.31.3, A Generator"),
        (jpeg(segment=f"{TYPES}trainedAlgorithmicMedia".encode()), "source type trainedAlgorithmicMedia"),
        (png(**{"XML:com.adobe.xmp": f"{TYPES}digitalCapture" + " " * 200}), "source type digitalCapture"),
    ],
)
def test_a_file_declares_what_stands_in_it(data: bytes, facts: str) -> None:
    assert declared(data) == facts


def test_what_a_file_calls_itself_is_one_short_line_without_signs_that_a_terminal_obeys() -> None:
    said = declared(jpeg(make="A\x1b[31m\nB;" + "x" * 500, model="\u202emodel"))
    assert said.startswith(r"camera A\x1b[31m B,x") and len(said) < 200
    assert said.isprintable() and said.isascii() and "; " not in said


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    for whole in (data, jpeg(segment=STORE + b"\x6fclaim_generator" + data), STORE + b"\x6fclaim_generator\x79" + data):
        assert declared(whole).isprintable()


def test_a_file_that_is_gone_declares_nothing(tmp_path: Path) -> None:
    assert read_declared(ImageFile(tmp_path / "gone.png")) == ""


@pytest.mark.parametrize("key", ["description", "parameters", "when", "softwareAgent", "a" * 23])
@pytest.mark.parametrize("kind", ["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "digitalCapture"])
def test_a_source_type_ends_where_the_next_key_of_its_manifest_begins(kind: str, key: str) -> None:
    said = declared(jpeg(segment=action(kind, key)))
    assert said == f"C2PA manifest; source type {kind}"
    assert bool(contradiction("real", said)) is (kind != "digitalCapture")


def test_a_type_that_begins_as_a_shorter_one_is_read_whole() -> None:
    assert declared(jpeg(segment=action("compositeSynthetic", "when"))).endswith("source type compositeSynthetic")
    assert declared(jpeg(segment=action("composite", "when"))).endswith("source type composite")


def test_damaged_pixels_do_not_hide_what_stands_before_them() -> None:
    data = bytearray(behind_pixels("a", "b", parameters="Steps: 20"))
    data[data.find(b"IDAT") + 20] ^= 255
    assert declared(bytes(data)) == "generator Automatic1111"


@pytest.mark.parametrize(
    "nature, declares, against",
    [
        ("real", "camera A B", ""),
        ("dm_generated", "camera A B", "camera A B"),
        ("real", "C2PA manifest; generator ComfyUI", "generator ComfyUI"),
        ("gan_generated", "generator ComfyUI", ""),
        (
            "real",
            "source type compositeWithTrainedAlgorithmicMedia",
            "source type compositeWithTrainedAlgorithmicMedia",
        ),
        ("dm_generated", "source type digitalCapture", "source type digitalCapture"),
        ("real", "source type digitalCapture", ""),
        ("real", "C2PA manifest by A Generator", ""),
        ("real", "", ""),
    ],
)
def test_a_declaration_contradicts_a_label_or_not(nature: str, declares: str, against: str) -> None:
    assert contradiction(nature, declares) == against


def test_the_audit_finds_what_contradicts_its_label(tmp_path: Path) -> None:
    table = rows(3).assign(path=["a.png", "b.jpg", "c.png"], container="", row=-1).drop(columns="sha256")
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b.jpg").write_bytes(jpeg(make="Canon"))
    (tmp_path / "c.png").write_bytes(png(parameters="Steps: 20"))
    table["nature"] = ["real", "real", "real"]
    found = declarations(table, tmp_path, workers=1)
    assert list(found["path"]) == ["c.png", "b.jpg"] and list(found["contradiction"]) == ["generator Automatic1111", ""]
    assert declared_finding(found, images=3) == (
        "2 of 3 images declare something of themselves; 1 contradict their label, first c.png, labelled real: "
        "generator Automatic1111."
    )
    assert declared_finding(found.iloc[1:], images=3).endswith("; 0 contradict their label.")
