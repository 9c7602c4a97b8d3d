"""Map GeoTIFFs on one grid: ``python map_tile.py OUT.tif RASTER...``, in mapper.json's order."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import rasterio.windows

about = json.loads(Path(__file__).with_name("mapper.json").read_text(encoding="utf-8"))
session = onnxruntime.InferenceSession(Path(__file__).with_name("mapper.onnx"))
codes = np.array([entry["code"] for entry in about["classes"]], dtype=np.uint16)
pairs = [(rasterio.open(p), m) for p, m in zip(sys.argv[2:], about["modalities"], strict=True)]
like, halo, side = pairs[0][0], about["halo"], 256  # windows with halos, which are thrown away
for source, _ in pairs:
    near = source.transform.almost_equals(like.transform, abs(like.transform.a) / 1000)
    if not near or (source.shape, source.crs) != (like.shape, like.crs):
        sys.exit(f"{source.name} lies on another grid than {like.name}: resample it first.")
span, box = side + 2 * halo, rasterio.windows.Window
grid = {"height": like.height, "width": like.width, "crs": like.crs, "transform": like.transform}
kind = {"driver": "GTiff", "count": 1, "dtype": "uint16", "nodata": 0, "compress": "deflate"}
with rasterio.open(sys.argv[1], "w", **kind, **grid) as target:
    for row, col in np.ndindex(-(-like.height // side), -(-like.width // side)):
        wide, values = box(col * side - halo, row * side - halo, span, span).crop(*like.shape), []
        for source, spec in pairs:
            raw = source.read(bands := spec["read"], window=wide, masked=spec["masked"])
            slope, zero = np.array([source.scales, source.offsets])[:, np.subtract(bands, 1)]
            real = np.ma.masked_where(np.ma.getdata(raw) == spec["nodata"], raw).T * slope + zero
            values.append(np.float32(real.filled(np.nan).T))
        (found,) = session.run(["log_probabilities"], {"values": np.concatenate(values)})
        found = found[:, row * side - wide.row_off :, col * side - wide.col_off :][:, :side, :side]
        classes = np.where(np.isnan(found[0]), 0, codes[found.argmax(axis=0)])
        target.write(classes, 1, window=box(col * side, row * side, *classes.shape[::-1]))
