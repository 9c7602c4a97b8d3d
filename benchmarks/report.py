"""The Markdown of what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.results import Results, Values, figure, table

GOALS = {"whole": 50.0, "MFT": 30.0, "MSFMamba": 40.0, "ExViT": 100.0, "scan": 3.0, "denoiser": 0.6}
MEGABYTE = 2**20
MEMORY_GROWTH = 1.1
LARGE_PEAK = 2e9
JOB_SECONDS = 180.0
"""Of the whole job on a scene of Berlin's size, on CUDA."""
LARGE_RATE = 0.2
"""By how much a pixel of a large map may cost more or less than one of a small map."""


def markdown(results: Results, parts: Sequence[str], setups: Sequence[str]) -> str:
    """Return the tables of the parts that are measured."""
    sections = [_head(results, setups), _ratios(results, setups)]
    for name, section in (
        ("maps", _maps), ("scan", _scan), ("denoiser", _denoiser), ("steps", _steps),
        ("profile", _profile), ("memory", _memory), ("large", _large), ("jobs", _jobs),
        ("growth", _growth),
    ):  # fmt: skip
        if name in parts:
            sections.append(section(results, setups))
    return "\n\n".join(filter(None, sections))


def _head(results: Results, setups: Sequence[str]) -> str:
    """Code, options and machine."""
    options = results.options
    commits = ", ".join(results.commits(setups)) or results.commit
    tiny = "; tiny sizes, whose numbers mean nothing" if options["small"] else ""
    return (
        f"Commit: {commits}; medians of {options['rounds']} rounds; whole jobs with the preset"
        f" {options['preset']}{tiny}.\n\n"
        f"Machine: {'; '.join(f'{k} {v}' for k, v in results.machine.items())}."
    )


def _reached(value: float, goal: float, least: bool = True) -> str:
    return "yes" if (value >= goal if least else value <= goal) else "**no**"


def _ratios(results: Results, setups: Sequence[str]) -> str:
    """The table of ratios to reach."""
    rows: list[list[str]] = []
    for setup in setups:

        def add(what: str, found: str, goal: str, reached: str, setup: str = setup) -> None:
            rows.append([what, setup, found, goal, reached])

        if values := results.get("exactness", setup):
            add(
                f"dense map against per-patch map, same weights, {values['pixels']} pixels",
                f"{values['logits']:.1e} on logits, {values['other_classes']} other classes",
                "≤ 1e-5, same classes",
                _reached(values["logits"] + values["other_classes"], 1e-5, least=False),
            )
            sides = ", ".join(map(str, values["sides"]))
            add(
                f"features, windows of {sides} pixels against the whole scene",
                f"{values['features']:.1e} relative",
                "≤ 1e-6",
                _reached(values["features"], 1e-6, least=False),
            )
        if values := results.get("maps", setup):
            dense, own = _whole(values)
            add("whole map against our own per-patch pipeline", f"{own / dense:.0f} ×", "≥ 50 ×",
                _reached(own / dense, GOALS["whole"]))  # fmt: skip
            for name in ("MFT", "MSFMamba", "ExViT"):
                ratio = values["us"][name] / dense
                add(
                    f"whole map with diffusion features against {name} without",
                    f"{ratio:.0f} ×",
                    f"≥ {GOALS[name]:.0f} ×",
                    _reached(ratio, GOALS[name]),
                )
        if values := results.get("scan", setup):
            ratio = values["ms"]["S6, loop with unbind: both"] / values["ms"]["S6, ours: both"]
            add("scan forward + backward against the `unbind` loop", f"{ratio:.1f} ×", "≥ 3 ×",
                _reached(ratio, GOALS["scan"]))  # fmt: skip
        if values := results.get("denoiser", setup):
            best = max(v for k, v in values["gflops"].items() if k.startswith("product"))
            for name, rate in values["gflops"].items():
                if name.startswith("denoiser"):
                    add(f"{name}: forward GF/s over sgemm GF/s", f"{rate / best:.2f}", "≥ 0.6",
                        _reached(rate / best, GOALS["denoiser"]))  # fmt: skip
        if values := results.get("jobs", setup):
            job = values["jobs"][0]
            gigabytes = job["peak"] / 1e9
            add(f"peak memory of the whole job, {job['size']}", f"{gigabytes:.2f} GB", "≤ 1.5 GB",
                _reached(gigabytes, 1.5, least=False))  # fmt: skip
            for job in values["jobs"]:
                if job["scene"] == "Berlin" and setup == "CUDA":
                    add(f"whole job on a scene of Berlin's size, preset {job['preset']}",
                        f"{job['wall']:.0f} s", f"< {JOB_SECONDS:.0f} s",
                        _reached(job["wall"], JOB_SECONDS, least=False))  # fmt: skip
        if values := results.get("memory", setup):
            # the first scene is less than two windows high, so none of them has all of its halo
            _, middle, last = values["maps"]
            add(
                f"peak memory of a map, height {last['height']} against {middle['height']}",
                f"{middle['peak'] / 1e9:.2f} to {last['peak'] / 1e9:.2f} GB",
                "≤ 1.5 GB, independent",
                "yes" if last["peak"] <= min(1.5e9, MEMORY_GROWTH * middle["peak"]) else "**no**",
            )
        if values := results.get("large", setup):
            _, small, complete, sparse = values["maps"]
            rate = complete["us"] / small["us"]
            add(f"a pixel of a map of {complete['name']}, against {small['name']}", f"{rate:.2f} ×",
                "0.8 to 1.2 ×", _reached(abs(rate - 1), LARGE_RATE, least=False))  # fmt: skip
            add(f"peak memory of a map of {sparse['name']}", f"{sparse['peak'] / 1e9:.2f} GB",
                "< 2 GB", _reached(sparse["peak"], LARGE_PEAK, least=False))  # fmt: skip
    if not rows:
        return ""
    columns = ["Ratio", "Setup", "Measured", "Goal", "Reached"]
    return f"### Ratios to reach\n\n{table(columns, rows)}"


