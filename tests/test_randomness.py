"""Generators and seeds as a function of seed, purpose and step."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from bdgf.randomness import derived_seed, numpy_generator, torch_generator

PLACES = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", 1, 2)]


def test_the_same_place_draws_the_same_and_every_other_place_differs():
    drawn = [numpy_generator(*place).integers(2**62, size=4) for place in PLACES]
    again = [numpy_generator(*place).integers(2**62, size=4) for place in PLACES]
    np.testing.assert_array_equal(drawn, again)
    for one, other in itertools.combinations(drawn, 2):
        assert (one != other).any()


def test_torch_draws_depend_on_the_place_alone():
    torch.manual_seed(5)
    first = torch.randn(3, generator=torch_generator(0, "a", 2))
    torch.randn(7)
    assert torch.equal(first, torch.randn(3, generator=torch_generator(0, "a", 2)))
    assert not torch.equal(first, torch.randn(3, generator=torch_generator(0, "a", 3)))


def test_derived_seeds_are_seeds_of_their_own():
    seeds = [derived_seed(*place) for place in PLACES]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds == [derived_seed(*place) for place in PLACES]
