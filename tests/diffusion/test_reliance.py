from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bdgf.diffusion.reliance import Reliance, balance_of, measure_reliance
from bdgf.scene.layout import ChannelLayout, ModalityChannels

LAYOUT = ChannelLayout(
    (
        ModalityChannels("hsi", "spectral", 0, 3),
        ModalityChannels("sar", "auxiliary", 3, 4),
        ModalityChannels("dsm", "auxiliary", 4, 5),
    )
)


def measure(features):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(16, 5, 8, 8, generator=generator)
    missing = torch.zeros(16, 3, 8, 8)
    return measure_reliance(features, values, missing, LAYOUT, generator)


def test_features_of_one_modality_rest_on_it_alone() -> None:
    found = measure(lambda values, missing: [values[:, 3:4]])
    assert found.reliance[0] == pytest.approx(0.0, abs=1e-6)
    assert found.reliance[1] > 0.8
    assert found.reliance[2] == pytest.approx(0.0, abs=1e-6)
    assert found.explained[1] == pytest.approx(1.0, abs=1e-3)
    assert found.explained[0] < 0.1
    assert found.balance == pytest.approx(0.0, abs=1e-6)


def test_a_large_constant_hides_nothing() -> None:
    def shifted(values: Tensor, missing: Tensor) -> list[Tensor]:
        return [values[:, :3] + 1e3]

    assert measure(shifted).reliance[0] == pytest.approx(
        measure(lambda values, missing: [values[:, :3]]).reliance[0], rel=1e-3
    )


def test_equal_parts_are_balanced() -> None:
    found = measure(lambda values, missing: [values[:, :1] + values[:, 3:4]])
    sides = found.reliance
    assert sides[0] == pytest.approx(sides[1], rel=0.3)
    assert balance_of(sides, LAYOUT) == found.balance
    assert found.balance == pytest.approx(2.0, rel=0.3)  # the DSM is not used at all


@pytest.mark.parametrize("cover", [16, 5, 2])
def test_cover_of_a_sensor_is_not_reliance(cover) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(16, 5, 8, 8, generator=generator)
    missing = torch.zeros(16, 3, 8, 8)
    missing[cover:, 1:] = 1
    missing[:, 1:, :, 5:] = 1
    values[:, 3:] *= 1 - missing[:, 1:]

    def features(values: Tensor, missing: Tensor) -> list[Tensor]:
        both = torch.cat([values[:, :1], values[:, 3:4]], 1)
        return [torch.nn.functional.avg_pool2d(both, 2), both]

    found = measure_reliance(features, values, missing, LAYOUT, generator)
    # two independent values of the same spread, each moved by its own: √2 · E|N| / E‖N₂‖
    assert found.reliance[1] == pytest.approx(0.9, abs=0.12)
    assert found.balance == pytest.approx(2.0, rel=0.3)


@pytest.mark.parametrize("cover", [0, 1])
def test_a_sensor_without_two_places_is_not_measured(cover) -> None:
    generator = torch.Generator().manual_seed(0)
    values, missing = torch.randn(4, 5, 8, 8), torch.zeros(4, 3, 8, 8)
    missing[cover:, 1:] = 1
    found = measure_reliance(lambda v, m: [v], values, missing, LAYOUT, generator)
    assert found.reliance[0] is not None
    assert found.reliance[1:] == (None, None)
    assert found.balance is None
    assert "sar is not in the crops looked at" in found.describe()
    assert Reliance.from_json(found.to_json()) == found


def test_one_side_alone_has_no_balance() -> None:
    layout = ChannelLayout((ModalityChannels("hsi", "spectral", 0, 3),))
    generator = torch.Generator().manual_seed(0)
    values, missing = torch.randn(4, 3, 8, 8), torch.zeros(4, 1, 8, 8)
    found = measure_reliance(lambda v, m: [v], values, missing, layout, generator)
    assert found.balance is None
    assert "hsi" in found.describe()
    assert "balance" not in found.describe()


def test_what_is_stored_comes_back_and_nothing_else() -> None:
    for balance in (None, 0.5):
        reliance = Reliance(("a", "b"), (1.0, 2.0), (0.1, 0.2), balance)
        assert Reliance.from_json(reliance.to_json()) == reliance
    values = reliance.to_json()
    for other in ([], {}, {**values, "explained_r2": {"a": 1.0}}, {**values, "reliance": 3},
                  {**values, "balance_spectral_over_auxiliary": []},
                  {**values, "reliance": {"a": "x"}}):  # fmt: skip
        with pytest.raises(ValueError, match=r"reliance|float"):
            Reliance.from_json(other)
