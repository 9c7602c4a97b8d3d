"""Colours of classes that the scene file gives none."""

from __future__ import annotations

from bdgf.scene.palette import palette


def test_colors_in_use_are_not_taken_again():
    found = palette(20, ["#56b4e9", "#123456"])
    assert "#56B4E9" not in found
    assert len(set(found)) == 20
    assert found[:2] == (palette(1)[0], palette(3)[2])


def test_colors_differ_and_the_first_ones_stay():
    assert len(set(palette(40))) == 40
    assert palette(40)[:5] == palette(5)
