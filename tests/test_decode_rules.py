"""The rules of decoding under their number: what they give for fixed files. A rule that changes takes a new number.

The files are literal bytes, without loss or, in the JPEG, of flat 8 x 8 blocks at 4:4:4: no version of libjpeg decodes
such a block otherwise, since it has one coefficient, of which an eighth is a whole grey level, and no chroma is
interpolated. Pinned with Pillow 13.0 and libjpeg-turbo 3.2.
"""

from base64 import b64decode
from pathlib import Path

import pytest

from dfxlib.data.decode import DECODER, RULES, ImageFacts, ImageFile, inspect_file, read_image
from dfxlib.system.files import sha256_bytes

#: The number of the rules that give what is pinned below.
PINNED_RULES = 9

CHANGED = (
    "a rule of decoding or a fact changed: raise RULES in dfxlib/data/decode.py, so that what the old one left is made "
    "anew, and pin here what the new one gives (where a library changed and no rule did, pin only)"
)

FILES = {
    "grey.png": (
        "iVBORw0KGgoAAAANSUhEUgAAAAQAAAADCAAAAACRn/EaAAAAF0lEQVR4nGN88YgrkyHMg3ktw80Li8UBLd0F8AfaGYcAAAAASUVORK5CYII="
    ),
    "palette.png": (  # of four colours, one of them transparent and two half so
        "iVBORw0KGgoAAAANSUhEUgAAAAQAAAADAgMAAADJmkZVAAAADFBMVEXIYIpDyipsKyhUX3V/XoDGAAAABHRSTlMA/4AJT1RymAAA"
        "AA5JREFUeJxj+M/Aw8QIAAUqAQ8u/pzEAAAAAElFTkSuQmCC"
    ),
    "alpha.png": (
        "iVBORw0KGgoAAAANSUhEUgAAAAQAAAADCAYAAAC09K7GAAAAPklEQVR4nAEzAMz/ADXuuJYckdnM4xjnnV+3avwBT476GqUM3GIW"
        "Jv0UVkgxIAI32jXnUJ4HtzxNP+c5p+9gfecXlSr0iEcAAAAASUVORK5CYII="
    ),
    "cmyk.tif": (
        "SUkqAAgAAAAKAAABBAABAAAAAwAAAAEBBAABAAAAAgAAAAIBAwAEAAAAhgAAAAMBAwABAAAAAQAAAAYBAwABAAAABQAAABEBBAAB"
        "AAAAjgAAABUBAwABAAAABAAAABYBBAABAAAAAgAAABcBBAABAAAAGAAAABwBAwABAAAAAQAAAAAAAAAIAAgACAAIAFhgwvlBNzuk"
        "llenzJNh+IPCWcmYW0tdWA=="
    ),
    "grey16.png": (
        "iVBORw0KGgoAAAANSUhEUgAAAAQAAAADEAAAAADBDy1ZAAAAJElEQVR4nGOQLQj2upClqM3wJd7k0vmPR7yZmiRsWzTe8WsBAI8V"
        "CoWaM3GlAAAAAElFTkSuQmCC"
    ),
    "rgb16.png": (
        "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACEAIAAABChi0OAAAAMUlEQVR4nAEmANn/ALieRy3C8biOPKzf/dMm1F161AA2kdoiXijr"
        "rEY0f3XMvXqJzqOH8RRLu3DLMQAAAABJRU5ErkJggg=="
    ),
    "turned.png": (  # EXIF orientation 6
        "iVBORw0KGgoAAAANSUhEUgAAAAUAAAADCAIAAADUVFKvAAAAGmVYSWZNTQAqAAAACAABARIAAwAAAAEABgAAAAAAANZnS2kAAAA7"
        "SURBVHicATAAz/8AmqticQqXs0SAE5wQqsSfAEQYJJEmAU8lEg0VZcgv/wJWX7xvEvds0pA29Pu9M5azNxOcsotg0QAAAABJRU5E"
        "rkJggg=="
    ),
    "turned.tif": (  # the same, which Pillow turns while it decodes
        "SUkqAAgAAAALAAABBAABAAAABQAAAAEBBAABAAAAAwAAAAIBAwADAAAAkgAAAAMBAwABAAAAAQAAAAYBAwABAAAAAgAAABEBBAAB"
        "AAAAmAAAABIBAwABAAAABgAAABUBAwABAAAAAwAAABYBBAABAAAAAwAAABcBBAABAAAALQAAABwBAwABAAAAAQAAAAAAAAAIAAgA"
        "CACKSeTwqEAFn5RpJa67zK7kYfgJk15VksVBJmnUqiymOERQNg2YsdZLMyb5R9Y="
    ),
    "baseline.jpg": (  # two blocks, each of one colour; the luminance table of quality 75
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAx"
        "NDQ0Hyc5PTgyPC4zNDL/2wBDAQgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI"
        "CAgICAgICAj/wAARCAAIABADAREAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAABgf/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QA"
        "FgEBAQEAAAAAAAAAAAAAAAAABgQH/8QAFBEBAAAAAAAAAAAAAAAAAAAAAP/aAAwDAQACEQMRAD8AbLhFFhxs7//Z"
    ),
}

