"""All benchmarks that are declared, and finding one by its name."""

from __future__ import annotations

import difflib
import re

from bdgf.errors import SceneError
from bdgf.scene.benchmarks.declaration import Benchmark
from bdgf.scene.benchmarks.estuary import YELLOW_RIVER_5, YELLOW_RIVER_18
from bdgf.scene.benchmarks.germany import AUGSBURG, BERLIN
from bdgf.scene.benchmarks.hong_kong import LCZ_HK
from bdgf.scene.benchmarks.houston2013 import HOUSTON2013
from bdgf.scene.benchmarks.houston2018 import HOUSTON2018
from bdgf.scene.benchmarks.muufl import MUUFL
from bdgf.scene.benchmarks.trento import TRENTO

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        BERLIN,
        AUGSBURG,
        YELLOW_RIVER_5,
        YELLOW_RIVER_18,
        LCZ_HK,
        HOUSTON2013,
        HOUSTON2018,
        TRENTO,
        MUUFL,
    )
}
"""Every benchmark by its name on the command line."""


def find(name: str) -> Benchmark:
    """Return the benchmark of a name or alias; case, spaces and hyphens do not matter.

    Raises:
        SceneError: No benchmark has this name, or several have.
    """
    known: dict[str, list[Benchmark]] = {}
    for benchmark in BENCHMARKS.values():
        for alias in dict.fromkeys(map(plain, (benchmark.name, *benchmark.aliases))):
            known.setdefault(alias, []).append(benchmark)
    found = known.get(plain(name), [])
    if len(found) == 1:
        return found[0]
    if found:
        listed = " and ".join(f"{one.name} ({one.title})" for one in found)
        raise SceneError(
            f"{len(found)} data sets go by the name {name!r}: {listed}; name one of them."
        )
    near = difflib.get_close_matches(plain(name), known, n=1, cutoff=0.6)
    hint = f" Did you mean {known[near[0]][0].name}?" if near else ""
    raise SceneError(
        f"no benchmark is named {name!r}.{hint} The declared ones are {', '.join(BENCHMARKS)}; for"
        " any other data write a scene file ('bdgf inspect FILES --write scene.yaml')."
    )


def plain(name: str) -> str:
    """Return a name in lower case with its letters and digits alone."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
