"""Map GeoTIFFs on one grid: ``python map_tile.py OUT.tif RASTER...``, in mapper.json's order."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import rasterio
from rasterio.windows import Window


def read(source: Any, modality: dict[str, Any], window: Window) -> tuple[Any, Any]:  # noqa: ANN401
    """Return float32 values (bands, h, w) and whether all used bands are valid, (h, w)."""
    bands, used = np.array(modality["read"]) - 1, np.array(modality["used_bands"]) - 1
    raw = source.read(modality["read"], window=window, masked=True)
    scale, offset = (np.array(v)[bands, None, None] for v in (source.scales, source.offsets))
    values = np.float32(raw.data * scale + offset)
    valid = ~np.ma.getmaskarray(raw) & np.isfinite(values) & (raw.data != modality["nodata"])
    return np.where(valid, values, np.float32(0)), valid[used].all(axis=0)


folder = Path(__file__).parent
about = json.loads((folder / "mapper.json").read_text(encoding="utf-8"))
session = onnxruntime.InferenceSession(folder / "mapper.onnx")
codes = np.array([c["code"] for c in about["classes"]], dtype=np.uint16)
sources = [rasterio.open(path) for path in sys.argv[2:]]
rows, cols, like = sources[0].height, sources[0].width, sources[0].profile
profile = {key: like[key] for key in ("height", "width", "crs", "transform")}
profile |= {"count": 1, "dtype": "uint16", "nodata": 0, "compress": "deflate"}
side, halo = 512, about["halo"]  # large rasters are mapped in windows; halos are thrown away
with rasterio.open(sys.argv[1], "w", driver="GTiff", **profile) as target:
    for row, col in np.ndindex(-(-rows // side), -(-cols // side)):
        core = Window(col * side, row * side, side, side).crop(rows, cols)
        wide = Window(col * side - halo, row * side - halo, side + 2 * halo, side + 2 * halo)
        wide = wide.crop(rows, cols)
        pairs = zip(sources, about["modalities"], strict=True)
        values, valid = zip(*(read(*pair, wide) for pair in pairs), strict=True)
        inputs = {"values": np.concatenate(values), "valid": np.stack(valid)}
        (found,) = session.run(["log_probabilities"], inputs)
        top, left = core.row_off - wide.row_off, core.col_off - wide.col_off
        found = found[:, top : top + core.height, left : left + core.width]
        classes = np.where(np.isnan(found[0]), 0, codes[found.argmax(axis=0)])
        target.write(classes, 1, window=core)
