"""Map a GeoTIFF with an exported mapper; needs onnxruntime, numpy and rasterio only.

    python map_tile.py OUT.tif RASTER...

One raster per modality, in the order of mapper.json, all on one grid. Large ones are read and
mapped in windows that overlap by the halo.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import rasterio
from rasterio.windows import Window

SIDE = 512  # a multiple of the stride


def read(source: Any, modality: dict[str, Any], window: Window) -> tuple[Any, Any]:  # noqa: ANN401
    """Return float32 values (bands, h, w) and whether all used bands are valid, (h, w)."""
    raw = source.read(modality["read"], window=window, masked=True)
    bands = np.array(modality["read"]) - 1
    scale, offset = (np.array(v)[bands, None, None] for v in (source.scales, source.offsets))
    values = (raw.data * scale + offset).astype(np.float32)
    valid = ~np.ma.getmaskarray(raw) & np.isfinite(values) & (raw.data != modality["nodata"])
    used = np.array(modality["used_bands"]) - 1
    return np.where(valid, values, np.float32(0)), valid[used].all(axis=0)


def main(out: str, *rasters: str) -> None:
    """Write the map of a tile."""
    folder = Path(__file__).resolve().parent
    about = json.loads((folder / "mapper.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(folder / "mapper.onnx")
    codes = np.array([c["code"] for c in about["classes"]])
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(rasterio.open(raster)) for raster in rasters]
        first, halo = sources[0], about["halo"]
        profile = {"driver": "GTiff", "count": 1, "nodata": 0, "compress": "deflate"}
        profile |= {key: first.profile[key] for key in ("height", "width", "crs", "transform")}
        dtype = "uint8" if codes.max() < 256 else "uint16"
        target = stack.enter_context(rasterio.open(out, "w", dtype=dtype, **profile))
        for row in range(0, first.height, SIDE):
            for col in range(0, first.width, SIDE):
                top, left = max(0, row - halo), max(0, col - halo)
                height = min(first.height, row + SIDE + halo) - top
                width = min(first.width, col + SIDE + halo) - left
                window = Window(left, top, width, height)
                pairs = zip(sources, about["modalities"], strict=True)
                values, valid = zip(*(read(*pair, window) for pair in pairs), strict=True)
                inputs = {"values": np.concatenate(values), "valid": np.stack(valid)}
                found = session.run(None, inputs)[0][:, row - top :, col - left :][:, :SIDE, :SIDE]
                classes = np.where(np.isnan(found[0]), 0, codes[found.argmax(axis=0)])
                place = Window(col, row, classes.shape[1], classes.shape[0])
                target.write(classes.astype(dtype), 1, window=place)


if __name__ == "__main__":
    main(*sys.argv[1:])
