from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from bdgf.errors import RunFolderError
from bdgf.mapping.inference import MappedWindow
from bdgf.mapping.journal import encode
from bdgf.mapping.legend import Legend
from bdgf.mapping.scene_maps import Votes, tile_by_tile, write_maps
from bdgf.progress import Silent
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window

LEGEND = Legend.of((3, 5), ("a", "b"), ("#111111", "#222222"))


def test_every_tile_gets_its_files(tiles_scene: Path, tmp_path: Path) -> None:
    scene = Scene.open(tiles_scene)

    def paths(tile: int) -> tuple[Path, Path]:
        name = f"{scene.tiles[tile].name}.tif"
        return tmp_path / "maps" / name, tmp_path / "confidence" / name

    def mapped(tile: int, windows):
        for window in windows:
            shape = (window.height, window.width)
            votes = np.stack([np.full(shape, 0), np.full(shape, 1)])
            yield MappedWindow(
                window, np.full(shape, tile % 2), np.full(shape, 0.5, np.float32), votes
            )

    def votes_path(tile: int) -> Path:
        return tmp_path / "votes" / f"{scene.tiles[tile].name}.tif"

    votes = Votes(votes_path, ("pixel", "cnn"))
    write_maps(scene, paths, LEGEND, tile_by_tile(mapped), 16, "x", Silent(), "2020-01-02", votes)
    for index, tile in enumerate(scene.tiles):
        with rasterio.open(paths(index)[0]) as raster:
            assert raster.shape == (tile.height, tile.width)
            assert (raster.read(1) == LEGEND.codes[index % 2]).all()
        with rasterio.open(votes_path(index)) as raster:
            assert raster.descriptions == ("pixel", "cnn")
            assert (raster.read(1) == 3).all()
            assert (raster.read(2) == 5).all()
        item = json.loads((tmp_path / "maps" / f"{tile.name}.json").read_text())
        assert item["id"] == f"{scene.name}-{tile.name}"
        assert item["properties"]["datetime"] == "2020-01-02T00:00:00Z"
        assert (tmp_path / "maps" / item["assets"]["confidence"]["href"]).resolve().is_file()


def test_a_map_with_a_hole_never_takes_its_name(tiny_scene: Path, tmp_path: Path) -> None:
    scene = Scene.open(tiny_scene)
    target = tmp_path / "map.tif", tmp_path / "confidence.tif"

    def mapped(tile: int, windows):
        for window in windows:
            if (window.row, window.col) != (0, 48):
                shape = (window.height, window.width)
                yield MappedWindow(
                    window, np.zeros(shape, int), np.ones(shape, np.float32), np.zeros((1, *shape))
                )

    for _ in range(2):
        with pytest.raises(RunFolderError, match="1 windows of"):
            write_maps(scene, lambda _: target, LEGEND, tile_by_tile(mapped), 16, "x", Silent())
        assert not target[0].exists()
    mapped_again = []

    def rest(tile: int, windows):
        mapped_again.extend(windows)
        yield MappedWindow.without_data(mapped_again[0], 1)

    write_maps(scene, lambda _: target, LEGEND, tile_by_tile(rest), 16, "x", Silent())
    assert len(mapped_again) == 1
    assert target[0].is_file()


def test_tiles_that_were_finished_before_get_the_date_that_holds_now(
    tiles_scene: Path, tmp_path: Path
) -> None:
    scene, last = Scene.open(tiles_scene), [True]

    def mapped(tile: int, windows):
        for window in windows:
            if last[0] and tile == len(scene.tiles) - 1:
                raise KeyboardInterrupt
            yield MappedWindow.without_data(window, 1)

    def write(acquired: str) -> None:
        def paths(tile: int) -> tuple[Path, Path]:
            name = f"{scene.tiles[tile].name}.tif"
            return tmp_path / "maps" / name, tmp_path / "confidence" / name

        write_maps(scene, paths, LEGEND, tile_by_tile(mapped), 16, "x", Silent(), acquired)

    with pytest.raises(KeyboardInterrupt):
        write("2020-01-02")
    last[0] = False
    write("2024-01-02")
    items = [json.loads(path.read_text()) for path in (tmp_path / "maps").glob("*.json")]
    assert len(items) == len(scene.tiles)
    assert {item["properties"]["datetime"][:4] for item in items} == {"2024"}


