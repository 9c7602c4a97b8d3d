from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bdgf.mapping.inference import MappedWindow
from bdgf.mapping.journal import Journal, decode, encode
from bdgf.scene.windows import Window


def part(row: int, seed: int = 0) -> MappedWindow:
    rng = np.random.default_rng([row, seed])
    return MappedWindow(
        Window(row, 3, 5, 7),
        rng.integers(-1, 40_000, (5, 7)),
        rng.random((5, 7)).astype(np.float32),
        rng.integers(-1, 40_000, (3, 5, 7)),
    )


def same(a: MappedWindow, b: MappedWindow) -> bool:
    arrays = [(x.classes, x.confidence, x.votes) for x in (a, b)]
    equal = [np.array_equal(p, q, equal_nan=p.dtype.kind == "f") for p, q in zip(*arrays)]  # noqa: B905
    return a.window == b.window and all(equal)


def test_records_come_back_as_they_were() -> None:
    empty = MappedWindow.without_data(Window(10**9, 8, 256, 256), 3)
    assert len(encode(empty)) < 64, "what has no data takes no room"
    for one in (part(5), empty):
        assert same(decode(encode(one)), one)
    damaged = bytearray(encode(part(5)))
    damaged[-9] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        decode(bytes(damaged))


def fill(path: Path, rows: range) -> None:
    journal = Journal(path, "x")
    for row in rows:
        journal.add(encode(part(row)))


def test_a_stopped_map_finds_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "map.tif.partial"
    fill(path, range(4))
    whole = path.read_bytes()
    # wherever it was cut: what came whole before is there, and the journal goes on from it
    for cut in range(len(whole) - len(encode(part(3))), len(whole)):
        path.write_bytes(whole[:cut])
        journal = Journal(path, "x")
        assert journal.before == {(0, 3), (1, 3), (2, 3)}
        assert all(same(a, part(row)) for row, a in enumerate(journal.parts()))
        journal.add(encode(part(3)))
        assert journal.done == {*journal.before, (3, 3)}
        assert path.read_bytes() == whole


def test_zeros_and_damage_at_the_end_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "map.tif.partial"
    fill(path, range(2))
    whole = path.read_bytes()
    for tail in (b"\0" * 500, b"\xff" * 500, encode(part(9))[:-1] + b"?"):
        path.write_bytes(whole + tail)
        assert Journal(path, "x").done == {(0, 3), (1, 3)}
        assert path.read_bytes() == whole


def test_another_origin_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "map.tif.partial"
    fill(path, range(2))
    journal = Journal(path, "y")
    assert not journal.done
    assert not list(journal.parts())


def test_a_finished_tile_is_known_by_its_origin(tmp_path: Path) -> None:
    path = tmp_path / "map.tif.partial"
    fill(path, range(2))
    assert not Journal(path, "x").finished
    Journal(path, "x").close_finished()
    assert Journal(path, "x").finished
    assert not Journal(path, "y").finished
    assert path.stat().st_size < 100