def _whole(values: Values) -> tuple[float, float]:
    """Microseconds a pixel of the dense map and of the per-patch pipeline."""
    us = values["us"]
    return (
        us["features, dense"] + us["branches, dense"],
        us["features, own patch"] + us["branches, own patch"],
    )


def _maps(results: Results, setups: Sequence[str]) -> str:
    rows = []
    for setup in setups:
        if not (values := results.get("maps", setup)):
            continue
        us, pixels = values["us"], values["pixels"]
        dense, own = _whole(values)
        entries = [
            ("diffusion features, dense", us["features, dense"], "all pixels"),
            ("branches, dense", us["branches, dense"], "all pixels"),
            ("**whole map, dense**", dense, "all pixels"),
            ("diffusion features, a crop of 16 × 16 per pixel", us["features, own patch"], ""),
            ("branches, a patch of 11 × 11 per pixel", us["branches, own patch"], ""),
            ("whole map, per patch", own, ""),
        ]
        entries += [(f"{n}, written by us", us[n], "") for n in ("MFT", "MSFMamba", "ExViT")]
        for name, value, counted in entries:
            how = counted or f"{values['sample']} pixels, scene extrapolated"
            seconds = value * pixels / 1e6
            rows.append([name, setup, figure(value), figure(seconds), f"{value / dense:.1f}", how])
    if not rows:
        return ""
    columns = [
        "Way to a map",
        "Setup",
        "µs a pixel",
        "s a scene",
        "of the dense map",
        "measured on",
    ]
    return f"### A whole map\n\n{table(columns, rows)}"


def _scan(results: Results, setups: Sequence[str]) -> str:
    rows, error, size = [], 0.0, ""
    for setup in setups:
        if not (values := results.get("scan", setup)):
            continue
        error, size = max(error, values["error"]), values["size"]
        names = dict.fromkeys(name.rsplit(":", 1)[0] for name in values["ms"])
        ours = values["ms"]["S6, ours: both"]
        for name in names:
            forward, both = (values["ms"][f"{name}: {kind}"] for kind in ("forward", "both"))
            rows.append([name, setup, figure(forward), figure(both), f"{both / ours:.2f}"])
    if not rows:
        return ""
    columns = ["Scan", "Setup", "forward, ms", "forward + backward, ms", "of ours"]
    note = f"{size}; largest relative error of ours, gradients included: {error:.1e}."
    parts = [f"### Selective scan\n\n{table(columns, rows)}\n\n{note}"]
    for setup in setups:
        if (values := results.get("scan", setup)) and values["passes"]:
            found = [
                [name, count, figure(ms), figure(count * ms)]
                for name, (count, ms) in values["passes"].items()
            ]
            total = sum(count * ms for count, ms in values["passes"].values())
            found.append(["**together**", "", "", f"**{figure(total)}**"])
            head = [f"Pass over all states, {setup}", "times", "ms each", "ms"]
            parts.append(table(head, found))
    return "\n\n".join(parts)


def _denoiser(results: Results, setups: Sequence[str]) -> str:
    rows = []
    for setup in setups:
        if values := results.get("denoiser", setup):
            for name, rate in values["gflops"].items():
                per_pixel = values["us"].get(name)
                us = figure(per_pixel) if per_pixel else ""
                rows.append([name, setup, figure(rate), us])
    if not rows:
        return ""
    columns = ["Work", "Setup", "GF/s", "µs a pixel"]
    return f"### Denoiser and matrix products\n\n{table(columns, rows)}"


