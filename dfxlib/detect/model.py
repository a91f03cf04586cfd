"""A trained model in Python: open a folder, ask it about pictures."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from dfxlib.data.decode import PIXEL_LIMIT, ImageFile
from dfxlib.detect.engines import Judge, open_judge
from dfxlib.detect.find import find_images
from dfxlib.detect.verdicts import COLUMNS, detect, problem_rows

if TYPE_CHECKING:  # a row needs no table, and pandas takes a second to import
    import pandas as pd

#: A picture, by its path or in memory; or, by its path, a folder, a pattern or a CSV with a column `path`.
Source = str | os.PathLike | Image.Image


class Model:
    """What `dfxlib.load` gives: its settings, its calibration, and verdicts for pictures."""

    def __init__(self, judge: Judge):
        self.judge = judge
        self.settings, self.calibration, self.engine = judge.settings, judge.calibration, judge.engine

    def detect(
        self,
        what: Source | Iterable[Source],
        *,
        delivery: bool = True,  # also under JPEG 75 and at half size: three times the work
        always: bool = False,  # the bare verdict, also of a picture that is unlike the training data
        batch_size: int = 32,  # images
        workers: int = 1,  # processes that decode; more than one only below `if __name__ == "__main__":`
        pixel_limit: int = PIXEL_LIMIT,  # pixels
    ) -> "dict | pd.DataFrame":
        """One picture: its row as a dict. A list, a folder, a pattern or a CSV: a table of them.

        The columns are those of `dfxlib.detect.verdicts.COLUMNS`, and docs/detection.md says what they hold. A picture
        that cannot be read is a row with its `problem`. Raises FileNotFoundError and ValueError for a path that names
        nothing, and TypeError for what is neither a path nor a Pillow image.
        """
        how = {"delivery": delivery, "always": always, "batch_size": batch_size, "workers": workers}
        single = isinstance(what, Image.Image) or (isinstance(what, str | os.PathLike) and _is_picture(what))
        several = list(what) if isinstance(what, Iterable) and not isinstance(what, Source | bytes) else [what]
        rows = [{name: row[name] for name in COLUMNS} for row in self._rows(several, **how, pixel_limit=pixel_limit)]
        if single:
            return rows[0]
        import pandas as pd

        table = pd.DataFrame(rows, columns=list(COLUMNS))
        numbers = [name for name in COLUMNS if name.startswith("p_") or name in ("distance", "width", "height")]
        return table.assign(**{name: pd.to_numeric(table[name]) for name in numbers})

    def _rows(self, several: list, **options: object) -> Iterator[dict]:
        sources: list[ImageFile | Image.Image] = []
        problems: dict[str, str] = {}
        for source in several:
            if isinstance(source, Image.Image):
                sources.append(source)
                continue
            if not isinstance(source, str | os.PathLike):
                kind = type(source).__name__
                raise TypeError(f"{kind} is no picture; expected a path or a Pillow image, by Image.fromarray(array)")
            files, others = find_images([os.fspath(source)])
            sources += files
            problems |= others
        yield from detect(self.judge, sources, **options)  # type: ignore[arg-type]
        yield from problem_rows(problems)


def load(path: str | os.PathLike, *, engine: str = "auto", backbone: str = "", device: str = "auto") -> Model:
    """Open an exported folder; see `open_judge` for the engines, and for checkpoints of the reference code."""
    return Model(open_judge(Path(path), engine=engine, backbone=backbone, device=device))


def _is_picture(path: str | os.PathLike) -> bool:
    return os.path.isfile(path) and not os.fspath(path).lower().endswith(".csv")
