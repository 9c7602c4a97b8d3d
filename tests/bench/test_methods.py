"""Names of methods: groups, ablations, own functions, and what is no method."""

from __future__ import annotations

import pytest

from bdgf import config
from bdgf.bench.methods import GROUPS, expand, find
from bdgf.bench.variants import ABLATIONS, OURS, changes_of, variant
from bdgf.errors import SettingsError
from bdgf.validation import validate


def test_every_name_of_every_group_is_a_method():
    for names in GROUPS.values():
        assert len(set(names)) == len(names)
        for name in names:
            assert callable(find(name))
    assert expand(["controls", OURS, "simple"])[: len(GROUPS["controls"])] == GROUPS["controls"]


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_is_a_valid_change_of_the_default(name):
    changed = config.replace(config.Settings(), dict(changes_of(variant(name))))
    assert changed != config.Settings()
    validate(changed)
    assert expand([name]) == (variant(name),)


def test_our_default_changes_nothing():
    assert changes_of(OURS) == {}
    assert changes_of("RF raw") is None
    assert changes_of(variant("nonsense")) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("RF row", "did you mean 'RF raw'"),
        ("nothing_like:it", "cannot be imported"),
        ("bdgf.bench.variants:OURS", "no function"),
        ("no maskings", "did you mean 'no masking'"),
        ("MLP diffusion", "is no method"),
    ],
)
def test_what_is_no_method_is_refused(name, message):
    with pytest.raises(SettingsError, match=message):
        expand([name])
