"""Names of methods: groups, ablations, own functions, and what is no method."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bdgf import config, presets
from bdgf.bench import methods
from bdgf.bench.methods import GROUPS, expand, find
from bdgf.bench.variants import (
    ABLATIONS,
    ALL_ABLATIONS,
    EQUAL_STEPS,
    EQUAL_TIME,
    OURS,
    changes_of,
    variant,
)
from bdgf.errors import SettingsError
from bdgf.evaluation.networks import PatchCnn, PixelPerceptron
from bdgf.fusion.network import build_network
from bdgf.scene.layout import ChannelLayout, ModalityChannels
from bdgf.validation import validate


def test_every_name_of_every_group_is_a_method():
    for names in GROUPS.values():
        assert len(set(names)) == len(names)
        for name in names:
            assert callable(find(name))
    assert expand(["controls", OURS, "simple"])[: len(GROUPS["controls"])] == GROUPS["controls"]


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_is_a_valid_change_of_the_default(name):
    changed = presets.replace(config.Settings(), dict(changes_of(variant(name))))
    assert changed != config.Settings()
    validate(changed)
    before = (OURS, variant(EQUAL_STEPS)) if name == EQUAL_TIME else ()
    assert expand([name]) == (*before, variant(name))


def test_ablations_that_are_the_default_already_are_known_but_in_no_group():
    same = [
        name
        for name, changes in ALL_ABLATIONS.items()
        if presets.replace(config.Settings(), dict(changes)) == config.Settings()
    ]
    assert set(ALL_ABLATIONS) - set(ABLATIONS) == set(same)
    for name in same:
        assert expand([name]) == (variant(name),)
        assert variant(name) not in GROUPS["ablations"]


def test_every_name_can_be_given_in_a_list_with_commas():
    for name in (*ALL_ABLATIONS, *(n for n in GROUPS["simple"])):
        assert "," not in name


def test_the_time_of_the_patch_network_is_measured_before_it_is_used():
    names = expand([EQUAL_TIME, "RF raw", OURS])
    assert names == (OURS, variant(EQUAL_STEPS), variant(EQUAL_TIME), "RF raw")


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
        ("probe", "did you mean 'probe diffusion'"),
        ("@", "choose of 'core', 'simple'"),
    ],
)
def test_what_is_no_method_is_refused(name, message):
    with pytest.raises(SettingsError, match=message):
        expand([name])


@pytest.mark.parametrize("branch", ["CNN", "Mamba", "transformer"])
def test_a_branch_alone_is_the_only_head(branch):
    settings = presets.replace(
        config.Settings(), dict(changes_of(variant(f"{branch} branch alone")))
    )
    modalities = (
        ModalityChannels("hsi", "spectral", 0, 3),
        ModalityChannels("sar", "auxiliary", 3, 4),
    )
    network = build_network(settings.network, ChannelLayout(modalities), [2, 2, 2], 3, 0)
    assert network.heads == (branch.lower(),)


@pytest.mark.parametrize(
    ("name", "kind", "alike"),
    [
        ("MLP", PixelPerceptron, False),
        ("CNN", PatchCnn, False),
        ("CNN balanced", PatchCnn, True),
    ],
)
def test_networks_are_what_they_are_called(monkeypatch, name, kind, alike):
    seen = []
    monkeypatch.setattr(methods, "train_and_predict", lambda *a, **k: seen.append((a, k)))
    methods.find(name)(SimpleNamespace(prepared="p", seed=3))
    assert seen == [((kind, "p", 3), {"alike": alike})]


@pytest.mark.parametrize("name", methods.CLASSICAL)
def test_classifiers_are_what_they_are_called(monkeypatch, name):
    monkeypatch.setattr(methods, "_classify", lambda fit, features, case: fit.__name__)
    monkeypatch.setitem(methods._FEATURES, name.split()[1], lambda case: None)
    wanted = {"RF": "fit_forest", "SVM": "fit_svm", "GB": "fit_boosting"}
    assert methods.find(name)(None) == wanted[name.split()[0]]
