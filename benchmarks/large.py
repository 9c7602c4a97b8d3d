"""Maps of rasters that are too large to be held: complete ones, and sparse ones."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import rasterio
import yaml
from rasterio.windows import Window

from bdgf.scene.synthetic.generate import SyntheticSpec
from benchmarks.cases import SMALL, scene_file
from benchmarks.jobs import QUICKEST, run
from benchmarks.results import Values
from benchmarks.timing import Finished, Setup, bdgf

OPTICAL = SyntheticSpec(
    height=512, width=512, bands=12, sar_bands=2, dsm=False, train_per_class=100
)
"""Twelve optical bands and two of radar, 262,144 pixels: the small scene."""
BLOCK = 256
ISLANDS = 12
"""Squares with data of the sparse raster, each of the size of the small scene, on its diagonal."""


def large(setup: Setup, work: Path) -> Values:
    """Return time and peak memory of maps of a small, a large and a large sparse scene.

    The networks are the defaults, hardly trained. What ``bdgf map`` takes before and after the
    pixels is measured on a scene of one window and taken off the seconds of the others.
    """
    base = replace(SMALL, dsm=False) if setup.small else OPTICAL
    tiny = replace(base, height=30, width=30, train_per_class=10)
    side = 160 if setup.small else 4000
    reach = 1500 if setup.small else 30_000
    small = scene_file(work, base)
    trained = work / "runs" / "large"
    run(setup, small, trained, QUICKEST)
    sparse, filled = sparse_scene(small, work / "scenes" / f"sparse-{reach}", reach)
    cases = [
        ("one window", scene_file(work, tiny), tiny.height * tiny.width),
        (f"{base.height} × {base.width}, complete", small, base.height * base.width),
        (
            f"{side} × {side}, complete",
            scene_file(work, replace(base, height=side, width=side)),
            side * side,
        ),
        (f"{reach:,} × {reach:,}, sparse", sparse, filled),
    ]
    found: list[dict[str, Any]] = []
    for name, scene, pixels in cases:
        done = _map(setup, trained, scene, work / "runs" / "mapped")
        seconds = setup.seconds(done)
        start = found[0]["seconds"] if found else 0.0
        found.append(
            {
                "name": name,
                "pixels": pixels,
                "peak": done.peak,
                "seconds": seconds,
                "us": 1e6 * (seconds - start) / pixels,
            }
        )
    shutil.rmtree(trained, ignore_errors=True)
    return {"maps": found}


def _map(setup: Setup, trained: Path, scene: Path, target: Path) -> Finished:
    shutil.rmtree(target, ignore_errors=True)
    words: list[object] = ["map", trained, "--scene", scene, "--to", target]
    words += ["--compute.threads", setup.threads, "--compute.accelerator", setup.device]
    done = bdgf(words, setup.threads)
    shutil.rmtree(target)
    return done


def sparse_scene(scene: Path, folder: Path, side: int) -> tuple[Path, int]:
    """Write a scene without labels, of rasters of which a few squares alone are stored.

    Args:
        scene: Scene file whose rasters fill the squares.
        folder: Where it is written.
        side: Rows and columns.

    Returns:
        The scene file, and how many pixels have data.
    """
    described = yaml.safe_load(scene.read_text(encoding="utf-8"))
    modalities = described["modalities"]
    folder.mkdir(parents=True, exist_ok=True)
    pixels = 0
    for modality in modalities.values():
        with rasterio.open(scene.parent / modality["path"]) as source:
            values = source.read()
            height, width = source.shape
            islands = min(ISLANDS, side // max(height, width))
            profile = {
                **source.profile,
                "width": side,
                "height": side,
                "tiled": True,
                "blockxsize": BLOCK,
                "blockysize": BLOCK,
                "compress": "deflate",
                "sparse_ok": True,
                "bigtiff": "yes",
                "nodata": 0,
            }
        with rasterio.open(folder / modality["path"], "w", **profile) as target:
            for number in range(islands):
                corner = number * side // islands // BLOCK * BLOCK
                corner = min(corner, side - max(height, width))
                target.write(values, window=Window(corner, corner, width, height))
        pixels = islands * height * width
    path = folder / "scene.yaml"
    path.write_text(
        yaml.safe_dump({"name": "sparse", "modalities": modalities}, sort_keys=False),
        encoding="utf-8",
    )
    return path, pixels
