from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bdgf import config, processes
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent

JOB = """
import json, os, sys
from pathlib import Path
import torch
from bdgf import config, optimisation, processes
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
torch.set_num_threads(1)
optimisation.LOG_EVERY = 1
settings = config.from_values(json.loads(sys.argv[3]))
Pipeline(Path(sys.argv[1]), Path(sys.argv[2]), settings, Silent()).run(
    ("pretrain", "features", "train", "map")
)
# one write: the lines of two processes do not mix
os.write(1, f"rank {processes.rank()} of {processes.count()}\\n".encode())
"""


def curves(run: Path) -> dict[tuple[str, int], dict[str, float]]:
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return {(row.pop("stage"), row.pop("step")): row for row in rows}


def test_two_processes_have_the_losses_of_one(
    tiny_scene: Path,
    tiny_values: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch of 5 and 17 is no multiple of 2: shares differ in size."""
    changes = {
        "diffusion.batch": 5, "diffusion.steps": 30, "training.batch": 17, "training.steps": 12,
        "mutual.unlabelled": True, "diffusion.masking.ramp": "adaptive",
        "network.patch_norm": "batch",
    }  # fmt: skip
    settings = config.replace(config.Settings(), {**tiny_values, **changes})
    monkeypatch.setattr("bdgf.optimisation.LOG_EVERY", 1)
    Pipeline(tiny_scene, tmp_path / "one", settings, Silent()).run(
        ("pretrain", "features", "train", "map")
    )
    script = tmp_path / "job.py"
    script.write_text(JOB)
    values = json.dumps({**tiny_values, **changes})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
         f"--master-port={port}", str(script), str(tiny_scene), str(tmp_path / "two"), values],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert {"rank 0 of 2", "rank 1 of 2"} <= set(done.stdout.splitlines())
    one, two = curves(tmp_path / "one"), curves(tmp_path / "two")
    assert one.keys() == two.keys()
    assert len(one) >= 30 + 3 * 12
    for (stage, step), row in one.items():
        differ = abs(row["loss"] - two[stage, step]["loss"])
        assert differ <= 1e-5, f"losses of {stage}, step {step}, differ by {differ}"
    names = {p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*")}
    assert names == {p.relative_to(tmp_path / "two") for p in (tmp_path / "two").rglob("*")}


def test_a_process_alone_is_the_whole_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")  # of a launcher that means other programs
    monkeypatch.setenv("RANK", "3")
    assert (processes.count(), processes.rank()) == (1, 0)
    values = torch.arange(6.0).view(3, 2)
    assert processes.total(values) is values
    assert processes.whole_value(values) is values
    assert processes.gathered(values, processes.shares([3])) is values
    assert processes.agree({"a": 1}) == {"a": 1}
    np.testing.assert_array_equal(processes.shares([3, 2])[0], np.arange(5))


def test_shares_divide_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "count", lambda: 3)
    found = processes.shares([7, 7])
    assert sorted(np.concatenate(found).tolist()) == list(range(14))
    assert [len(rows) for rows in found] == [6, 4, 4]
    assert all((np.diff(rows) > 0).all() for rows in found)
