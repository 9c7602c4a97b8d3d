from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest

from bdgf.drawing import new_figure
from bdgf.errors import SettingsError
from bdgf.report.figures.style import check_formats, save, styled


def test_one_style_for_all_and_only_inside_the_block() -> None:
    before = matplotlib.rcParams["font.size"], matplotlib.rcParams["pdf.fonttype"]
    with styled():
        assert matplotlib.rcParams["pdf.fonttype"] == 42
        assert matplotlib.rcParams["font.size"] == 8
    assert (matplotlib.rcParams["font.size"], matplotlib.rcParams["pdf.fonttype"]) == before


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        with styled():
            figure = new_figure(2, 1)
            figure.add_subplot(1, 1, 1).plot([1, 2], [3, 4])
            written = save(figure, tmp_path / folder, "one", ("png", "pdf"))
        assert [path.suffix for path in written] == [".png", ".pdf"]
    for name in ("one.png", "one.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "one.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("formats", [("svg",), ("png", "tiff"), ()])
def test_unknown_formats_are_refused(formats: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="png or pdf"):
        check_formats(formats)
