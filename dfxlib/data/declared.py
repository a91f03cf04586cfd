"""What a file declares about itself: provenance, source type, generator, camera. Facts without proof, read not trusted.

Sources: C2PA specification 2.1 (where manifests lie in each format), IPTC NewsCodes digitalsourcetype, the PNG texts
and EXIF comments that image generators write. Whoever makes a file can write or remove any of it.
"""

import io
import re
from contextlib import suppress

from PIL import Image

from dfxlib.data.decode import ImageFile, read_bytes
from dfxlib.data.limits import own_limits
from dfxlib.data.wholeness import FORMATS
from dfxlib.system.shown import shown

#: How each fact begins in the column `declares`, and what contradicts which label is told by.
MANIFEST, SOURCE, GENERATOR, CAMERA = "C2PA manifest", "source type", "generator", "camera"

#: IPTC's source types of what no camera took; one of them on a picture labelled real is a contradiction.
_MADE: tuple[str, ...] = ("trainedalgorithmicmedia", "compositewithtrainedalgorithmicmedia", "algorithmicmedia")
_MADE += ("digitalart", "digitalcreation", "compositesynthetic", "virtualrecording")

#: Source types of what a camera or a scanner took.
_TAKEN = ("digitalcapture", "computationalcapture", "negativefilm", "positivefilm", "print")

#: The others, which contradict no label: edited, put together, drawn from data, or of the screen.
_NEITHER: tuple[str, ...] = ("minorhumanedits", "humanedits", "algorithmicallyenhanced", "composite")
_NEITHER += ("compositecapture", "softwareimage", "datadrivenmedia", "screencapture")

_LONGEST = 80  # signs of what a file calls its software or camera

_SCANNED = 2**22  # bytes of metadata that are searched, from the start of a file

# The first: ImageDescription, Make and Model, into which ComfyUI puts its graphs (`prompt:{...}` as a camera's model).
_EXIF_TEXTS, _EXIF_SOFTWARE, _EXIF_IFD, _EXIF_COMMENT = (0x010E, 0x010F, 0x0110), 0x0131, 0x8769, 0x9286

#: Known types only, longest first: in CBOR the next key follows at once, and its length may itself be a letter.
_KINDS = sorted((*_MADE, *_TAKEN, *_NEITHER), key=len, reverse=True)
_SOURCE_TYPE = re.compile(rf"(?i)cv\.iptc\.org/newscodes/digitalsourcetype/({'|'.join(_KINDS)})".encode())

#: The box of a manifest: JUMBF of the type c2pa, or the UUID box of ISO files (AVIF, HEIC).
_JUMBF, _UUID = rb"jumdc2pa\x00\x11\x00\x10", rb"\xd8\xfe\xc3\xd6\x1b\x0e\x48\x3c\x92\x97\x58\x28\x87\x7e\xc4\x81"

_C2PA = re.compile(_JUMBF + rb"|" + _UUID)

#: In CBOR: the key claim_generator with a text, or the key name of claim_generator_info.
_SOFTWARE = re.compile(rb"(?s)\x6fclaim_generator(?=[`-y])|\x74claim_generator_info.{0,4}?\x64name(?=[`-y])")

# Key of a text, what it must hold, and who writes it so.
_KNOWN = [(key, "Steps: ", "Automatic1111") for key in ("parameters", "UserComment")]
_KNOWN += [(key, '"nodes"', "ComfyUI") for key in ("workflow", "EXIF")]
_KNOWN += [(key, '"class_type"', "ComfyUI") for key in ("prompt", "EXIF", "UserComment")]
_KNOWN += [(key, "", "InvokeAI") for key in ("invokeai_metadata", "sd-metadata", "Dream")]
_KNOWN += [("fooocus_scheme", "", "Fooocus"), ("parameters", "sui_image_params", "SwarmUI")]
_KNOWN += [(key, "Job ID: ", "Midjourney") for key in ("Description", "EXIF")] + [("Comment", '"sampler"', "a sampler")]

_PROGRAMS = ("midjourney", "dall-e", "stable diffusion", "firefly", "novelai", "comfyui", "invokeai")


def read_declared(file: ImageFile) -> str:
    """`declared` of a file; empty too where it cannot be read, which decoding tells."""
    with suppress(OSError, ValueError):
        return declared(read_bytes(file))
    return ""


