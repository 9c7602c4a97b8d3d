from __future__ import annotations

import gc
import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from bdgf import checkpoint
from bdgf.compute import place
from bdgf.errors import RunFolderError


def test_tensors_and_origin_come_back(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tensors = {"a": torch.randn(3, 2), "b/c": torch.arange(4)}
    checkpoint.save_tensors(path, tensors, {"seed": 1, "names": ["x"]})
    found, origin = checkpoint.load_tensors(path)
    assert origin == {"seed": 1, "names": ["x"]}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert list(tmp_path.iterdir()) == [path]


def test_tensors_without_an_element_or_an_axis_come_back(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tensors = {"none": torch.zeros(0, 3), "number": torch.tensor(7), "flag": torch.tensor([True])}
    checkpoint.save_tensors(path, tensors, {})
    found, _ = checkpoint.load_tensors(path)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_reading_again_and_again_keeps_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    checkpoint.save_tensors(path, {str(i): torch.zeros(2) for i in range(100)}, {})

    def blocks() -> int:
        gc.collect()
        return sys.getallocatedblocks()

    def grown() -> int:
        before = blocks()
        for _ in range(10):
            checkpoint.load_tensors(path)
        return blocks() - before

    for _ in range(3):
        checkpoint.load_tensors(path)
    # other threads may take some at any time, a leak takes them every time
    assert min(grown() for _ in range(3)) < 100, "less than one block for ten times a tensor"


def test_a_file_that_promises_more_than_it_holds_is_not_read(tmp_path: Path) -> None:
    path, size = tmp_path / "w.safetensors", 1 << 42
    header = json.dumps(
        {
            "__metadata__": {"origin": "{}"},
            "a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]},
        }
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    try:
        os.truncate(path, 8 + len(header) + size)
    except OSError:
        pytest.skip("this disk has no files of 4 TB with holes")
    with pytest.raises(RunFolderError, match=r"of its 4,398,0.* bytes the disk holds"):
        checkpoint.load_tensors(path)


def test_a_disk_that_counts_blocks_later_is_asked_for_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.safetensors"
    checkpoint.save_tensors(path, {"a": torch.ones(1 << 19)}, {})
    usual = os.stat

    class Late:
        """As ZFS counts a file that has just been written."""

        st_blocks = 1

        def __init__(self, about: os.stat_result) -> None:
            self.about = about

        def __getattr__(self, name: str) -> object:
            return getattr(self.about, name)

    monkeypatch.setattr(Path, "stat", lambda self, **rest: Late(usual(self, **rest)))
    assert checkpoint.load_tensors(path)[0]["a"].sum() == 1 << 19


def test_what_is_not_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is missing"):
        checkpoint.load_tensors(tmp_path / "absent.safetensors")
    pickled = tmp_path / "pickled.safetensors"
    pickled.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(RunFolderError, match="cannot be read"):
        checkpoint.load_tensors(pickled)
    whole = tmp_path / "whole.safetensors"
    checkpoint.save_tensors(whole, {"a": torch.zeros(100)}, {})
    half = tmp_path / "half.safetensors"
    half.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(RunFolderError, match="cannot be read"):
        checkpoint.load_tensors(half)


def test_a_record_without_what_is_needed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    checkpoint.save_tensors(path, {"a": torch.zeros(1)}, {"heads": []})
    assert checkpoint.load_tensors(path, ["heads"])[1] == {"heads": []}
    with pytest.raises(RunFolderError, match=r"network\.safetensors does not say its settings"):
        checkpoint.load_tensors(path, ["heads", "settings"])


def test_weights_that_do_not_fit_are_refused_before_any_is_loaded() -> None:
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    path = Path("x.safetensors")
    fitting = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    with pytest.raises(RunFolderError, match="bias is in only one"):
        checkpoint.load_weights(module, {"weight": torch.ones(2, 3)}, path)
    with pytest.raises(RunFolderError, match=r"bias has shape \(3,\), \(2,\) is needed"):
        checkpoint.load_weights(module, {**fitting, "bias": torch.ones(3)}, path)
    assert torch.equal(module.weight, before)
    checkpoint.load_weights(module, fitting, path)
    assert torch.equal(module.weight, torch.ones(2, 3))


def test_adamw_goes_on_as_if_nothing_had_happened() -> None:
    def step(module: nn.Linear, optimizer: torch.optim.Optimizer, seed: int) -> None:
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
        module(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    torch.manual_seed(0)
    first = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(first.parameters(), lr=0.1)
    for seed in range(3):
        step(first, optimizer, seed)
    second = nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    other = torch.optim.AdamW(second.parameters(), lr=0.1)
    checkpoint.load_adamw_state(other, second, checkpoint.adamw_state(optimizer, first))
    for module, opt in ((first, optimizer), (second, other)):
        step(module, opt, 7)
    assert torch.equal(first.weight, second.weight)


def test_moments_are_laid_out_as_their_parameters() -> None:
    """Otherwise AdamW updates each by itself."""
    module = place(nn.Conv2d(4, 6, 3), torch.device("cpu"))
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.randn(2, 4, 5, 5)).sum().backward()
    optimizer.step()
    stored = {n: t.contiguous() for n, t in checkpoint.adamw_state(optimizer, module).items()}
    again = torch.optim.AdamW(module.parameters())
    checkpoint.load_adamw_state(again, module, stored)
    for parameter in module.parameters():
        for moment in ("exp_avg", "exp_avg_sq"):
            found, before = again.state[parameter][moment], optimizer.state[parameter][moment]
            assert torch.equal(found, before)
            assert found.stride() == parameter.stride()
