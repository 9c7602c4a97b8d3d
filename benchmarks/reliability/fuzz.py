"""Bad input by the thousand: does each case end in a result, or in one sentence and status 2?

``python -m benchmarks.reliability fuzz --cases 10000``

Every case is a good input with some damage: flipped bits, numbers that are too large, parts that
are cut, doubled or swapped, other types and names. It is carried out by the command line in a
process with 2 GB of memory beyond what it has at the start, and 10 seconds. Anything but the
exit status 0 or 2 is a failure: a traceback, a signal, a hang. ``--engine atheris`` looks for
inputs that reach new code instead, with the parsers that are written in Python.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import pkgutil
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

MEMORY = 2 << 30
SECONDS = 10.0
BATCH = 250

SHARES = {
    "scene": 0.24,
    "mat": 0.18,
    "tiff": 0.14,
    "arrays": 0.14,
    "hdf5": 0.08,
    "codes": 0.08,
    "settings": 0.06,
    "checkpoint": 0.06,
    "promise": 0.02,
}
"""Kinds of cases, and the part that each has of all."""

_NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 10**6)


class Damage:
    """Seeded damage.

    Args:
        random: Where the damage comes from.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random

    def pick(self, values: Any) -> Any:  # noqa: ANN401
        """Return one of some values."""
        return values[int(self.random.integers(len(values)))]

    def data(self, data: bytes) -> bytes:
        """Damage bytes in one to three places; the head of a file is hit more often."""
        found = bytearray(data)
        for _ in range(int(self.random.integers(1, 4))):
            if not found:
                break
            reach = len(found) if self.random.random() < 0.5 else min(len(found), 600)
            at = int(self.random.integers(reach))
            size = int(self.random.integers(1, 65))
            way = int(self.random.integers(7))
            if way == 0:
                found[at] ^= 1 << int(self.random.integers(8))
            elif way == 1:
                found[at] = int(self.random.integers(256))
            elif way == 2:
                width = self.pick((2, 4, 8))
                order = self.pick(("little", "big"))
                number = int(self.pick(_NUMBERS)) % 256**width
                found[at : at + width] = number.to_bytes(width, order)
            elif way == 3:
                del found[at:]
            elif way == 4:
                del found[at : at + size]
            elif way == 5:
                found[at:at] = found[at : at + size] * int(self.random.integers(1, 4))
            else:
                found[at : at + size] = self.random.bytes(size)
        return bytes(found)

    def value(self) -> Any:  # noqa: ANN401
        """Return some value that a YAML file may hold."""
        return self.pick(
            (
                None, True, False, 0, -1, 1, 2, 3.5, float("nan"), float("inf"), 10**12, 2**63,
                -(2**40), "", " ", "x", "../../etc/passwd", "hsi.tif", "{tile}", "*", "[", "\0",
                "\ud7ff\u202e", "20 per class", "given", "a" * 5000, [], [1], ["x", "x"], [[]],
                {}, {"a": 1}, {1: "x"}, {"random": 3}, {"blocks": {"size": 8, "guard": 0}}, [1.5],
                "hsi", "http://127.0.0.1:9/x.tif", {True: "a"}, "yes", "~", "HWC", "spectral",
            )
        )  # fmt: skip

    def tree(self, node: Any) -> Any:  # noqa: ANN401
        """Damage a YAML document: change, remove, add or rename what stands somewhere in it."""
        if isinstance(node, dict) and node and self.random.random() < 0.9:
            found = dict(node)
            key = self.pick(list(found))
            way = int(self.random.integers(8))
            if way == 0:
                del found[key]
            elif way == 1:
                found[self.pick((*"ab", 0, -1, 70000, None, "labels", "key"))] = self.value()
            elif way == 2:
                found = {
                    (self.pick(("x", 1, 2.5, None, True)) if k == key else k): v
                    for k, v in found.items()
                }
            elif way == 3:
                found[key] = self.value()
            else:
                found[key] = self.tree(found[key])
            return found
        if isinstance(node, list) and node and self.random.random() < 0.7:
            found_list = list(node)
            at = int(self.random.integers(len(found_list)))
            found_list[at] = self.tree(found_list[at])
            return found_list
        return self.value()


@dataclass
class Ground:
    """Good inputs to be damaged.

    Args:
        folder: Where they lie.
        scene: A scene file.
        tiles: A scene file of several tiles.
        run: A finished run of the scene.
        settings: Options of that run.
    """

    folder: Path
    scene: Path
    tiles: Path
    run: Path
    settings: list[str]


