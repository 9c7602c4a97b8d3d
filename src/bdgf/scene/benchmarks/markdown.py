"""The page of all declared benchmarks, for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping

from bdgf.scene.benchmarks.catalogue import BENCHMARKS
from bdgf.scene.benchmarks.declaration import Benchmark, Container, Doubt, Stored

_DOUBTS: dict[Doubt, str] = {
    "files": "names of files and arrays",
    "size": "rows and columns",
    "bands": "bands",
    "counts": "pixels per class",
    "classes": "names or codes of the classes",
}


def markdown() -> str:
    """Return one section per benchmark, as declared, in Markdown."""
    return "\n".join(_section(benchmark) for benchmark in BENCHMARKS.values())


def _section(benchmark: Benchmark) -> str:
    names = ", ".join(f"`{name}`" for name in (benchmark.name, *benchmark.aliases))
    lines = [
        f"## {benchmark.title}",
        "",
        f"- Name: {names}",
        f"- Page: <{benchmark.page}>",
        f"- Licence: {benchmark.licence}",
        f"- Cite: {benchmark.citation}",
        *(f"- {note}" for note in benchmark.notes),
        "",
        *_containers(benchmark),
        *_classes(benchmark),
        *_downloads(benchmark),
    ]
    return "\n".join(lines)


def _containers(benchmark: Benchmark) -> list[str]:
    lines = [
        "| Container | What | File | Key | Rows × columns × bands | Type |",
        "|---|---|---|---|---|---|",
    ]
    for container in benchmark.containers:
        for number, (what, stored) in enumerate(container.used().items()):
            name = f"`{container.name}`" if number == 0 else ""
            files = ", or ".join(f"`{file}`" for file in (stored.file, *stored.other_files))
            keys = ", or ".join(f"`{key}`" for key in (stored.key, *stored.other_keys) if key)
            lines.append(
                f"| {name} | {_what(container, what, stored)} | {files} | {keys or '–'} |"
                f" {_shape(stored)} | {stored.dtype or '–'} |"
            )
    lines.append("")
    for container in benchmark.containers:
        facts = [f"From {container.origin}."]
        facts.append(f"Split: {_split(container)}.")
        facts += container.notes
        if container.doubts:
            listed = ", ".join(_DOUBTS[doubt] for doubt in container.doubts)
            facts.append(f"**Unverified: {listed}.**")
        lines.append(f"- `{container.name}`: {' '.join(facts)}")
    return [*lines, ""]


def _what(container: Container, what: str, stored: Stored) -> str:
    roles = {modality.name: modality.role for modality in container.modalities}
    if what in roles:
        return f"{what} ({roles[what]})"
    forms = {"raster": "", "pixels": ", list of pixels", "roi": ", text of ENVI regions"}
    return what + forms[stored.form]


def _shape(stored: Stored) -> str:
    if stored.form == "pixels":
        return f"{stored.shape[0] or '?'} × 2"
    return " × ".join(map(str, stored.shape))


def _split(container: Container) -> str:
    made = "official" if container.official else "not official"
    if isinstance(container.split, Mapping):
        kind, options = next(iter(container.split.items()))
        return f"{kind}, {options['per_class']} per class, seed {options['seed']} ({made})"
    return f"{container.split} ({made})"


def _classes(benchmark: Benchmark) -> list[str]:
    columns: dict[str, Container] = {}
    for container in benchmark.containers:
        if container.counts_train is not None and container.counts_test is not None:
            same = [
                name
                for name, other in columns.items()
                if (other.counts_train, other.counts_test)
                == (container.counts_train, container.counts_test)
            ]
            if same:
                columns[f"{same[0]}, `{container.name}`"] = columns.pop(same[0])
            else:
                columns[f"`{container.name}`"] = container
    head = "".join(f" {name}: train | test |" for name in columns)
    lines = [f"| Code | Class | Colour |{head}", "|---:|---|---|" + "---:|---:|" * len(columns)]
    for code, (name, color) in benchmark.classes.items():
        cells = "".join(
            f" {_number(c.counts_train, code)} | {_number(c.counts_test, code)} |"
            for c in columns.values()
        )
        lines.append(f"| {code} | {name} | `{color}` |{cells}")
    totals = "".join(
        f" {sum((c.counts_train or {}).values()):,} | {sum((c.counts_test or {}).values()):,} |"
        for c in columns.values()
    )
    return [*lines, f"| | all | |{totals}", ""]


def _number(counts: Mapping[int, int] | None, code: int) -> str:
    return "–" if counts is None else f"{counts[code]:,}"


def _downloads(benchmark: Benchmark) -> list[str]:
    if not benchmark.downloads:
        return ["No direct download is known.", ""]
    lines = ["| Download | Container | SHA-256 | How |", "|---|---|---|---|"]
    for download in benchmark.downloads:
        how = "open to everyone" if download.allowed else "by hand, on the page's terms"
        lines.append(
            f"| <{download.url}> | `{download.container}` | `{download.sha256 or 'not known'}` |"
            f" {how} |"
        )
    return [*lines, ""]
