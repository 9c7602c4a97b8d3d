"""Sentences of many tiles on one topic become one."""

from __future__ import annotations

from bdgf.scene.notes import Notes


def test_tiles_of_one_topic_are_summed():
    notes = Notes()
    for sentence in ("a.tif was resampled", None, "b.tif was resampled", "c.tif was resampled"):
        notes.say("sar 0", sentence)
    notes.say("labels train", "codes 7 are left out")
    assert notes.summed() == (
        "a.tif was resampled (and alike in 2 more tiles)",
        "codes 7 are left out",
    )