def prepare(folder: Path) -> Ground:
    """Write the good inputs."""
    import h5py
    import netCDF4
    import rasterio
    from scipy.io import netcdf_file, savemat

    from benchmarks.reliability.small_run import make_scenes, start, words

    scene, tiles = make_scenes(folder / "scenes")
    files = folder / "files"
    files.mkdir()
    random = np.random.default_rng(0)
    cube = random.integers(1, 3000, (37, 41, 5)).astype(np.uint16)
    codes = random.integers(0, 4, (37, 41)).astype(np.uint8)
    inner = {"Lidar": codes.astype(np.float32), "name": "area", "list": np.array([1, 2, 3])}
    savemat(files / "plain.mat", {"cube": cube, "gt": codes, "s": inner})
    savemat(files / "packed.mat", {"cube": cube, "gt": codes, "s": inner}, do_compression=True)
    savemat(files / "old.mat", {"cube": cube[..., 0], "gt": codes}, format="4")
    with h5py.File(files / "new.mat", "w", userblock_size=512) as out:
        held = out.create_dataset("cube", data=cube.transpose(2, 1, 0), chunks=(2, 16, 16))
        held.attrs["MATLAB_class"] = np.bytes_("uint16")
        group = out.create_group("s")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        group.create_dataset("z", data=codes, compression="gzip")
        cells = out.create_dataset("c", (1, 2), dtype=h5py.ref_dtype)
        cells[0, 0], cells[0, 1] = held.ref, group["z"].ref
        cells.attrs["MATLAB_class"] = np.bytes_("cell")
    shutil.copy(files / "new.mat", files / "new.h5")
    np.save(files / "cube.npy", cube)
    np.savez(files / "several.npz", cube=cube, gt=codes)
    np.savez_compressed(files / "packed.npz", cube=cube, gt=codes)
    profile = {"height": 37, "width": 41, "count": 2, "dtype": "uint16"}
    for name, options in (
        ("strips.tif", {"driver": "GTiff"}),
        ("tiled.tif", {"driver": "GTiff", "tiled": True, "blockxsize": 16, "blockysize": 16,
                       "compress": "deflate"}),
        ("plain.img", {"driver": "ENVI"}),
        ("picture.png", {"driver": "PNG"}),
    ):  # fmt: skip
        with rasterio.open(files / name, "w", **profile, **options) as raster:
            raster.write(cube.transpose(2, 0, 1)[:2])
    (files / "mosaic.vrt").write_text(_VRT)
    with netcdf_file(str(files / "classic.nc"), "w") as nc:
        for name, size in (("y", 37), ("x", 41)):
            nc.createDimension(name, size)
        nc.createVariable("height", "f4", ("y", "x"))[:] = codes
    with netCDF4.Dataset(files / "modern.nc", "w") as nc:
        nc.createDimension("y", 37)
        nc.createDimension("x", 41)
        nc.createVariable("height", "f4", ("y", "x"), zlib=True)[:] = codes
    command = words(scene, folder / "run", {"evaluation.baselines": "false"})
    child = start(command, folder / "log.txt")
    child.stages()
    if child.end():
        raise RuntimeError(child.text)
    return Ground(folder, scene, tiles, folder / "run", command[4:])


_VRT = """<VRTDataset rasterXSize="41" rasterYSize="37"><VRTRasterBand dataType="UInt16" band="1">
<SimpleSource><SourceFilename relativeToVRT="1">strips.tif</SourceFilename>
<SourceBand>1</SourceBand>
<SrcRect xOff="0" yOff="0" xSize="41" ySize="37"/><DstRect xOff="0" yOff="0" xSize="41" ySize="37"/>
</SimpleSource></VRTRasterBand></VRTDataset>"""

Action = Callable[[], list[list[str]]]
"""Writes the damaged input into the present folder and returns the command lines to try."""


