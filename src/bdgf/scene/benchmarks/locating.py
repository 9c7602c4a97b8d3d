"""Finding the files of a benchmark in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from bdgf.errors import SceneError
from bdgf.scene.benchmarks.catalogue import plain
from bdgf.scene.benchmarks.checking import check_files
from bdgf.scene.benchmarks.declaration import Benchmark, Container, Found

DEEPEST = 3
"""Folders below the given one that are searched."""


def locate(benchmark: Benchmark, root: Path) -> Found:
    """Find the files of a benchmark in a folder and the folders below it.

    Names are compared without regard to case. Where several data sets with the same file names
    lie below the folder, the files that have the declared shapes are taken; of several containers
    the one with most modalities.

    Args:
        benchmark: The benchmark.
        root: The folder.

    Raises:
        SceneError: The folder is missing, or no container is complete; the message says which
            files are there, which are missing, and the page to get them from.
    """
    if not root.is_dir():
        raise SceneError(f"{root} is no folder; name the folder that holds {benchmark.title}.")
    wanted = {
        name.lower()
        for container in benchmark.containers
        for file, others in container.files().items()
        for name in (file, *others)
    }
    there: dict[str, list[Path]] = {}
    for path in _walk(root):
        if path.name.lower() in wanted:
            there.setdefault(path.name.lower(), []).append(path)
    complete = [found for c in benchmark.containers for found in _sets(benchmark, c, there, root)]
    if not complete:
        raise _missing(benchmark, there, root)
    return min(complete, key=lambda found: _rank(found, root))


def is_there(benchmark: Benchmark, container: Container, root: Path) -> bool:
    """Whether the files of a container lie below a folder with the declared shapes.

    Other data sets have files of the same names.
    """
    there: dict[str, list[Path]] = {}
    for path in _walk(root):
        there.setdefault(path.name.lower(), []).append(path)
    return any(_fits(found) for found in _sets(benchmark, container, there, root))


def _walk(root: Path) -> Iterator[Path]:
    """Files of a folder and those below it, near ones first, hidden folders left out."""
    level = [root]
    for _ in range(DEEPEST + 1):
        deeper = []
        for folder in level:
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                raise SceneError(
                    f"{folder} cannot be read ({error.strerror}); name a folder that can."
                ) from error
            for entry in entries:
                if entry.is_file():
                    yield Path(entry.path)
                elif entry.is_dir() and not entry.name.startswith("."):
                    deeper.append(Path(entry.path))
        level = deeper


def _sets(
    benchmark: Benchmark, container: Container, there: Mapping[str, list[Path]], root: Path
) -> Iterator[Found]:
    """Every way to take a container's files from one folder and what lies below it."""
    seen = set()
    for folder in _folders(there, root):
        files = {}
        for file, others in container.files().items():
            inside = [
                path
                for name in (file, *others)
                for path in there.get(name.lower(), [])
                if path.is_relative_to(folder)
            ]
            if inside:
                files[file] = min(inside, key=lambda path: len(path.parts))
        if len(files) == len(container.files()) and tuple(files.values()) not in seen:
            seen.add(tuple(files.values()))
            yield Found(benchmark, container, files)


def _folders(there: Mapping[str, list[Path]], root: Path) -> list[Path]:
    """Folders of the files and those between them and the root, deepest first."""
    folders = {
        folder
        for paths in there.values()
        for path in paths
        for folder in path.parents
        if folder.is_relative_to(root)
    }
    return sorted(folders, key=lambda folder: (-len(folder.parts), folder))


def _rank(found: Found, root: Path) -> tuple[bool, int, bool, bool, bool, int, int]:
    """Order of preference: what fits, then what is complete, official, split, named and near."""
    container, paths = found.container, found.files.values()
    names = {plain(name) for name in (found.benchmark.name, *found.benchmark.aliases)}
    parts = [plain(part) for path in paths for part in path.relative_to(root).parts[:-1]]
    named = any(name in part for part in parts for name in names)
    return (
        not _fits(found),
        -len(container.modalities),
        not container.official,
        container.split != "given",
        not named,
        sum(len(path.parts) for path in paths),
        found.benchmark.containers.index(container),
    )


def _fits(found: Found) -> bool:
    try:
        check_files(found)
    except SceneError:
        return False
    return True


def _missing(benchmark: Benchmark, there: Mapping[str, list[Path]], root: Path) -> SceneError:
    def held(container: Container) -> list[str]:
        return [
            file
            for file, others in container.files().items()
            if any(name.lower() in there for name in (file, *others))
        ]

    nearest = max(benchmark.containers, key=lambda c: len(held(c)) / len(c.files()))
    have = held(nearest)
    lack = [file for file in nearest.files() if file not in have]
    state = f"{_and(have)} {'is' if len(have) == 1 else 'are'} there" if have else "none is there"
    verb = "is" if len(lack) == 1 else "are"
    others = ""
    if len(benchmark.containers) > 1:
        rest = [c for c in benchmark.containers if c is not nearest]
        others = f" (or the files of {_or(c.name for c in rest)}, see docs/benchmarks.md)"
    return SceneError(
        f"{root} does not hold the files of {benchmark.title} as handed out by {nearest.origin}:"
        f" {state}, {_and(lack)} {verb} missing{others}; get them at {benchmark.page}."
    )


def _and(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _or(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