def _steps(results: Results, setups: Sequence[str]) -> str:
    rows = []
    for setup in setups:
        if not (values := results.get("steps", setup)):
            continue
        for name in ("pre-training", "training"):
            seconds = values["seconds"][name]
            loading = values["seconds"][f"{name}, loading"]
            batch = str(values["batch"][name])
            if name == "training" and values["unlabelled"]:
                batch += f" + {values['unlabelled']} unlabelled"
            rows.append(
                [
                    name,
                    setup,
                    "bf16" if values["precisions"][name] == "bf16-mixed" else "float32",
                    figure(1 / seconds),
                    batch,
                    figure(values["pixels"][name] / seconds / 1e6),
                    f"{100 * loading / seconds:.1f} %",
                ]
            )
    if not rows:
        return ""
    columns = ["Training", "Setup", "precision", "steps a second", "batch", "M pixels a second",
               "loading data"]  # fmt: skip
    return f"### Steps\n\n{table(columns, rows)}"


def _profile(results: Results, setups: Sequence[str]) -> str:
    phases, operators = [], []
    for setup in setups:
        if not (values := results.get("profile", setup)):
            continue
        for name, found in values["phases"].items():
            largest, share, _ = found["operators"][0]
            on_gpu = "busy" in found
            phases.append(
                [
                    name,
                    setup,
                    figure(1e3 * found["seconds"]),
                    f"{100 * found['busy']:.0f} %" if on_gpu else "",
                    f"{found['gpu_peak'] / MEGABYTE:.0f}" if on_gpu else "",
                    f"{largest}, {100 * share:.0f} %",
                ]
            )
            for operator, share, calls in found["operators"]:
                of = "GPU's busy time" if on_gpu else "time on the clock"
                operators.append([name, setup, operator, f"{100 * share:.1f} %", of, calls or ""])
    if not phases:
        return ""
    columns = ["Phase", "Setup", "ms, profiled", "GPU busy", "GPU peak MB", "largest cost"]
    spent = ["Phase", "Setup", "Operator", "own time", "of the", "calls"]
    return f"### What the time goes to\n\n{table(columns, phases)}\n\n{table(spent, operators)}"


def _memory(results: Results, setups: Sequence[str]) -> str:
    rows = []
    for setup in setups:
        if values := results.get("memory", setup):
            for row in values["maps"]:
                size = f"{row['height']} × {row['width']}, {row['bands']} bands"
                per_pixel = 1e6 * row["seconds"] / row["height"] / row["width"]
                rows.append(
                    [
                        size,
                        setup,
                        f"{row['peak'] / MEGABYTE:.0f}",
                        figure(row["seconds"]),
                        figure(per_pixel),
                    ]
                )
    if not rows:
        return ""
    columns = ["Scene", "Setup", "peak MB", "s", "µs a pixel"]
    return f"### Memory of `bdgf map RUN --scene`, a process of its own\n\n{table(columns, rows)}"


def _large(results: Results, setups: Sequence[str]) -> str:
    rows: list[list[str]] = []
    for setup in setups:
        if values := results.get("large", setup):
            for row in values["maps"]:
                rows.append(
                    [
                        row["name"],
                        f"{row['pixels']:,}",
                        setup,
                        f"{row['peak'] / MEGABYTE:.0f}",
                        figure(row["seconds"]),
                        figure(row["us"]) if rows else "",
                    ]
                )
    if not rows:
        return ""
    columns = ["Scene", "pixels with data", "Setup", "peak MB", "s", "µs a pixel, start apart"]
    title = "### Large scenes: `bdgf map RUN --scene`, 12 optical bands and 2 of radar"
    return f"{title}\n\n{table(columns, rows)}"


def _jobs(results: Results, setups: Sequence[str]) -> str:
    rows = []
    for setup in setups:
        if values := results.get("jobs", setup):
            for job in values["jobs"]:
                stages = ", ".join(f"{n} {s:.0f}" for n, s in job["stages"].items())
                rows.append(
                    [job["size"], setup, job["preset"], f"{job['wall']:.0f}", f"{job['cpu']:.0f}",
                     f"{job['peak'] / MEGABYTE:.0f}",
                     f"{job['gpu_peak'] / MEGABYTE:.0f}" if setup == "CUDA" else "", stages]
                )  # fmt: skip
    if not rows:
        return ""
    columns = ["Scene", "Setup", "preset", "s", "user s", "peak MB", "GPU peak MB",
               "seconds of the stages"]  # fmt: skip
    return f"### The whole job: `bdgf run`, a process of its own\n\n{table(columns, rows)}"


def _growth(results: Results, setups: Sequence[str]) -> str:
    rows = []
    for setup in setups:
        if values := results.get("growth", setup):
            for factor, found in values["growth"].items():
                for row in found:
                    rows.append(
                        [factor, f"{row[factor]:,}", setup, figure(row["seconds"]),
                         f"{row['peak'] / MEGABYTE:.0f}"]
                    )  # fmt: skip
    if not rows:
        return ""
    columns = ["What grows", "to", "Setup", "s", "peak MB"]
    return f"### Growth of the whole job\n\n{table(columns, rows)}"
