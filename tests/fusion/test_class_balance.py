from __future__ import annotations

import numpy as np
import pytest

from bdgf import config, presets
from bdgf.fusion.class_balance import class_balance


@pytest.mark.parametrize("power", ["none", "sqrt", "balanced"])
def test_many_labels_are_drawn_as_they_come_and_weighed(power: str) -> None:
    few = np.repeat([0, 1, 2], [900, 90, 10])
    settings = presets.replace(config.Settings(), {"training.class_weights": power})
    exponent = {"none": 0.0, "sqrt": -0.5, "balanced": -1.0}[power]
    for times, sampling in ((1, 1.0), (2, 2 / 3), (3, 1 / 3), (4, 0.0), (9, 0.0)):
        classes = np.repeat(few, times)
        share, weights = class_balance(settings, classes, 4)
        drawn = np.bincount(classes, weights=share)
        assert drawn[0] / drawn[2] == pytest.approx(90 ** (1 - sampling))
        assert weights[3] == 0
        assert weights[0] / weights[2] == pytest.approx((drawn[0] / drawn[2]) ** exponent)
        assert (drawn * weights[:3]).sum() == pytest.approx(1.0)
