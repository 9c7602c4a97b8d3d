"""Map GeoTIFFs on one grid: ``python map_tile.py OUT.tif RASTER...``, in mapper.json's order."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import rasterio
import rasterio.errors
from numpy.typing import NDArray
from rasterio.windows import Window

SIDE = 256  # pixels of a window, which is read with a halo that is thrown away
ENDS = ("", ".aux.xml")  # the map, and what GDAL may write beside it
HERE = Path(__file__).parent


def main(out: Path, paths: list[Path]) -> None:
    """Write the class of every pixel; the file takes its name once it is whole."""
    about = json.loads((HERE / "mapper.json").read_text(encoding="utf-8"))
    modalities = about["modalities"]
    if len(paths) != len(modalities):
        sys.exit(f"{len(modalities)} rasters are needed, in the order of mapper.json.")
    if out.resolve() in [path.resolve() for path in paths]:
        sys.exit(f"{out} is one of the rasters that are read: name another file for the map.")
    session = onnxruntime.InferenceSession(HERE / "mapper.onnx")
    codes = np.array([entry["code"] for entry in about["classes"]], dtype=np.uint16)
    try:
        sources = [rasterio.open(path) for path in paths]
    except rasterio.errors.RasterioIOError as error:
        sys.exit(f"{error}; name the rasters in the order of mapper.json.")
    check_grids(sources)
    halo = about["halo"]
    like = sources[0]
    half = out.with_name(f".{out.stem}.half{out.suffix}")
    try:
        with open_map(half, like) as target:
            for row in range(0, like.height, SIDE):
                for col in range(0, like.width, SIDE):
                    span = SIDE + 2 * halo
                    window = Window(col - halo, row - halo, span, span).crop(*like.shape)
                    values = [read(*pair, window) for pair in zip(sources, modalities, strict=True)]
                    inputs = {"values": np.concatenate(values)}
                    (scores,) = session.run(["log_probabilities"], inputs)
                    scores = scores[:, row - window.row_off :, col - window.col_off :]
                    scores = scores[:, :SIDE, :SIDE]
                    classes = np.where(np.isnan(scores[0]), 0, codes[scores.argmax(axis=0)])
                    height, width = classes.shape
                    target.write(classes, 1, window=Window(col, row, width, height))
        for end in ENDS:
            if Path(f"{half}{end}").exists():
                os.replace(f"{half}{end}", f"{out}{end}")
    finally:
        for end in ENDS:
            Path(f"{half}{end}").unlink(missing_ok=True)


def check_grids(sources: list[rasterio.DatasetReader]) -> None:
    """Refuse rasters of which one lies on another grid than the first."""
    like = sources[0]
    tolerance = abs(like.transform.a) / 1000
    for source in sources:
        near = source.transform.almost_equals(like.transform, tolerance)
        if not near or (source.shape, source.crs) != (like.shape, like.crs):
            sys.exit(f"{source.name} lies on another grid than {like.name}: resample it first.")


def open_map(path: Path, like: rasterio.DatasetReader) -> rasterio.io.DatasetWriter:
    """Open a raster of class codes on the grid of another, 0 where there is no data."""
    return rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=1,
        dtype="uint16",
        nodata=0,
        compress="deflate",
        height=like.height,
        width=like.width,
        crs=like.crs,
        transform=like.transform,
    )


def read(
    source: rasterio.DatasetReader, modality: dict[str, Any], window: Window
) -> NDArray[np.float32]:
    """Return the bands (C, H, W) of a modality, NaN where they are not valid."""
    bands = modality["read"]
    raw = source.read(bands, window=window, masked=modality["masked"])
    valid = np.ma.masked_where(np.ma.getdata(raw) == modality["nodata"], raw)
    index = np.subtract(bands, 1)
    scale = np.array(source.scales)[index]
    offset = np.array(source.offsets)[index]
    values = valid.T * scale + offset
    found: NDArray[np.float32] = values.filled(np.nan).T.astype(np.float32)
    return found


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
