"""Published figures stand beside the same protocol alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from bdgf.bench import published
from bdgf.bench.published import Published, published_for


def test_name_and_both_counts_must_be_the_same(monkeypatch):
    def entry(scene, train, test):
        return Published(scene, train, test, "M", 1.0, None, None, "s")

    entries = (entry("a", 2, 3), entry("a", 2, 4), entry("a", 1, 3), entry("b", 2, 3))
    monkeypatch.setattr(published, "load_published", lambda: entries)
    counts = {"train": 2, "test": 3}
    scene = SimpleNamespace(name="a", positions=lambda part: np.zeros((counts[part], 3)))
    assert published_for(scene) == entries[:1]
