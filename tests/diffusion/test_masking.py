from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from bdgf.config import MaskingSettings
from bdgf.diffusion.masking import LARGEST_RATIO, draw_hidden, loss_gain, ramp_strength


def hidden_share(settings: MaskingSettings, strength: float, batch: int = 400) -> float:
    generator = torch.Generator().manual_seed(0)
    return float(draw_hidden(settings, strength, batch, 16, 16, generator).float().mean())


def test_ramps_follow_their_course() -> None:
    def course(ramp: str) -> list[float]:
        settings = MaskingSettings(ramp=ramp)  # type: ignore[arg-type]
        return [ramp_strength(settings, step, 100) for step in range(101)]

    assert set(course("off")) == {0.0}
    assert set(course("fixed")) == {1.0}
    cosine = course("cosine")
    assert cosine[0] == 0.0
    assert cosine[25] == pytest.approx(0.5)
    assert cosine[50:] == [1.0] * 51
    assert all(a <= b for a, b in pairwise(cosine))
    assert course("adaptive") == cosine
    short = MaskingSettings(ramp="cosine")
    assert [ramp_strength(short, step, 2) for step in range(3)] == pytest.approx([0.0, 1.0, 1.0])


def test_gain_hides_more_of_what_is_learned_better() -> None:
    assert loss_gain(0.1, 0.1) == pytest.approx(1.0)
    assert loss_gain(0.05, 0.5) > 1.5
    assert loss_gain(0.5, 0.05) < 0.5
    assert 0.0 <= loss_gain(1e9, 1e-9) <= loss_gain(1e-9, 1e9) <= 2.0
    assert loss_gain(0.0, 1.0) == loss_gain(1.0, 0.0) == 1.0


def test_share_hidden_is_what_the_ratios_say() -> None:
    structure = MaskingSettings(sample=False, structure_ratio=0.4)
    assert hidden_share(structure, 1.0) == pytest.approx(0.4, abs=0.03)
    assert hidden_share(structure, 0.5) == pytest.approx(0.2, abs=0.03)
    sample = MaskingSettings(structure=False, sample_ratio=0.3)
    assert hidden_share(sample, 1.0) == pytest.approx(0.3, abs=0.07)
    assert hidden_share(MaskingSettings(), 0.0) == 0.0
    assert hidden_share(MaskingSettings(structure=False, sample=False), 1.0) == 0.0
    strongest = MaskingSettings(sample=False, structure_ratio=1.0)
    # ratios drawn from 0 to 4 and cut at 0.9: a mean of 0.9 - 0.9² / 8
    assert hidden_share(strongest, 2.0) == pytest.approx(0.8, abs=0.03)
    often = MaskingSettings(structure=False, sample_ratio=1.0)
    assert hidden_share(often, 2.0) == pytest.approx(LARGEST_RATIO, abs=0.05)
    assert LARGEST_RATIO < 1, "something is always left to see"


def test_structure_mask_hides_whole_blocks() -> None:
    settings = MaskingSettings(sample=False, block=4)
    generator = torch.Generator().manual_seed(3)
    drawn = draw_hidden(settings, 1.0, 8, 40, 40, generator)[:, 0]
    hidden = min(drawn, key=lambda mask: abs(float(mask.float().mean()) - 0.5))
    assert 0.2 < hidden.float().mean() < 0.8
    offsets = [
        (row, col)
        for row in range(4)
        for col in range(4)
        if all(
            block.all() or not block.any()
            for block in hidden[row : row + 36, col : col + 36]
            .unfold(0, 4, 4)
            .unfold(1, 4, 4)
            .reshape(-1, 16)
        )
    ]
    assert offsets, "at one offset of the grid every block is hidden whole or not at all"


def test_sample_mask_hides_whole_samples() -> None:
    settings = MaskingSettings(structure=False, sample_ratio=0.5)
    generator = torch.Generator().manual_seed(3)
    hidden = draw_hidden(settings, 1.0, 64, 8, 8, generator).flatten(1).float().mean(1)
    assert set(hidden.tolist()) == {0.0, 1.0}
