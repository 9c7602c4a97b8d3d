"""What ``bdgf export`` refuses; that it works is seen where exports are compared with maps."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bdgf.cli import main
from bdgf.errors import RunFolderError
from bdgf.mapping.portable.exporting import check_folder, write_files


def test_what_is_no_run_and_what_is_no_folder(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tmp_path / "none"), "--to", str(tmp_path / "out")]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert main(["export", str(trained_run), "--to", str(trained_run)]) == 2
    assert "holds files but no mapper.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_export_that_was_killed_in_its_first_write_can_be_made_again(tmp_path: Path) -> None:
    check_folder(tmp_path / "new")
    for name in ("map_tile.py", ".mapper.bdgf-0123abcd.json"):
        (tmp_path / name).write_text("")
        check_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(RunFolderError, match="so it is not an export"):
        check_folder(tmp_path)


def test_an_export_is_not_mixed_with_an_earlier_one(tmp_path: Path) -> None:
    earlier = {"mapper.onnx": b"old", "mapper.json": b"{}"}
    write_files(tmp_path, earlier)
    with pytest.raises(TypeError):
        write_files(tmp_path, {"mapper.onnx": b"new", "mapper.json": None})  # type: ignore[dict-item]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == earlier


def test_a_run_whose_scene_is_gone(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    lines = config.read_text().splitlines()
    lines[0] = f"scene: {tmp_path / 'gone.yaml'}"
    config.write_text("\n".join(lines))
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "out")]) == 2
    assert "gone.yaml does not exist" in capsys.readouterr().err


def test_it_goes_into_the_run_where_no_folder_is_named(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / "exported").mkdir()
    (run / "exported" / "notes.txt").write_text("")
    assert main(["export", str(run)]) == 2
    assert f"{run / 'exported'} holds files" in " ".join(capsys.readouterr().err.split())