class Cases:
    """The kinds of cases: each writes a damaged input into a folder and names command lines."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        files = ground.folder / "files"
        self.files = {p.name: p.read_bytes() for p in sorted(files.iterdir())}
        self.sources = files
        self.scenes = [yaml.safe_load(p.read_text()) for p in (ground.scene, ground.tiles)]

    def write(self, kind: str, damage: Damage, out: Path) -> list[list[str]]:
        """Write the case; return the command lines to carry out."""
        found: list[list[str]] = getattr(self, kind)(damage, out)
        return found

    def scene(self, damage: Damage, out: Path) -> list[list[str]]:
        """A scene file."""
        number = int(damage.random.integers(2))
        values, source = self.scenes[number], (self.ground.scene, self.ground.tiles)[number].parent
        for entry in source.iterdir():
            if entry.name != "scene.yaml":
                (out / entry.name).symlink_to(entry)
        if damage.random.random() < 0.25:
            text = damage.data(yaml.safe_dump(values).encode())
        else:
            for _ in range(int(damage.pick((1, 1, 1, 2, 3)))):
                values = damage.tree(values)
            text = yaml.safe_dump(values, allow_unicode=True).encode()
        (out / "scene.yaml").write_bytes(text)
        return [["inspect", str(out / "scene.yaml")]]

    def _file(self, damage: Damage, out: Path, names: list[str]) -> list[list[str]]:
        name = damage.pick(names)
        (out / name).write_bytes(damage.data(self.files[name]))
        shutil.copy(self.ground.scene.parent / "train.tif", out / "train.tif")
        for beside in ("strips.tif", "plain.img", "plain.hdr"):
            if not (out / beside).exists():
                (out / beside).write_bytes(self.files[beside])
        target = out / ("plain.img" if name == "plain.hdr" else name)
        key = "\n    key: cube" if target.suffix in (".mat", ".npz", ".h5") else ""
        labels, label_key = "train.tif", ""
        if damage.random.random() < 0.3:
            labels = target.name
            label_key = "\n  key: gt" if target.suffix in (".mat", ".npz") else ""
        scene = (
            f"name: x\nmodalities:\n  a:\n    path: {target.name}\n    role: spectral{key}\n"
            f"labels:\n  all: {labels}{label_key}\n  classes: {{1: A, 2: B, 3: C}}\n"
            "split: {random: 3}\n"
        )
        (out / "scene.yaml").write_text(scene)
        return [["inspect", str(target)], ["READ", str(out / "scene.yaml")]]

    def mat(self, damage: Damage, out: Path) -> list[list[str]]:
        """MATLAB files of version 4 and 5."""
        return self._file(damage, out, ["plain.mat", "packed.mat", "old.mat"])

    def tiff(self, damage: Damage, out: Path) -> list[list[str]]:
        """GeoTIFF, ENVI and VRT."""
        names = ["strips.tif", "tiled.tif", "strips.tif", "tiled.tif", "plain.hdr", "mosaic.vrt"]
        return self._file(damage, out, [*names, "picture.png"])

    def arrays(self, damage: Damage, out: Path) -> list[list[str]]:
        """NumPy files and classic netCDF."""
        return self._file(damage, out, ["cube.npy", "several.npz", "packed.npz", "classic.nc"])

    def hdf5(self, damage: Damage, out: Path) -> list[list[str]]:
        """MATLAB 7.3, HDF5 and netCDF-4."""
        return self._file(damage, out, ["new.mat", "new.h5", "modern.nc"])

    def codes(self, damage: Damage, out: Path) -> list[list[str]]:
        """Label codes of any type and value, and classes of any code."""
        random = damage.random
        dtype = damage.pick(("u1", "i1", "u2", "i2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "?"))
        low, high = damage.pick(((0, 4), (-3, 4), (0, 70000), (-(2**40), 2**40), (0, 2)))
        values = random.integers(low, high, (37, 41)).astype(dtype)
        if values.dtype.kind == "f":
            values.flat[:: int(random.integers(1, 9))] = damage.pick(
                (np.nan, np.inf, 0.5, -1.0, 1e30, 2**53)
            )
        if random.random() < 0.2:
            values = damage.pick((values.T, values[None], values[:0], values[:, :1], values[0]))
        np.save(out / "codes.npy", values)
        shutil.copy(self.ground.scene.parent / "hsi.tif", out / "hsi.tif")
        codes = [int(c) for c in random.integers(-2, damage.pick((5, 300, 80000)), 3)]
        if random.random() < 0.5:
            codes = [1, 2, 3]
        # a name of two lines is refused before any code is read: not in all cases
        last = "C\n&;$(x)" if random.random() < 0.2 else "C&;$(x)"
        names = [f"{name}{number}" for number, name in enumerate(("A", "<b>B</b>", last))]
        classes = dict(zip(codes, names, strict=True))
        split = damage.pick(({"random": 2}, {"blocks": {"size": 4, "guard": 1}}, "given"))
        which = "train" if split == "given" else "all"
        ignore = damage.pick(([], [-1], [0], [255]))
        labels = {which: "codes.npy", "classes": classes, "ignore": ignore}
        scene = {"name": "x", "modalities": {"a": {"path": "hsi.tif", "role": "spectral"}}}
        text = yaml.safe_dump({**scene, "labels": labels, "split": split})
        (out / "scene.yaml").write_text(text)
        return [["READ", str(out / "scene.yaml")]]

    def settings(self, damage: Damage, out: Path) -> list[list[str]]:
        """Settings on the command line."""
        words = ["SETTINGS", str(self.ground.scene), "--out", str(out / "run")]
        names = _setting_names()
        for _ in range(int(damage.random.integers(1, 4))):
            value = damage.pick(
                ("0", "-1", "1", "2", "3", "7", "16", "1e3", "0.5", "nan", "inf", "-inf", "", "x",
                 "[]", "[1]", "[cnn]", "[cnn,mamba]", "true", "null", "1e400", "999999999999",
                 "[coarse,fine,none]", "none", "{}", "{'a': 1}", "sqrt", "\u2028", "a\nb", "[",
                 "!!", "1" + 400 * "0"),
            )  # fmt: skip
            words += (
                [f"--{damage.pick(names)}", value] if damage.random.random() < 0.95 else [value]
            )
        return [words]

    def checkpoint(self, damage: Damage, out: Path) -> list[list[str]]:
        """A file of a run folder, and what reads it next."""
        shutil.copytree(self.ground.run, out / "run")
        files = sorted(p for p in (out / "run").rglob("*") if p.is_file())
        path = damage.pick([p for p in files if p.suffix not in (".html", ".qml")])
        data = path.read_bytes()
        if path.suffix in (".json", ".yaml") and damage.random.random() < 0.6:
            values = damage.tree(yaml.safe_load(data))
            data = (
                json.dumps(values, default=str)
                if path.suffix == ".json"
                else yaml.safe_dump(values)
            ).encode("utf-8", "surrogatepass")
        else:
            data = damage.data(data)
        path.write_bytes(data)
        stage = damage.pick(("map", "evaluate", "report", "LOAD", "LOAD", "LOAD", "LOAD", "LOAD"))
        if stage != "LOAD":
            index = out / "run" / "stages.json"
            with contextlib.suppress(ValueError, AttributeError, TypeError):
                known = json.loads(index.read_text())
                known.pop(stage, None)
                index.write_text(json.dumps(known))
        return [[stage, str(out / "run")]]

    def promise(self, damage: Damage, out: Path) -> list[list[str]]:
        """A small file that promises 10^12 pixels, as image or as labels."""
        side = int(damage.pick((10**6, 2**20, 3 * 10**6)))
        name = damage.pick(("a.npy", "a.tif", "a.mat", "a.h5", "a.img", "a.vrt"))
        _promise(out / name, side)
        shutil.copy(self.ground.scene.parent / "hsi.tif", out / "hsi.tif")
        shutil.copy(self.ground.scene.parent / "train.tif", out / "train.tif")
        image, labels = damage.pick(((name, "train.tif"), ("hsi.tif", name), (name, name)))
        scene = {
            "name": "x",
            "modalities": {"a": {"path": image, "role": "spectral"}},
            "labels": {"all": labels, "classes": {1: "A", 2: "B", 3: "C"}},
            "split": {"random": 2},
        }
        (out / "scene.yaml").write_text(yaml.safe_dump(scene))
        return [["inspect", str(out / name)], ["READ", str(out / "scene.yaml")]]


def _promise(path: Path, side: int) -> None:
    import h5py
    import rasterio
    from scipy.io import savemat

    if path.suffix == ".npy":
        header = {"descr": "|u1", "fortran_order": False, "shape": (side, side)}
        with path.open("wb") as file:
            np.lib.format.write_array_header_2_0(file, header)
            file.write(bytes(100))
    elif path.suffix == ".tif":
        with rasterio.open(
            path, "w", driver="GTiff", height=side, width=side, count=1, dtype="uint8",
            tiled=True, blockxsize=8192, blockysize=8192, SPARSE_OK="TRUE", BIGTIFF="YES",
        ):  # fmt: skip
            pass
    elif path.suffix == ".mat":
        savemat(path, {"a": np.ones((37, 41), np.uint8)})
        data = path.read_bytes()
        was = np.array([37, 41], "<i4").tobytes()
        path.write_bytes(data.replace(was, np.array([side, side], "<i4").tobytes(), 1))
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("a", (side, side), "u1", chunks=(1024, 1024))
    elif path.suffix == ".img":
        path.write_bytes(bytes(100))
        path.with_suffix(".hdr").write_text(
            f"ENVI\nsamples = {side}\nlines = {side}\nbands = 1\ndata type = 1\n"
            "interleave = bsq\nheader offset = 0\nbyte order = 0\n"
        )
    else:
        path.write_text(_VRT.replace('"41"', f'"{side}"', 1).replace('"37"', f'"{side}"', 1))


def _setting_names(values: dict[str, Any] | None = None, before: str = "") -> list[str]:
    from bdgf import config
    from bdgf.stages import plain

    found = []
    for name, value in (plain(config.Settings()) if values is None else values).items():
        if isinstance(value, dict):
            found += _setting_names(value, f"{before}{name}.")
        else:
            found.append(f"{before}{name}")
    return [*found, "preset", "no.such"] if values is None else found


def carry_out(words: list[str]) -> int:
    """Carry out a command line, or one of the ways in that the command line has no word for."""
    from bdgf import cli

    special = {"READ": _read, "LOAD": _load, "SETTINGS": _build}
    if words[0] not in special:
        return cli.main(words)
    # errors get the very same ending as those of a command
    cli.COMMANDS["fuzz"] = ("", lambda rest, console: special[words[0]](words[1:], console))
    try:
        return cli.main(["fuzz"])
    finally:
        del cli.COMMANDS["fuzz"]


def _read(words: list[str], console: object) -> None:
    """Open a scene, fit its preparation and read its corners: what every run does first."""
    from bdgf.config import PreparationSettings
    from bdgf.scene.preparation import Preparation
    from bdgf.scene.prepared import PreparedScene
    from bdgf.scene.scene import Scene
    from bdgf.scene.windows import Window

    scene = Scene.open(Path(words[0]))
    preparation = Preparation.fit(scene, PreparationSettings(fit_pixels=500), 0)
    prepared = PreparedScene(scene, preparation)
    for tile in range(prepared.tiles):
        height, width = prepared.shape(tile)
        for row, col in ((0, 0), (max(0, height - 8), max(0, width - 8))):
            values, _ = prepared.window(tile, Window(row, col, 8, 8), "reflect")
            if not np.isfinite(values).all():
                raise AssertionError("values that are not finite reach the network")


def _load(words: list[str], console: object) -> None:
    """Read all files of a run folder, as the stages, the report and other scenes' maps do."""
    from bdgf.commands.run import stored
    from bdgf.diffusion.store import FeatureStore
    from bdgf.mapping.pretrained import PretrainedMapper
    from bdgf.presets import from_values
    from bdgf.report.results import Results
    from bdgf.runfolder import RunFolder
    from bdgf.scene.scene import Scene

    run = Path(words[0])
    scene_path, _ = stored(run)
    mapper = PretrainedMapper.from_run(run)
    mapper.preparation, mapper.denoiser, mapper.network  # noqa: B018
    folder = RunFolder(run)
    folder.seconds()
    folder.scene()
    scene = Scene.open(Path(scene_path or ""))
    results = Results(scene, folder, mapper.settings)
    results.history, results.metrics, results.environment, results.preparation  # noqa: B018
    FeatureStore(run / "features", [t.name for t in scene.tiles], [(37, 41)])
    from_values({})