def declared(data: bytes) -> str:
    """What the bytes of an image declare, as `; `-separated facts in one printable line; empty: nothing.

    `C2PA manifest by NAME`, `source type NAME`, `generator NAME`, `camera MAKE MODEL`. What a file calls itself is cut
    and has no sign that a terminal would obey. Nothing that stands there makes it raise.
    """
    texts, (make, model) = _texts(data)
    facts = []
    if _C2PA.search(data):
        names = [_cbor_text(data, found.end()) for found in _SOFTWARE.finditer(data)]
        by = ", ".join(dict.fromkeys(name for name in names if name))
        facts.append(f"{MANIFEST} by {by}" if by else MANIFEST)
    described = b"\n".join([data[:_SCANNED], *(text.encode(errors="replace") for text in texts.values())])
    facts += [f"{SOURCE} {name.decode()}" for name in dict.fromkeys(_SOURCE_TYPE.findall(described))]
    makers = [maker for key, sign, maker in _KNOWN if key in texts and sign in texts[key]]
    software = texts.get("Software", "")
    makers += [_cut(software) for program in _PROGRAMS if program in software.lower()]
    makers = [maker for maker in makers if maker != "a sampler"] or makers  # told where nothing says which
    facts += [f"{GENERATOR} {maker}" for maker in dict.fromkeys(makers)]
    if make or model:
        facts.append(f"{CAMERA} {model if model.startswith(make) else f'{make} {model}'.strip()}")
    return "; ".join(fact.replace(";", ",") for fact in facts)


def contradiction(nature: str, declares: str) -> str:  # empty: none
    """Which fact of `declares` contradicts the label of an image, if any does."""
    for fact in declares.split("; ") if declares else []:
        kind = fact.removeprefix(SOURCE).strip().lower() if fact.startswith(SOURCE) else ""
        generated = fact.startswith(GENERATOR) or kind in _MADE
        taken = fact.startswith(CAMERA) or kind in _TAKEN
        if generated if nature == "real" else taken:
            return fact
    return ""


def _texts(data: bytes) -> tuple[dict[str, str], tuple[str, str]]:  # texts by key; make and model of a camera
    try:
        with own_limits(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if re.search(rb"[tiz][ET]Xt", data[data.rfind(b"IDAT") :]):  # a PNG's text behind its pixels
                with suppress(Exception):  # damaged pixels do not hide what stands before them
                    image.load()
            info = {str(key): value for key, value in image.info.items() if isinstance(value, str)}
            if isinstance(image.info.get("xmp"), bytes):
                info["xmp"] = image.info["xmp"][:_SCANNED].decode(errors="replace")
            exif = image.getexif()
            info.setdefault("Software", str(exif.get(_EXIF_SOFTWARE, "")))
            info["UserComment"] = _comment(exif.get_ifd(_EXIF_IFD).get(_EXIF_COMMENT, b""))
            texts = [str(exif.get(tag, "")) for tag in _EXIF_TEXTS]
            _, make, model = ("" if ":{" in text else _cut(text) for text in texts)
            return info | {"EXIF": "\n".join(texts)}, (make, model)
    except Exception:  # whatever a damaged file makes a reader raise; decoding has its own word on it
        return {}, ("", "")


def _comment(value: object) -> str:
    """EXIF's UserComment: eight bytes name its alphabet."""
    if not isinstance(value, bytes):
        return str(value)
    if not value.startswith(b"UNICODE"):
        return value[8:].decode("utf-8", "replace")
    either = [value[8:].decode(alphabet, "replace") for alphabet in ("utf-16-be", "utf-16-le")]
    return max(either, key=lambda text: sum(sign.isascii() for sign in text))


def _cbor_text(data: bytes, place: int) -> str:
    """A text string of CBOR (RFC 8949, section 3) of less than 2^16 bytes."""
    extra = {0x78: 1, 0x79: 2}.get(data[place], 0)
    size = int.from_bytes(data[place + 1 : place + 1 + extra], "big") if extra else data[place] - 0x60
    return _cut(data[place + 1 + extra : place + 1 + extra + size].decode("utf-8", "replace"))


def _cut(text: object) -> str:
    said = shown(" ".join(str(text).replace("\0", " ").split()))
    return said if len(said) <= _LONGEST else said[: _LONGEST - 3] + "..."
