from __future__ import annotations

from pathlib import Path

import pytest

from bdgf.errors import RunFolderError
from bdgf.runfolder import RunFolder, map_paths, remove_other_maps
from bdgf.stages import STAGES


def test_a_finished_stage_is_known_again_until_an_earlier_one_is_reopened(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    for stage in STAGES[:3]:
        folder.finish(stage, f"print of {stage}", 1.5)
    again = RunFolder(tmp_path / "run")
    assert again.finished("features", "print of features")
    assert not again.finished("features", "another print")
    assert again.was_finished("features")
    again.reopen("pretrain")
    last = RunFolder(tmp_path / "run")
    assert last.finished("prepare", "print of prepare")
    assert not last.was_finished("pretrain")
    assert not last.was_finished("features")
    assert last.seconds() == {"prepare": 1.5}


def test_folders_that_cannot_be_a_run_are_refused(tmp_path: Path) -> None:
    holiday = tmp_path / "photos"
    holiday.mkdir()
    (holiday / "beach.jpg").write_bytes(b"x")
    with pytest.raises(RunFolderError, match="not a run folder"):
        RunFolder(holiday)
    assert [p.name for p in holiday.iterdir()] == ["beach.jpg"]
    with pytest.raises(RunFolderError, match="cannot be used"):
        RunFolder(holiday / "beach.jpg" / "run")
    broken = tmp_path / "run"
    RunFolder(broken)
    for damaged in (
        "[1, 2",
        '{"map": 3}',
        '{"map": {"fingerprint": "a"}}',
        '{"map": {"fingerprint": "a", "seconds": [1]}}',
        '{"map": {"fingerprint": "a", "seconds": NaN}}',
        '{"map": {"fingerprint": "a", "seconds": 1' + 400 * "0" + "}}",
        3000 * "[",
    ):
        (broken / "stages.json").write_text(damaged)
        with pytest.raises(RunFolderError, match="cannot be read"):
            RunFolder(broken)


def test_a_folder_of_a_run_that_was_killed_at_once_is_no_foreign_one(tmp_path: Path) -> None:
    for name in (".lock", ".stages.bdgf-0a1b2c3d.json"):
        (tmp_path / name).touch()
    assert not RunFolder(tmp_path).was_finished("prepare")


def test_what_another_process_finished_is_seen_after_reading_again(tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path), RunFolder(tmp_path)
    second.finish("prepare", "a", 1.0)
    assert not first.finished("prepare", "a")
    first.reload()
    assert first.finished("prepare", "a")


def _written(folder: Path, *tiles: str) -> list[Path]:
    found = []
    for tile in tiles:
        path, confidence = map_paths(folder, tile, len(tiles) == 1)
        beside = [path.with_name(f"{path.name}.aux.xml"), path.with_suffix(".qml")]
        votes = folder / "votes.tif" if len(tiles) == 1 else folder / "votes" / path.name
        found += [path, confidence, votes, path.with_suffix(".json"), *beside]
    for path in found:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return found


@pytest.mark.parametrize("now", [("a",), ("a", "b"), ("b", "c", "d")])
@pytest.mark.parametrize("before", [("a",), ("a", "b", "c")])
def test_maps_of_tiles_that_a_scene_has_no_more_are_removed(
    tmp_path: Path, before: tuple[str, ...], now: tuple[str, ...]
) -> None:
    _written(tmp_path, *before)
    (tmp_path / "metrics.json").touch()
    paths = [map_paths(tmp_path, tile, len(before) == 1)[0] for tile in before]
    journals = [path.with_name(f"{path.name}.partial") for path in paths]
    for path in journals:
        path.touch()
    kept = {map_paths(tmp_path, tile, len(now) == 1)[0] for tile in now}
    ours = {*_written(tmp_path, *now), tmp_path / "metrics.json"}
    ours |= {one for one, path in zip(journals, paths, strict=True) if path in kept}
    remove_other_maps(tmp_path, now)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == ours


def test_rasters_that_are_none_of_ours_stay(tmp_path: Path) -> None:
    _written(tmp_path, "a", "b")
    mosaics = {tmp_path / "map.tif", tmp_path / "maps" / "mosaic.tif"}
    for path in mosaics:
        path.touch()
    remove_other_maps(tmp_path, ("a", "c"))
    assert all(path.is_file() for path in mosaics)
    assert not (tmp_path / "maps" / "b.tif").exists()


def test_what_is_only_read_need_not_accept_files(tmp_path: Path, monkeypatch) -> None:
    RunFolder(tmp_path / "run").finish("prepare", "a", 1.0)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(RunFolderError, match="cannot be written"):
        RunFolder(tmp_path / "run")
    assert RunFolder(tmp_path / "run", read=True).finished("prepare", "a")
    with pytest.raises(RunFolderError, match="is not a run folder"):
        RunFolder(tmp_path / "absent", read=True)
    assert not (tmp_path / "absent").exists()