def _build(words: list[str], console: object) -> None:
    """Parse and check settings, and build what they describe where that is small."""
    from bdgf.commands.options import add_settings, as_settings, make_parser, parse
    from bdgf.diffusion.pretraining import build_denoiser
    from bdgf.fusion.network import build_network
    from bdgf.scene.layout import ChannelLayout, ModalityChannels
    from bdgf.stages import fingerprints
    from bdgf.validation import validate

    parser = make_parser("run", "", "", "")
    parser.add_argument("scene")
    parser.add_argument("--out", required=True)
    add_settings(parser)
    settings = as_settings(parse(parser, words, {}))
    validate(settings)
    fingerprints(settings, "", "")
    small = max(settings.network.width, settings.network.state, settings.diffusion.width) <= 1024
    if small and settings.network.window <= 101:
        layout = ChannelLayout(
            (ModalityChannels("a", "spectral", 0, 5), ModalityChannels("b", "auxiliary", 5, 6))
        )
        build_denoiser(settings.diffusion, layout, settings.seed)
        build_network(settings.network, layout, (4, 4, 4), 3, settings.seed)


# --- the processes ---


def _limit() -> None:
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _work(cases: Cases, jobs: list[tuple[str, int]], seed: int, channel: int, folder: Path) -> None:
    """Carry out cases one after the other; tells the number and the outcome of each."""
    import logging

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    sys.stdout = sys.stderr = io.TextIOWrapper(os.fdopen(null, "wb"), encoding="utf-8")
    logging.disable(logging.CRITICAL)
    _limit()
    for kind, number in jobs:
        os.write(channel, f"start {kind} {number}\n".encode())
        out = folder / f"{kind}{number}"
        out.mkdir()
        damage = Damage(np.random.default_rng([seed, number, sorted(SHARES).index(kind)]))
        outcome = "result"
        try:
            for words in cases.write(kind, damage, out):
                status = carry_out(words)
                if status == 2:
                    outcome = "refused"
                elif status:
                    outcome = f"FAILED {words[0]} status {status}"
        except BaseException:
            lines = traceback.format_exc().strip().splitlines()
            where = [line.strip() for line in lines if "bdgf/" in line][-1:]
            outcome = f"FAILED {words[0]} {lines[-1][:300]} {' '.join(where)}"
        shutil.rmtree(out, ignore_errors=True)
        os.write(channel, f"end {outcome}\n".replace("\r", " ").encode("utf-8", "replace"))


