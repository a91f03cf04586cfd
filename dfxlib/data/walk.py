"""What lies under a folder: files, and what is none of a data set. Detection starts with it, so it imports little."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from dfxlib.system.live import say

#: Suffixes of the formats that are opened, in lower case, by Pillow's names.
SUFFIXES = {"BMP": ".bmp .dib", "GIF": ".gif", "JPEG": ".jpg .jpeg .jpe .jif .jfi .jfif .pjp .pjpeg .mpo"}
SUFFIXES |= {"PNG": ".png .apng", "JPEG2000": ".jp2 .j2k .jpc .jpf .jpx .j2c", "QOI": ".qoi"}
SUFFIXES |= {"PPM": ".ppm .pgm .pbm .pnm", "TIFF": ".tif .tiff", "WEBP": ".webp", "XBM": ".xbm"}
SUFFIXES |= {"AVIF": ".avif .avifs", "HEIF": ".heic .heics .hif .heif .heifs"}

OPENED = sorted(" ".join(SUFFIXES.values()).split())

#: Of camera raw files, which are not opened whatever they hold.
CAMERA_RAW = {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".kdc", ".mef"}
CAMERA_RAW |= {".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}

#: All of pictures, opened or not. Other files become rows with a problem.
IMAGE_SUFFIXES = {*OPENED, *CAMERA_RAW, ".jxl", ".jxr", ".psd", ".tga", ".exr", ".hdr", ".dds", ".svg", ".eps", ".ico"}

#: The problem of a folder without a file.
EMPTY = "folder holds no image"

#: What systems and storage servers leave in folders, in lower case: thumbnails, waste, indexes. Whatever begins with a
#: dot is passed over as well.
CLUTTER = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "lost+found"}
CLUTTER |= {"system volume information", "@eadir", "@tmp", "#recycle", "@recycle", "#snapshot", "@recently-snapshot"}
CLUTTER |= {"@synoresource", "picasa.ini", "~snapshot", "recycler", "network trash folder", "temporary items"}
CLUTTER |= {"found.000", "_gsdata_", "@__thumb", "@sharebin", "_vti_cnf", "lost.dir", "dfsrprivate", "#synorecycle"}

#: How the names begin or end of what Synology's servers and Windows keep for single files, in lower case.
_BEGINS, _ENDS = ("synophoto_thumb_",), ("@synoeastream", "@synoresource", ":zone.identifier", ":encryptable")

#: Bytes of a name that are no UTF-8, as Python keeps them: the file system takes them and no CSV does.
_BYTES = re.compile("[\udc80-\udcff]")


def walk(
    root: Path, skip: set[str], problems: dict[str, str], keep: Collection[str] = ()
) -> Iterator[tuple[str, list[str]]]:
    """Folders below `root` with the names of their files; hidden entries, CLUTTER and `skip` are passed over.

    What has a name in `keep` is not. The one walker of trees, tables and detection. How much clutter it met is told
    in a line when it ends.

    Links to folders are followed, since data sets are often linked from another disk, unless
    they lead back to where the walk came from. Whatever cannot be listed goes into `problems`.
    """
    clutter: list[str] = []
    pending = [("", os.path.realpath(root), ())]  # folder, its real place, places where links were followed
    while pending:
        folder, real, jumps = pending.pop()
        prefix = f"{folder}/" if folder else ""
        try:
            with os.scandir(os.path.join(root, folder)) as handle:
                found = [entry for entry in handle if entry.name not in skip]
        except OSError as error:
            problems[folder or "."] = f"folder cannot be read: {error.strerror}"
            continue
        entries = [entry for entry in found if entry.name in keep or not is_clutter(entry.name)]
        clutter += [entry.name for entry in found if entry.name not in keep and is_clutter(entry.name)]
        names = []
        for entry in entries:
            name = entry.name
            if not name.isascii() and _BYTES.search(name):
                shown = os.fsencode(prefix + name).decode(errors="backslashreplace")
                problems[shown] = "name is not valid UTF-8; rename it"
            elif entry.is_file(follow_symlinks=False) or (entry.is_symlink() and os.path.isfile(entry.path)):
                names.append(name)
            else:
                way, problem = _enter(entry, real, jumps)
                if problem:
                    problems[prefix + name] = problem
                else:
                    pending.append((prefix + name, *way))
        if not entries:
            problems[folder or "."] = EMPTY
        _note_equal_names([entry.name for entry in entries], prefix, problems)
        yield folder, names
    tell_clutter(root, clutter)


def is_image_name(name: str) -> bool:
    """Whether a file's suffix is an image's."""
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is passed over."""
    low = name.lower()
    return low[0] == "." or low in CLUTTER or low.startswith(_BEGINS) or low.endswith(_ENDS)


def tell_clutter(place: Path | str, names: list[str]) -> None:
    """Say in one line what was passed over, and how often; nothing where nothing was."""
    kinds = ("hidden" if name[0] == "." else name.lower() for name in names)
    counts = Counter(kind if kind in {*CLUTTER, "hidden"} else "of Synology or Windows" for kind in kinds)
    if names:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        say(f"{place}: passed over as clutter of systems and storage servers: {told}")


def _enter(entry: os.DirEntry, real: str, jumps: tuple[str, ...]) -> tuple[tuple, str]:
    """Where a folder really lies and where links were followed on the way; or why it is not entered."""
    if not entry.is_symlink():
        return (f"{real}/{entry.name}", jumps), "" if entry.is_dir() else "neither a file nor a folder"
    target = os.path.realpath(entry.path)
    if not os.path.isdir(target):
        return (), "neither a file nor a folder" if os.path.exists(target) else "symbolic link leads nowhere"
    way = (*jumps, real)
    back = any(f"{place}/".startswith(f"{target.rstrip('/')}/") for place in way)
    if back or len(way) > 3:  # folders that link to one another have more ways than anybody could walk
        return (), f"symbolic link {f'leads back to {os.path.relpath(target, real)}' if back else 'behind 3 others'}"
    return (target, way), ""


def _note_equal_names(names: list[str], prefix: str, problems: dict[str, str]) -> None:
    """Names that differ by case only: other file systems would keep one of them."""
    count = Counter(map(str.casefold, names))
    for name, key in zip(names, map(str.casefold, names)):
        if count[key] > 1:
            others = sorted(other for other in names if other.casefold() == key and other != name)
            problems[prefix + name] = f"name differs from {others[0]!r} by case only"
