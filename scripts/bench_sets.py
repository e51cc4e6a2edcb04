"""The pictures that `bench nano` measures on.

A folder in mvtec layout, or the solar cells of the package `elpv-dataset`, comes in; a category
folder in mvtec layout, with a list of what is in it, comes out. Nothing is scored here.
"""

import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from measure import find_mask

GOOD = "good"
ELPV_FOLDER = "solar_cell"


@dataclass(frozen=True)
class Picture:
    """A picture of a category folder; `id` is its path in there, as the program writes it."""

    id: str
    kind: str
    mask: Path | None

    @property
    def is_anomalous(self) -> bool:
        return self.kind != GOOD


@dataclass(frozen=True)
class ExamSet:
    """A category folder and its pictures. Parts are indices of pictures that make one figure."""

    folder: Path
    pictures: list[Picture]
    # The first has all pictures: that is the set's figure.
    parts: dict[str, list[int]]
    # Pictures of one kind of defect, and the normal ones that they are held against.
    kinds: dict[str, list[int]]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def has_masks(self) -> bool:
        return any(picture.mask for picture in self.pictures)

    def truth(self) -> np.ndarray:
        return np.array([picture.is_anomalous for picture in self.pictures])


def mvtec_sets(root: Path, limit: int | None, work: Path) -> list[ExamSet]:
    """The categories of `root`, which may be one itself. With a limit, `limit` pictures of each
    kind are copied below `work` and the rest is left out."""
    root = root.resolve()
    folders = [root] if (root / "test").is_dir() else sorted(root.iterdir())
    folders = [folder for folder in folders if (folder / "test" / GOOD).is_dir()]
    if not folders:
        raise SystemExit(f"{root}: no <category>/test/{GOOD}: give a folder in mvtec layout")
    if any(folder.name == ELPV_FOLDER for folder in folders):
        raise SystemExit(f"{root}: {ELPV_FOLDER} is the name of elpv's pictures: rename the folder")
    return [mvtec_set(folder, limit, work) for folder in folders]


def mvtec_set(folder: Path, limit: int | None, work: Path) -> ExamSet:
    found = list_pictures(folder)
    if limit is not None:
        few = work / folder.name
        for kind in sorted({picture.kind for picture in found}):
            for picture in spread([p for p in found if p.kind == kind], limit):
                copy(folder / picture.id, few / picture.id)
                if picture.mask:
                    copy(picture.mask, few / picture.mask.relative_to(folder))
        folder, found = few, list_pictures(few)
    kinds = sorted({picture.kind for picture in found} - {GOOD})
    if not kinds:
        raise SystemExit(f"{folder}/test: only {GOOD} pictures: nothing to tell apart")
    return ExamSet(
        folder,
        found,
        parts={"all": list(range(len(found)))},
        kinds={k: [i for i, p in enumerate(found) if p.kind in (GOOD, k)] for k in kinds},
    )


def list_pictures(folder: Path) -> list[Picture]:
    """All pictures of a category. Masks must be there for all anomalous ones, or for none."""
    found = []
    for file in sorted(path for path in (folder / "test").glob("*/*") if path.is_file()):
        kind = file.parent.name
        mask = None if kind == GOOD else find_mask(folder, kind, file.stem)
        found.append(Picture(file.relative_to(folder).as_posix(), kind, mask))
    without = [p.id for p in found if p.is_anomalous and not p.mask]
    if without and any(p.mask for p in found):
        raise SystemExit(f"{folder}: {len(without)} pictures without a mask, such as {without[0]}")
    return found


@dataclass(frozen=True)
class Cell:
    """A solar cell of elpv: its picture, how sure experts were of a defect, its module's type."""

    file: Path
    probability: float
    module: str

    @property
    def kind(self) -> str:
        """2/3 and 1 are defective, 0 and 1/3 are not."""
        return self.module if self.probability >= 0.5 else GOOD


def elpv_cells() -> list[Cell]:
    data = Path(str(files("elpv_dataset"))) / "data"
    lines = (data / "labels.csv").read_text().splitlines()
    rows = [line.split() for line in lines if line.strip()]
    return [Cell(data / path, float(probability), module) for path, probability, module in rows]


def elpv_set(limit: int | None, work: Path) -> ExamSet:
    """The solar cells, copied below `work`; kinds are the two types of modules, each with its own
    normal cells. `certain` leaves out the cells that experts were not sure of."""
    cells = elpv_cells()
    if limit is not None:
        alike = {(cell.probability, cell.module) for cell in cells}
        groups = [[c for c in cells if (c.probability, c.module) == key] for key in sorted(alike)]
        cells = [cell for group in groups for cell in spread(group, limit)]
    folder = work / ELPV_FOLDER
    for cell in cells:
        copy(cell.file, folder / "test" / cell.kind / cell.file.name)
    modules = sorted({cell.module for cell in cells})
    return ExamSet(
        folder,
        [Picture(f"test/{cell.kind}/{cell.file.name}", cell.kind, None) for cell in cells],
        parts={
            "all": list(range(len(cells))),
            "certain": [i for i, cell in enumerate(cells) if cell.probability in (0.0, 1.0)],
        },
        kinds={m: [i for i, cell in enumerate(cells) if cell.module == m] for m in modules},
    )


def write_large_pictures(folder: Path, n: int, side: int) -> None:
    """`n` colour PNGs of `side` × `side` for timing: solar cells, enlarged."""
    folder.mkdir(parents=True)
    for i, cell in enumerate(spread(elpv_cells(), n)):
        with Image.open(cell.file) as picture:
            large = picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        large.save(folder / f"{i:04}.png")


def spread(items: list, n: int) -> list:
    """At most `n` of the items, at equal distances."""
    if len(items) <= n:
        return items
    return [items[i * len(items) // n] for i in range(n)]


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