def test_a_stopped_map_goes_on_with_panels_of_another_width(
    tiny_scene: Path, tmp_path: Path
) -> None:
    scene = Scene.open(tiny_scene)
    order: dict[str, list[tuple[int, int]]] = {}

    def write(name: str, columns: int, most: int = 1000) -> list[bytes]:
        def mapped(tile: int, windows: Iterable[Window]) -> Iterator[MappedWindow]:
            for number, window in enumerate(windows):
                if number == most:
                    raise KeyboardInterrupt
                order.setdefault(name, []).append((window.row, window.col))
                rows, cols = np.indices((window.height, window.width))
                where = rows + window.row + 7 * (cols + window.col)
                confidence = (where / where.max()).astype(np.float32)
                yield MappedWindow(window, where % 2, confidence, where[None] % 2)

        target = tmp_path / name / "map.tif", tmp_path / name / "confidence.tif"
        mapper = tile_by_tile(mapped)
        write_maps(scene, lambda _: target, LEGEND, mapper, 16, "x", Silent(), columns=columns)
        return [path.read_bytes() for path in target]

    whole = write("whole", 4096)
    with pytest.raises(KeyboardInterrupt):
        write("stopped", 32, 5)
    assert write("stopped", 16) == whole
    assert sorted(order["stopped"]) == sorted(order["whole"])
    assert order["stopped"] != order["whole"]


def drawn(tile: int, window: Window) -> MappedWindow:
    rng = np.random.default_rng([tile, window.row, window.col])
    shape = (window.height, window.width)
    classes = rng.integers(-1, 2, shape)
    return MappedWindow(window, classes, rng.random(shape, np.float32), classes[None])


@pytest.mark.parametrize("as_record", [False, True])
def test_windows_of_all_tiles_in_any_order_make_the_same_maps(
    tiles_scene: Path, tmp_path: Path, listener, as_record: bool
) -> None:
    scene = Scene.open(tiles_scene)

    def mixed(places: Iterable[tuple[int, Window]]) -> Iterator[tuple[int, Window, object]]:
        found = list(places)
        assert {tile for tile, _ in found} == set(range(len(scene.tiles))), "no tile waits"
        for number in np.random.default_rng(0).permutation(len(found)):
            tile, window = found[number]
            part = drawn(tile, window)
            yield tile, window, encode(part) if as_record else part

    def in_order(tile: int, windows: Iterable[Window]) -> Iterator[MappedWindow]:
        return (drawn(tile, window) for window in windows)

    written = []
    for name, mapper in (("a", tile_by_tile(in_order)), ("b", mixed)):
        folder = tmp_path / name

        def paths(tile: int, folder: Path = folder) -> tuple[Path, Path]:
            stem = scene.tiles[tile].name
            return folder / f"{stem}.tif", folder / f"{stem}-confidence.tif"

        write_maps(scene, paths, LEGEND, mapper, 8, "x", listener)
        written.append({path.name: path.read_bytes() for path in folder.glob("*.tif")})
        assert not list(folder.glob("*.partial"))
    assert len(written[0]) == 2 * len(scene.tiles)
    assert written[0] == written[1]
    assert not listener.lines, "nothing goes on from an earlier command"


def test_what_was_classified_of_later_tiles_is_kept(
    tiles_scene: Path, tmp_path: Path, listener
) -> None:
    scene, last = Scene.open(tiles_scene), 1
    asked: list[list[tuple[int, Window]]] = []

    def paths(tile: int) -> tuple[Path, Path]:
        name = scene.tiles[tile].name
        return tmp_path / f"{name}.tif", tmp_path / f"{name}-confidence.tif"

    def later_first(places: Iterable[tuple[int, Window]]) -> Iterator[tuple[int, Window, object]]:
        found = list(places)
        asked.append(found)
        for tile, window in sorted(found, key=lambda place: -place[0]):
            if tile == 0 and len(asked) == 1:
                raise KeyboardInterrupt
            yield tile, window, drawn(tile, window)

    with pytest.raises(KeyboardInterrupt):
        write_maps(scene, paths, LEGEND, later_first, 8, "x", listener)
    assert not paths(last)[0].exists(), "it waits for the tile before it"
    write_maps(scene, paths, LEGEND, later_first, 8, "x", listener)
    assert {tile for tile, _ in asked[1]} == {0}
    assert any(f"100.0 % of {scene.tiles[last].name}" in line for line in listener.lines)
    for tile in range(len(scene.tiles)):
        with rasterio.open(paths(tile)[0]) as raster:
            assert raster.read(1).any()
