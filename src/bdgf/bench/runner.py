"""Running the cells that are not finished yet, some at a time where there are cores for it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from bdgf import presets
from bdgf.bench.cells import Cell, Result, fingerprint, read_result
from bdgf.bench.cross_model.sources import Elsewhere
from bdgf.bench.methods import find, named_files, outside_signature
from bdgf.bench.variants import changes_of
from bdgf.bench.worker import work
from bdgf.config import Settings
from bdgf.errors import BdgfError, RunFolderError, SceneError, SettingsError, TrainingError
from bdgf.files import absolute, atomic_write_text, file_name
from bdgf.progress import Progress
from bdgf.scene.scene import Scene
from bdgf.stages import plain
from bdgf.validation import validate


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Args:
        scenes: Paths of scene files.
        methods: Names of methods.
        seeds: Seeds.
        budgets: Numbers of training pixels per class, None for all.
        settings: Settings of all; the seed is replaced.
        jobs: Cells at a time, each in a process of its own, with its part of the cores where the
            settings name no number of threads; 0 does them in this process, where memory cannot be
            told apart.
        elsewhere: Denoisers and features of other models.
    """

    scenes: tuple[Path, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    budgets: tuple[int | None, ...]
    settings: Settings
    jobs: int = 1
    elsewhere: Elsewhere = field(default_factory=Elsewhere)


JOB_BYTES = 4 << 30
"""Memory that a cell at a time should have for itself."""


def jobs_for(lanes: int, cuda: bool) -> int:
    """Return how many cells are done at a time: each has a core and 4 GiB, one has the GPU.

    Args:
        lanes: Pairs of scene and seed; the cells of one go one after the other.
        cuda: Whether the networks run on a GPU, which cells would only share.
    """
    names = getattr(os, "sysconf_names", {})  # there are none on Windows
    if cuda or not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(names):
        return 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(lanes, os.cpu_count() or 1, memory // JOB_BYTES))


def _each_once(plan: Plan) -> Plan:
    """Return the plan without what is named twice, which is no repetition; paths are absolute."""
    return dataclasses.replace(
        plan,
        scenes=tuple(dict.fromkeys(absolute(path) for path in plan.scenes)),
        methods=tuple(dict.fromkeys(plan.methods)),
        seeds=tuple(dict.fromkeys(plan.seeds)),
        budgets=tuple(dict.fromkeys(plan.budgets)),
    )


class Bench:
    """A comparison in a folder; what is finished there is not done again.

    Args:
        plan: What is compared.
        folder: The folder.
        progress: Receives lines and steps.

    Raises:
        BdgfError: A scene, a method or the folder cannot be used.
    """

    def __init__(self, plan: Plan, folder: Path, progress: Progress) -> None:
        plan = _each_once(plan)
        self.plan, self.folder, self.progress = plan, folder, progress
        self._starting, self._stopped = threading.Lock(), False
        self._running: set[subprocess.Popen[str]] = set()
        validate(plan.settings)
        for name in plan.methods:
            find(name)
            plan.elsewhere.check(name)
            try:
                validate(presets.replace(plan.settings, dict(changes_of(name) or {})))
            except SettingsError as error:
                raise SettingsError(f"{name}: {error}") from None
        self.scenes = {path: Scene.open(path) for path in plan.scenes}
        names = [scene.name for scene in self.scenes.values()]
        if len({file_name(name) for name in names}) < len(names):
            raise SceneError(
                "two of the scenes have the same name, or the same but for signs that no file may"
                f" have ({', '.join(sorted(names))}); tables tell scenes by their names: rename one"
                " in its scene file."
            )
        for path, scene in self.scenes.items():
            if not len(scene.positions("train")):
                raise SceneError(f"{path} has labels for testing only: add 'train: ...' to them.")
            if not len(scene.positions("test")):
                raise SceneError(
                    f"{path} has no test pixel, and a comparison needs some: add test labels, or"
                    " 'split: {random: 20 per class}'."
                )
        # by scene, seed and labels: variants that share a denoiser follow one another
        self.cells = [
            Cell(str(path), self.scenes[path].name, method, seed, budget)
            for path, seed, budget, method in itertools.product(
                plan.scenes, plan.seeds, plan.budgets, plan.methods
            )
            # a scene's own denoiser is none from elsewhere
            if not plan.elsewhere.left_out(method, self.scenes[path], seed)
        ]
        if not self.cells:
            raise SettingsError(
                "there is nothing to compare: no method is named, or only denoisers of the scenes"
                " themselves; name methods or groups with --methods, such as core."
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"{folder} cannot be used ({error.strerror}); give another folder with --out."
            ) from None

    def run(self) -> list[Result]:
        """Do what is not finished, and return the results of all cells.

        Raises:
            TrainingError: A cell failed; the others are done all the same.
        """
        marks = self._marks()
        waiting = [c for c in self.cells if read_result(self.folder, c, marks[c]) is None]
        done = len(self.cells) - len(waiting)
        if done:
            self.progress.say(f"{done} of {len(self.cells)} cells were finished before")
        # cells of one scene and seed share a folder of runs, so they go one after the other
        groups: dict[tuple[str, int], list[Cell]] = {}
        for cell in waiting:
            groups.setdefault((cell.name, cell.seed), []).append(cell)
        if self.plan.jobs == 0:
            failed = [error for cells in groups.values() for error in self._group(cells)]
        else:
            failed = self._at_a_time(list(groups.values()))
        if failed:
            raise TrainingError(
                f"{len(failed)} of {len(self.cells)} cells failed, the first with: {failed[0]} The"
                " others are finished; the same command tries these again, and without that method"
                " in --methods it gives the table of the others."
            )
        results = []
        for cell in self.cells:
            result = read_result(self.folder, cell, marks[cell])
            if result is None:
                raise RunFolderError(
                    f"{cell.file(self.folder)} is gone or no longer that of this comparison: a"
                    " file that it depends on was changed meanwhile; the same command goes on."
                )
            results.append(result)
        return results

    def _at_a_time(self, groups: Sequence[Sequence[Cell]]) -> list[str]:
        """Do groups of cells beside each other; end them all where this is interrupted."""
        failed = []
        with ThreadPoolExecutor(max_workers=self.plan.jobs) as pool:
            queue = [pool.submit(self._group, cells) for cells in groups]
            try:
                for future in as_completed(queue):
                    failed += future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                with self._starting:
                    self._stopped = True
                    for process in self._running:
                        process.kill()
                raise
        return failed

    def _marks(self) -> dict[Cell, str]:
        """Fingerprint of every cell; the thinned labels enter by the scene's signature."""
        marks: dict[Cell, str] = {}
        named: dict[tuple[str, str], str] = {}
        for cell in self.cells:
            scene = self.scenes[Path(cell.scene)]
            spec = dataclasses.replace(
                scene.spec,
                budget=cell.budget,
                budget_seed=cell.seed if cell.budget is not None else 0,
            )
            images, labels = spec.signature("images"), spec.signature("labels")
            key = cell.scene, cell.method
            if key not in named:
                named[key] = named_files(cell.method, self.plan.settings, scene)
            outside = outside_signature(
                cell.method, self.plan.elsewhere, scene, cell.seed, named[key]
            )
            marks[cell] = fingerprint(cell, self.plan.settings, images, labels, outside)
        return marks

    def _settings(self) -> Settings:
        """Return the settings of a cell: cells at a time share the cores unless told otherwise."""
        settings = self.plan.settings
        if self.plan.jobs < 2 or settings.compute.threads:
            return settings
        threads = max(1, (os.cpu_count() or 1) // self.plan.jobs)
        return presets.replace(settings, {"compute.threads": threads})

    def _group(self, cells: Sequence[Cell]) -> list[str]:
        """Do cells one after the other; return what went wrong."""
        failed = []
        for cell in cells:
            if self._stopped:
                break
            self.progress.say(f"{cell.name}, {cell.labels}, seed {cell.seed}: {cell.method}")
            error = self._do(cell)
            if error:
                failed.append(f"{cell.method} on {cell.name}: {error}")
        return failed

    def _do(self, cell: Cell) -> str | None:
        name = f"{cell.file(self.folder).stem}.{file_name(cell.name)}.json"
        task = self.folder / "tasks" / name
        task.parent.mkdir(exist_ok=True)
        values = {
            "folder": str(self.folder.resolve()),
            "cell": dataclasses.asdict(cell),
            "settings": plain(self._settings()),
            "elsewhere": dataclasses.asdict(self.plan.elsewhere),
        }
        atomic_write_text(task, json.dumps(values, indent=2))
        if self.plan.jobs == 0:
            try:
                work(task)
            except BdgfError as error:
                return str(error)
            task.unlink(missing_ok=True)
            return None
        command = [sys.executable, "-m", "bdgf.bench.worker", str(task)]
        # it ends when the other end of its input closes, as happens when this process is killed
        theirs, ours = os.pipe()
        try:
            with self._starting:
                if self._stopped:
                    return "it was interrupted."
                process = subprocess.Popen(
                    command,
                    stdin=theirs,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                self._running.add(process)
            _, said = process.communicate()
        finally:
            os.close(theirs)
            os.close(ours)
        with self._starting:
            self._running.discard(process)
        if process.returncode:
            lines = said.strip().splitlines()
            if not lines:
                return f"its process ended with status {process.returncode}."
            log = task.with_suffix(".log")
            atomic_write_text(log, said)
            return f"{lines[-1].rstrip('.')} (all that it said: {log})."
        task.unlink(missing_ok=True)
        task.with_suffix(".log").unlink(missing_ok=True)
        return None
