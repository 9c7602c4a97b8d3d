"""Colours of classes that the scene file gives none."""

from __future__ import annotations

from bdgf.scene.palette import palette


def test_colors_differ_and_the_first_ones_stay():
    assert len(set(palette(40))) == 40
    assert palette(40)[:5] == palette(5)
