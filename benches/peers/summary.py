"""From the parts of the benchmark to ratios, targets and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TARGETS = {
    "nbgrader, graded cells alone": (20, "x throughput"),
    "nbgrader, graded cells alone, class of 1000": (20, "x throughput"),
    "nbgrader, real lesson": (50, "x throughput"),
    "otter, graded cells alone": (10, "x throughput"),
    "1000 submissions / 100": (10.5, "x the time at most"),
    "memory, 1000 / 100": (1.1, "x at most"),
    "overhead per exercise, s": (0.05, "at most"),
    "first verdict, s": (6.0, "at most"),
    "one submission alone, s": (10.0, "at most"),
}


def of(parts: dict[str, dict[str, Any]], machine: dict[str, Any]) -> dict[str, Any]:
    """Return all figures, the ratios that can be formed from them, and the load under which each was taken."""
    figures = {name: part["figures"] for name, part in parts.items()}
    told = {what: {name: parts[name][what] for name in sorted(parts)} for what in ("date", "load_before", "seconds")}
    return {"machine": machine, **told, "parts": figures, "ratios": _ratios(figures), "targets": TARGETS}


def parts_of(published: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the parts of figures that were published earlier, each with its own date and load."""
    return {
        name: {"figures": figures, **{what: published[what][name] for what in ("date", "load_before", "seconds")}}
        for name, figures in published["parts"].items()
    }


def _ratios(parts: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, peer, own in (
        ("nbgrader, graded cells alone", "nbgrader_core", "ours_core_100"),
        ("nbgrader, real lesson", "nbgrader_real", "ours_100"),
        ("otter, graded cells alone", "otter_core", "ours_core_100"),
        ("nbgrader, graded cells alone, class of 10", "nbgrader_core", "ours_core_10"),
        ("nbgrader, graded cells alone, class of 1000", "nbgrader_core", "ours_core_1000"),
        ("nbgrader, real lesson, class of 10", "nbgrader_real", "ours_10"),
        ("otter, graded cells alone, class of 10", "otter_core", "ours_core_10"),
    ):
        if isinstance(parts.get(peer), list) and own in parts:
            theirs, ours = parts[peer][-1], parts[own]
            found[name] = round(_each(theirs, "wall_s") / _each(ours, "wall_s"), 1)
            if theirs["cpu_s"] and ours["cpu_s"]:
                found[f"{name}, processor seconds"] = round(_each(theirs, "cpu_s") / _each(ours, "cpu_s"), 1)
    if "ours_small_1000" in parts and "ours_small_100" in parts:
        large, small = parts["ours_small_1000"], parts["ours_small_100"]
        found["1000 submissions / 100"] = round(large["wall_s"] / small["wall_s"], 2)
        found["memory, 1000 / 100"] = round(large["peak_mib"] / small["peak_mib"], 2)
    if "ours_100" in parts and "ours_10" in parts:
        found["100 submissions / 10"] = round(parts["ours_100"]["wall_s"] / parts["ours_10"]["wall_s"], 2)
        found["memory, 100 / 10"] = round(parts["ours_100"]["peak_mib"] / parts["ours_10"]["peak_mib"], 2)
    if "overhead" in parts:
        found["overhead per exercise, s"] = round(parts["overhead"]["beyond_s"], 4)
    if "ours_1" in parts:
        found["first verdict, s"] = found["one submission alone, s"] = round(parts["ours_1"]["first_verdict_s"], 2)
    return found


def _each(part: dict[str, Any], what: str) -> float:
    return float(part[what]) / int(part["submissions"])


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw processor seconds and wall clock per submission, on a logarithmic axis, where only points are honest."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "dlcv"
    from matplotlib.figure import Figure

    parts = figures["parts"]
    rows = [("nbgrader,\nreal lesson", "nbgrader_real"), ("nbgrader,\ngraded cells", "nbgrader_core"),
            ("otter,\ngraded cells", "otter_core"), ("ours,\nclass of 10", "ours_10"),
            ("ours,\nclass of 100", "ours_100")]  # fmt: skip
    rows = [(label, parts[name][-1] if isinstance(parts[name], list) else parts[name]) for label, name in rows
            if isinstance(parts.get(name), list | dict)][::-1]  # fmt: skip
    picture = Figure(figsize=(4.4, 3.6), layout="constrained")  # readable on a phone
    axes = picture.subplots()
    for offset, what, colour, shape, label in (
        (0.15, "wall_s", "#0072B2", "o", "wall clock"),
        (-0.15, "cpu_s", "#B3541E", "s", "processor"),
    ):
        known = [(_each(part, what), i + offset) for i, (_, part) in enumerate(rows) if part[what]]
        axes.plot(*zip(*known), shape, color=colour, label=label)
        for seconds, y in known:
            axes.annotate(f"{seconds:.2g} s", (seconds, y), (7, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xscale("log")
    axes.set_xlim(0.1, 300)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("seconds per submission")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    picture.savefig(path, metadata={"Date": None})