def run_cases(
    ground: Ground,
    jobs: list[tuple[str, int]],
    seed: int,
    told: Callable[[str], None],
    record: Path,
) -> None:
    """Carry out cases in forks, a batch in each.

    Args:
        ground: Good inputs.
        jobs: Kind and number of every case.
        seed: Seed of the damage.
        told: Told the failures, and how far it is.
        record: Gets one line of JSON for every case: kind, number, seconds and outcome.
    """
    cases, position = Cases(ground), 0

    def ended_as(kind: str, number: int, seconds: float, outcome: str) -> None:
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps([kind, number, round(seconds, 2), outcome]) + "\n")
        if outcome.startswith("FAILED"):
            told(f"{kind} {number}: {outcome}")

    while position < len(jobs):
        batch = jobs[position : position + BATCH]
        reading, writing = os.pipe()
        scratch = Path(tempfile.mkdtemp(dir=ground.folder))
        process = os.fork()
        if not process:
            try:
                _work(cases, batch, seed, writing, scratch)
            finally:
                os._exit(0)
        os.close(writing)
        current: tuple[str, int] | None = None
        began, pending, ended = time.monotonic(), b"", False
        while not ended:
            ready, _, _ = select.select([reading], [], [], 1.0)
            got = os.read(reading, 65536) if ready else b""
            ended = bool(ready) and not got
            pending += got
            *lines, pending = pending.split(b"\n")
            for line in lines:
                word, _, rest = line.decode("utf-8", "replace").partition(" ")
                if word == "start":
                    kind, number = rest.split()
                    current, began = (kind, int(number)), time.monotonic()
                    processor = _processor(process)
                elif current is not None:
                    ended_as(*current, _processor(process) - processor, rest)
                    current = None
                    position += 1
            # busy for ten seconds, or silent for much longer: the machine may have other work
            hangs = current is not None and (
                _processor(process) - processor > SECONDS or time.monotonic() - began > 120
            )
            if current is not None and (hangs or ended):
                used = _processor(process) - processor
                ended_as(*current, used, "FAILED hangs" if hangs else "FAILED died")
                position += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                ended = True
        os.close(reading)
        os.waitpid(process, 0)
        shutil.rmtree(scratch, ignore_errors=True)
        told(f"{position} of {len(jobs)}")


