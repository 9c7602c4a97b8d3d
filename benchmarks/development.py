"""Development scenes: where defaults are decided, so that benchmark scenes need not be looked at.

    python benchmarks/development.py --work FOLDER
    python benchmarks/development.py --work FOLDER --methods "BDGF,loss per modality" --seeds 2 \
        --diffusion.steps 750 --training.fold_pixels 0

The scenes are our simulator's, each with test labels of its own. `bdgf bench` compares variants on
them, as on any scene; printed is what each variant gains over `BDGF`, by scene and in the mean. A
gain counts where most scenes have it: simulated land cover is smoother than any real one.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import fmean

import numpy as np
import rasterio

from bdgf.bench.variants import OURS
from bdgf.randomness import numpy_generator
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene

LONG_TAIL = (260, 250, 150, 120, 50, 25, 20, 10, 7)
"""Training pixels of the classes of a long tail, drawn over the classes."""

SCENES: dict[str, SyntheticSpec] = {
    "six classes": SyntheticSpec(200, 200, 100, 6, sar=False, train_per_class=60, seed=101),
    "eight classes": SyntheticSpec(220, 220, 100, 8, train_per_class=60, seed=102),
    "nine classes": SyntheticSpec(220, 220, 60, 9, train_per_class=60, seed=103),
    "tiles": SyntheticSpec(90, 90, 40, 9, train_per_class=15, tiles=8, seed=104),
    "long tail": SyntheticSpec(220, 220, 60, 9, train_per_class=650, seed=105),
    "many labels": SyntheticSpec(60, 60, 60, 9, train_per_class=700, tiles=16, seed=106),
}

_ERRORS = 2  # where the words of the comparison go: what is printed is the table

Gains = dict[str, dict[str, tuple[float, float]]]
"""Mean OA and AA in percent by method and scene."""


def main() -> int:
    """Compare variants on the development scenes and print what they gain."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes and results")
    parser.add_argument("--only", action="append", choices=SCENES, help="a scene; may be repeated")
    parser.add_argument("--methods", default="controls", help="as for bdgf bench, BDGF among them")
    parser.add_argument("--seeds", type=int, default=2)
    # What is not known here is for bdgf bench: --jobs, --preset, settings.
    values, others = parser.parse_known_args()
    scenes = [scene_file(values.work, name) for name in values.only or SCENES]
    out = values.work / "bench"
    command = [sys.executable, "-m", "bdgf", "bench", *map(str, scenes), "--out", str(out)]
    command += ["--methods", values.methods, "--seeds", str(values.seeds), *others]
    status = subprocess.run(command, stdout=_ERRORS, check=False).returncode
    if not status:
        with (out / "table.csv").open(encoding="utf-8", newline="") as file:
            print(table(means(csv.DictReader(file))))
    return status


def scene_file(work: Path, name: str) -> Path:
    """Make a development scene, unless it is there from before, and return its scene file."""
    folder = work / name.replace(" ", "_")
    path = folder / "scene.yaml"
    if not path.is_file():
        path = make_scene(folder, SCENES[name])
        if name == "long tail":
            _thin_out(folder / "train.tif", SCENES[name].seed)
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("name: synthetic", f"name: {name}", 1), encoding="utf-8")
    return path


def _thin_out(path: Path, seed: int) -> None:
    """Leave as many training pixels of each class as `LONG_TAIL` has, in a random order."""
    draws = numpy_generator(seed, "long tail")
    with rasterio.open(path, "r+") as raster:
        codes = raster.read(1)
        for code, count in zip(draws.permutation(len(LONG_TAIL)) + 1, LONG_TAIL, strict=True):
            rows, cols = np.nonzero(codes == code)
            gone = draws.permutation(len(rows))[count:]
            codes[rows[gone], cols[gone]] = 0
        raster.write(codes, 1)


def means(rows: Iterable[Mapping[str, str]]) -> Gains:
    """Return mean OA and AA over the seeds, of a comparison's table.csv."""
    found: dict[tuple[str, str], dict[str, tuple[float, float]]] = defaultdict(dict)
    for row in rows:  # one per class: a seed's accuracies stand in each
        if row["seed"]:
            accuracies = float(row["all_oa"]), float(row["all_aa"])
            found[row["method"], row["scene"]][row["seed"]] = accuracies
    gains: Gains = defaultdict(dict)
    for (method, scene), by_seed in found.items():
        oa, aa = zip(*by_seed.values(), strict=True)
        gains[method][scene] = fmean(oa), fmean(aa)
    return gains


def table(found: Gains) -> str:
    """Return OA / AA of `BDGF` by scene, and below it what the others gain over it."""
    ours = found[OURS]
    lines = ["| " + " | ".join(["", *ours, "mean"]) + " |", "|---|" + "---|" * (len(ours) + 1)]

    def line(method: str, form: str, less: Callable[[str], tuple[float, float]]) -> None:
        pairs = [(found[method][s][0] - less(s)[0], found[method][s][1] - less(s)[1]) for s in ours]
        pairs.append((fmean(oa for oa, _ in pairs), fmean(aa for _, aa in pairs)))
        cells = [f"{oa:{form}} / {aa:{form}}" for oa, aa in pairs]
        lines.append("| " + " | ".join([method, *cells]) + " |")

    line(OURS, ".2f", lambda _: (0.0, 0.0))
    for method in found:
        if method != OURS:
            line(method, "+.2f", ours.__getitem__)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
