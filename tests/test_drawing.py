from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from bdgf.drawing import new_figure, plain_text, save


def _drawn(path: Path, text: str, told: list[str]) -> bytes:
    with plain_text(told.append):
        figure = new_figure(3, 1, 100)
        figure.text(0.1, 0.5, text)
        save(figure, path)
    return path.read_bytes()


def test_a_dollar_is_a_dollar(tmp_path: Path) -> None:
    told: list[str] = []
    # as mathematics it cannot be read
    assert _drawn(tmp_path / "a.png", r"$\frac$ and $", told)
    assert not told


def test_signs_without_a_font_are_told_once_and_without_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bdgf.drawing.FONTS", ())
    told: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _drawn(tmp_path / "a.png", "水 水田 water", told)
    (sentence,) = told
    assert "水 田" in sentence
    assert "water" not in sentence
    assert "install" in sentence


def test_an_installed_font_helps_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign = "⌒"  # DejaVu Sans Mono, which comes with matplotlib, has it, DejaVu Sans has not
    told: list[str] = []
    monkeypatch.setattr("bdgf.drawing.FONTS", ())
    box = _drawn(tmp_path / "box.png", sign, told)
    assert told
    monkeypatch.setattr("bdgf.drawing.FONTS", ("No Such Font", "DejaVu Sans Mono"))
    told.clear()
    assert _drawn(tmp_path / "sign.png", sign, told) != box
    assert not told


def test_other_warnings_pass(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="something else"), plain_text([].append):
        warnings.warn("something else", stacklevel=1)


def test_nothing_of_it_stays(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    shown = warnings.showwarning
    with pytest.raises(ValueError, match="stop"), plain_text([].append):
        raise ValueError("stop")
    assert dict(matplotlib.rcParams) == before
    assert warnings.showwarning is shown


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    written = [_drawn(tmp_path / name, "road", []) for name in ("a.png", "b.png")]
    assert written[0] == written[1]
    assert np.frombuffer(written[0], np.uint8)[1:4].tobytes() == b"PNG"