#: The rules that are applied, and the sha256 of the decoded pixels.
PIXELS = {
    "grey.png": ("grey", "997f595a5a07e21b08479805fcaed0bfb93ae788c2a067229990d5310104c9a2"),
    "palette.png": ("palette; alpha dropped", "85ed3b074efab059b0b229017b00954443ec92fa10cf57f4eeb02dcc2dc9bdd5"),
    "alpha.png": ("alpha dropped", "36b06a2fcfefd5eeff6bf3e2523e9506a427eec90b54616e58af74e4028cc7d6"),
    "cmyk.tif": ("cmyk", "91754ca4dbf016976657cc45b3db3a41b8fabecbef131b13b73525bec605981c"),
    "grey16.png": ("16 bit: high byte; grey", "4e587e466f2522377e31c9beb21ecff880dbb1a9027e0c285f23a2fe71136e17"),
    "rgb16.png": ("16 bit: high byte", "fa679d95f1e6757b02ab6f287c76c90b90f6e65f663b8d866a3752ef3a391192"),
    "turned.png": ("exif orientation 6", "8859f5be48d404c988864822c0ac228a2b8a8b264f100185490af8880d7755e1"),
    "turned.tif": ("exif orientation 6", "8965b0c325a9b5ae8ef84fd5d989cb2564086dbeb763abb2d1f4f3813b34e38c"),
    "baseline.jpg": ("", "374bc643f35d703cf80924f72ada19ca7f19ed2afd18b4b21526aedb2b99ac1b"),
}

FACTS = {
    "turned.png": ImageFacts(
        sha256="dd219b3ee3e69dcf2f6617f461fcc1aa08d9fcb0a436b467731c4c3a3448604f",
        pixel_sha256="71a31351cb6b6f49a0e3d585f543d436fd42dc6e65cb389e01a6ec15f98fde8b",
        phash="b6639c36e3621cc9",
        format="PNG",
        mode="RGB",
        width=5,
        height=3,
        jpeg_quality=float("nan"),
        jpeg_subsampling="",
        bytes=154,
        problem="",
        conversion="exif orientation 6",
        thumbnail=(
            "8d8d8d7d6a57443132485f758b9e9e9e8d8d8d7d6a57443132485f758b9e9e9e7777776b5e5143363645566574828282"
            "5e5e5e585049423b3b434b535b626262454545444342414040404141424242426060605a544e48413e3f414243444444"
            "91919183736251403b40454a4f545454c2c2c2ac91765a3f37404a535c646464bebebea78c71553a323e4a55606b6b6b"
            "858585766453412f2d3945515d6868684c4c4c453d352c242734404e5a6565652b2b2b2a292826252b384553606b6b6b"
            "44444443424241404653606e7b8686865c5c5c5c5c5c5b5c626f7c8995a0a0a072727272737373747a8794a1adb8b8b8"
            "72727272737373747a8794a1adb8b8b8"
        ),
    ),
    "baseline.jpg": ImageFacts(  # of flat blocks, the signs in a perceptual hash are those of rounding errors
        sha256="e049dca66c31c93b9cf491cacf031e0885078d6142168c42e0a37168115bd46f",
        pixel_sha256="d249d73a8d82dff6c3ac886f6554516922917c6e5419d03d1f05b4ae0f3e7b6e",
        format="JPEG",
        mode="RGB",
        width=16,
        height=8,
        jpeg_quality=75.0,
        jpeg_subsampling="4:4:4",
        bytes=291,
        problem="",
        conversion="",
        thumbnail=("b6" * 8 + "4d" * 8) * 16,
    ),
}


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_bytes(b64decode(text))
    return tmp_path


def test_the_number_is_that_of_the_rules_pinned_here_and_part_of_every_key() -> None:
    assert RULES == PINNED_RULES, "RULES was raised: pin here what the new rules give, and their number"
    assert DECODER.endswith(f", rules {RULES}")


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("name", FILES)
def test_decoded_pixels_are_those_of_these_rules(folder: Path, name: str) -> None:
    file = ImageFile(folder / name)
    image, applied = read_image(file), inspect_file(file)["conversion"]
    assert (applied, sha256_bytes(f"{image.size}".encode() + image.tobytes())) == PIXELS[name], CHANGED


@pytest.mark.parametrize("name", FACTS)
def test_facts_are_those_of_these_rules(folder: Path, name: str) -> None:
    facts = ImageFacts(**inspect_file(ImageFile(folder / name)))
    pinned = FACTS[name]
    if not pinned.phash:
        facts = facts._replace(phash="")
    assert repr(facts) == repr(pinned), CHANGED  # as text, in which a quality that is not known equals itself
