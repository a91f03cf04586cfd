"""A figure as a file that says whether it shows pictures of the data set, and a figure in words."""

from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from dfxlib.system.files import atomic

#: Field of a PNG that says whether it shows pictures: "yes" or "no".
_PICTURES = "Pictures"

_RESOLUTION = 120  # dots an inch


def save_files(figure: Figure, *paths: Path) -> None:
    """Write a figure in the format that each suffix names; a PNG says itself whether it shows pictures.

    It is laid out once for all its files: `savefig` would do so for each, and look each time for the box of what it
    draws, which took half the time.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine(None)
    box = figure.get_tightbbox().padded(0.1)  # inches
    says = {".png": {_PICTURES: "yes" if shows_pictures(figure) else "no"}}
    for path in paths:
        with atomic(path) as unfinished:
            figure.savefig(unfinished, bbox_inches=box, dpi=_RESOLUTION, metadata=says.get(path.suffix))


def shows_pictures(figure: Figure) -> bool:
    """Whether anything in a figure is drawn pixel by pixel: nobody must remember to say so.

    Pictures of a data set may not be ours to pass on; points, lines and cells of a table are.
    """
    return any(axes.get_images() for axes in figure.axes)


def png_shows_pictures(path: Path) -> bool:
    """What `save_files` wrote into a file; one that says nothing is taken to show pictures."""
    with Image.open(path) as image:
        return image.info.get(_PICTURES) != "no"


def describe_figure(name: str, figure: Figure) -> str:
    """A figure in words: its name, and what its titles and axes say, or else the words drawn in it."""
    said = [figure.get_suptitle()]
    for axes in figure.axes:
        said.append(_joined(": ", axes.get_title(), _joined(" against ", axes.get_ylabel(), axes.get_xlabel())))
    if not any(said):
        said += [text.get_text() for axes in figure.axes for text in axes.texts]
    once = dict.fromkeys(" ".join(text.split()) for text in said)  # line breaks become spaces
    return _joined(": ", f"Figure {name.replace('_', ' ')}", _joined("; ", *once))


def _joined(sign: str, *texts: str) -> str:
    """The texts that say something, with a sign between them."""
    return sign.join(text for text in texts if text)
