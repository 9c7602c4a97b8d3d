from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from bdgf import config, presets, processes
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent

JOB = """
import json, os, sys
from pathlib import Path
import torch
from bdgf import compute, optimisation, presets, processes
from bdgf.diffusion import balance
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
torch.set_num_threads(1)
optimisation.LOG_EVERY, balance.MEASURE_EVERY, balance.TOLERATED = 1, 10, 1.0
# what the processors of two machines may differ in
measure = balance.measure_reliance
if processes.rank() == 1:
    balance.measure_reliance = lambda features, values, *rest: measure(features, 2 * values, *rest)
compute._has_bf16_units = lambda device: processes.rank() == 1
settings = presets.from_values(json.loads(sys.argv[3]))
Pipeline(Path(sys.argv[1]), Path(sys.argv[2]), settings, Silent()).run(
    ("pretrain", "features", "train", "map")
)
# one write: the lines of two processes do not mix
os.write(1, f"rank {processes.rank()} of {processes.count()}\\n".encode())
"""

CHANGES = {
    "diffusion.batch": 5, "diffusion.steps": 30, "diffusion.balance_from": 0.0,
    "diffusion.masking.ramp": "adaptive", "training.batch": 17, "training.steps": 12,
    "mutual.unlabelled": True, "network.patch_norm": "batch", "compute.precision": "auto",
}  # fmt: skip
"""Batches that are no multiple of 2: shares differ in size."""

LIMIT = 600
"""Seconds after which a job that waits for ever is ended."""


def curves(run: Path) -> dict[tuple[str, int], dict[str, float]]:
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return {(row.pop("stage"), row.pop("step")): row for row in rows}


def launch(script: Path, machines: Sequence[int], *words: str) -> list[tuple[int, str, str]]:
    """Start a script under torchrun as on several machines, of so many processes each.

    Returns:
        Exit status, output and errors of every machine.
    """
    # where the machines meet: kept here, since one that ends first would take it from the others
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = [f"--nnodes={len(machines)}", "--rdzv-backend=c10d", "--rdzv-id=test"]
    shared += [f"--rdzv-endpoint=127.0.0.1:{store.port}", "--rdzv-conf=is_host=0"]
    shared += ["--local-addr=127.0.0.1"]
    agents = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *shared,
             f"--nproc-per-node={number}", str(script), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for number in machines
    ]  # fmt: skip
    until = time.monotonic() + LIMIT
    try:
        ended = [agent.communicate(timeout=until - time.monotonic()) for agent in agents]
    finally:
        for agent in agents:
            agent.terminate()  # it ends its processes
            agent.wait()
    return [(a.returncode, out, err) for a, (out, err) in zip(agents, ended, strict=True)]


@pytest.fixture(scope="module")
def alone(
    tiny_scene: Path, tiny_values: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Run folder of one process."""
    settings = presets.replace(config.Settings(), {**tiny_values, **CHANGES})
    out = tmp_path_factory.mktemp("alone") / "run"
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bdgf.optimisation.LOG_EVERY", 1)
        patch.setattr("bdgf.diffusion.balance.MEASURE_EVERY", 10)
        patch.setattr("bdgf.diffusion.balance.TOLERATED", 1.0)
        patch.setattr("bdgf.compute._has_bf16_units", lambda device: False)
        Pipeline(tiny_scene, out, settings, Silent()).run(("pretrain", "features", "train", "map"))
    return out


@pytest.mark.timeout(900)  # seconds where nothing else runs
@pytest.mark.parametrize("machines", [(2,), (1, 1)])
def test_two_processes_have_the_losses_of_one(
    tiny_scene: Path,
    tiny_values: dict[str, object],
    alone: Path,
    tmp_path: Path,
    machines: tuple[int, ...],
) -> None:
    script, run = tmp_path / "job.py", tmp_path / "run"
    script.write_text(JOB)
    values = json.dumps({**tiny_values, **CHANGES})
    ended = launch(script, machines, str(tiny_scene), str(run), values)
    for status, _, errors in ended:
        assert status == 0, errors[-3000:]
    said = "".join(out for _, out, _ in ended)
    assert {"rank 0 of 2", "rank 1 of 2"} <= set(said.splitlines())
    one, two = curves(alone), curves(run)
    assert one.keys() == two.keys()
    assert len(one) >= 30 + 3 * 12
    weights = {row["weight_hsi"] for (stage, _), row in one.items() if stage == "pretrain"}
    assert len(weights) > 1, "the balance is steered"
    for (stage, step), row in one.items():
        differ = abs(row["loss"] - two[stage, step]["loss"])
        assert differ <= 1e-5, f"losses of {stage}, step {step}, differ by {differ}"
    names = {path.relative_to(alone) for path in alone.rglob("*")}
    assert names == {path.relative_to(run) for path in run.rglob("*")}


MEETING = """
import os, sys
import torch
from bdgf import compute, config, processes
from bdgf.cli import COMMANDS, main
from bdgf.errors import SceneError

def tell(text):
    os.write(1, f"{me}: {text}\\n".encode())

def missing():
    raise SceneError("a file is missing")

me = processes.rank()
compute.join_processes(config.Settings())
if sys.argv[1:] == ["another"]:  # as NCCL: words take a way of their own
    torch.distributed.get_backend = lambda *group: "another"
tell(processes.of_first(lambda: f"found by {me}"))
own = torch.tensor([0.1, 0.3][me], requires_grad=True)
whole = processes.whole_value(own)
whole.backward()
tell(f"{whole.item().hex()} {own.grad.item()}")
try:
    with processes.together():
        if me == 1:
            missing()
except SceneError as error:
    tell(f"together: {error}")
try:
    with processes.in_turn():
        if me == 0:
            missing()
except SceneError as error:
    tell(f"in turn: {error}")
try:
    processes.of_first(missing)
except SceneError as error:
    tell(f"of the first: {error}")
if me == 1:
    os._exit(3)
COMMANDS["wait"] = ("", lambda words, console: processes.wait())
sys.exit(main(["wait"]))
"""


@pytest.mark.parametrize("backend", ["gloo", "another"])
def test_what_one_finds_or_fails_with_holds_for_all(tmp_path: Path, backend: str) -> None:
    """And where one ends without a word nobody waits for it for ever."""
    script = tmp_path / "meeting.py"
    script.write_text(MEETING)
    ended = launch(script, (1, 1), backend)
    lines = "".join(out for _, out, _ in ended).splitlines()
    total = float(torch.tensor(0.1) + torch.tensor(0.3)).hex()
    told = ["found by 0", f"{total} 1.0"]
    told += [f"{where}: a file is missing" for where in ("together", "in turn", "of the first")]
    for number in ("0", "1"):
        own = [line.partition(": ")[2] for line in lines if line.startswith(f"{number}: ")]
        assert own == told
    assert all(status for status, _, _ in ended)
    assert "bdgf: another process of the job has ended" in "".join(err for _, _, err in ended)


def test_machines_with_other_numbers_of_processes_are_refused(
    tiny_scene: Path, tmp_path: Path
) -> None:
    script = tmp_path / "command.py"
    script.write_text("import sys\nfrom bdgf.cli import main\nsys.exit(main())\n")
    ended = launch(script, (2, 1), "run", str(tiny_scene), "--out", str(tmp_path / "run"))
    assert all(status for status, _, _ in ended)
    errors = "".join(err for _, _, err in ended)
    assert "bdgf: the machines of the job have 1 and 2 processes" in errors
    assert "exitcode  : 2" in errors
    assert "ValueError" not in errors
    assert not (tmp_path / "run").exists()


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