def _known(record: Path) -> dict[tuple[str, int], tuple[float, str]]:
    """Return seconds and outcome of the cases that a record holds."""
    if not record.is_file():
        return {}
    lines = map(json.loads, record.read_text(encoding="utf-8").splitlines())
    return {(kind, number): (seconds, outcome) for kind, number, seconds, outcome in lines}


def _processor(process: int) -> float:
    """Seconds of processor time that a process has used."""
    try:
        text = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(text[11]) + int(text[12])) / os.sysconf("SC_CLK_TCK")


def _atheris(folder: Path, kind: str, cases: int) -> int:
    """Let atheris look for inputs that reach new code of the parsers written in Python."""
    import atheris

    # before anything else imports them: what is imported already is not watched
    with atheris.instrument_imports(include=["bdgf.scene"]):
        import bdgf.scene

        for module in pkgutil.walk_packages(bdgf.scene.__path__, "bdgf.scene."):
            importlib.import_module(module.name)
    from bdgf.errors import BdgfError
    from bdgf.scene.formats.opening import contents, read_array
    from bdgf.scene.scene_file import load_scene_file

    ground = prepare(folder)
    readers: dict[str, Callable[[Path], object]] = {
        "scene": load_scene_file,
        "mat": contents,
        "arrays": read_array,
    }
    read = readers[kind]
    suffix = {"scene": ".yaml", "mat": ".mat", "arrays": ".npy"}[kind]
    target = ground.folder / f"input{suffix}"
    corpus = ground.folder / "corpus"
    corpus.mkdir()
    files = ground.folder / "files"
    good = {
        "scene": [ground.scene],
        "mat": [files / "plain.mat", files / "packed.mat"],
        "arrays": [files / "small.npy"],
    }
    np.save(files / "small.npy", np.arange(60, dtype="<i2").reshape(4, 5, 3))
    for number, path in enumerate(good[kind]):
        (corpus / str(number)).write_bytes(path.read_bytes())

    def one(data: bytes) -> None:
        target.write_bytes(data)
        with contextlib.suppress(BdgfError):
            read(target)

    options = [f"-runs={cases}", "-timeout=10", "-rss_limit_mb=4096", "-max_len=20000"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()  # ends the process
    return 0


def main(arguments: list[str]) -> int:
    """Try the cases and print how they ended; 1 where one failed."""
    parser = argparse.ArgumentParser("python -m benchmarks.reliability fuzz")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="", help="Only these, separated by commas")
    parser.add_argument("--only", type=int, default=None, help="Only the case of this number")
    parser.add_argument("--engine", choices=("own", "atheris"), default="own")
    parser.add_argument(
        "--record", type=Path, help="Cases that this file holds are not tried again; goes on there"
    )
    values = parser.parse_args(arguments)
    chosen = [kind for kind in values.kinds.split(",") if kind] or list(SHARES)
    if values.engine == "own":
        for module in ("bdgf.commands.run", "bdgf.pipeline", "bdgf.mapping.pretrained", "bdgf.cli",
                       "bdgf.scene.inspection.describe", "h5py", "scipy.io"):  # fmt: skip
            __import__(module)
        import torch

        torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="bdgf-fuzz-"))
    try:
        if values.engine == "atheris":
            return _atheris(folder, chosen[0], values.cases)
        record = values.record or folder / "record.jsonl"
        total = sum(SHARES[kind] for kind in chosen)
        jobs = [
            (kind, number)
            for kind in chosen
            for number in range(max(1, round(values.cases * SHARES[kind] / total)))
            if values.only in (None, number)
        ]
        known = _known(record)
        left = [job for job in jobs if job not in known]
        if left:
            told = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
            run_cases(prepare(folder), left, values.seed, told, record)
        known = _known(record)
        ends = {job: known[job] for job in jobs}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    counts = Counter((kind, end.split()[0]) for (kind, _), (_, end) in ends.items())
    failures = [f"{k} {n}: {end}" for (k, n), (_, end) in ends.items() if end.startswith("FAILED")]
    longest = max(seconds for seconds, _ in ends.values())
    print(f"{'kind':<14}{'cases':>7}{'result':>8}{'refused':>9}{'failed':>8}")
    for kind in chosen:
        row = [counts[kind, word] for word in ("result", "refused", "FAILED")]
        print(f"{kind:<14}{sum(row):>7}{row[0]:>8}{row[1]:>9}{row[2]:>8}")
    print(
        f"{len(jobs)} cases, {len(failures)} failed; the longest took {longest:.1f} s of processor"
    )
    for line in failures:
        print(line)
    return 1 if failures else 0
