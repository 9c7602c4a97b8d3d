from __future__ import annotations

import pytest
import torch

from bdgf.diffusion.schedule import NoiseSchedule

diffusers = pytest.importorskip("diffusers")


@pytest.mark.parametrize("timesteps", [2, 500, 1000])
def test_agrees_with_diffusers(timesteps: int) -> None:
    ours = NoiseSchedule(timesteps, 1e-4, 0.02)
    oracle = diffusers.DDPMScheduler(
        num_train_timesteps=timesteps, beta_start=1e-4, beta_end=0.02, beta_schedule="linear"
    )
    torch.testing.assert_close(ours.alphas_cumprod, oracle.alphas_cumprod, rtol=1e-6, atol=1e-8)
    clean, noise = torch.randn(2, 5, 3, 4, 4).unbind()
    t = torch.randint(timesteps, (5,))
    torch.testing.assert_close(
        ours.add_noise(clean, noise, t), oracle.add_noise(clean, noise, t), rtol=1e-5, atol=1e-6
    )


def test_noise_grows_from_almost_none_to_almost_all() -> None:
    schedule = NoiseSchedule(500, 1e-4, 0.02)
    clean, noise = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    first = schedule.add_noise(clean, noise, torch.tensor([0]))
    last = schedule.add_noise(clean, noise, torch.tensor([499]))
    assert first.min() > 0.99
    assert last.max() < 0.1
