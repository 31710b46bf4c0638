"""Benchmark results as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wav_models.bench.cost import COMPONENTS
from wav_models.bench.cost_table import FORMS


def planner_text(result: dict[str, Any]) -> str:
    """Result of `bench.planner.run`: one row per stage."""
    plan = result["plan"]
    lines = [
        f"{result['model']}, K {plan['num_iterations']}, M {plan['num_video_samples']}, "
        f"N {plan['num_value_samples']}, {result['dtype']}, {result['memory']} memory, {result['threads']} threads, "
        f"median of {result['repeat']}, {result['clock']} clock",
        f"matrix product: {result['gemm_flops_per_second'] / 1e9:.0f} GFLOP/s; "
        f"load before: {result['machine']['load_before']:.1f} on {result['machine']['cpus']} CPUs",
    ]
    for name in ("cached", "naive"):
        if name not in result:
            continue
        part = result[name]
        rows = [
            [stage, f"{seconds:.3f}", f"{part['flops'][stage] / 1e9:.1f}", f"{part['gemm_fraction'][stage]:.0%}"]
            for stage, seconds in part["seconds"].items()
        ]
        lines += ["", *_table([name, "seconds", "GFLOP", "of the matrix product"], rows)]
    if "speedup" in result:
        lines += ["", f"naive / cached: {result['speedup']:.2f}"]
    if result.get("score_difference") is not None:
        lines.append(f"largest difference of a score: {result['score_difference']:.1g} standard deviations")
    return "\n".join(lines)


def cost_text(result: dict[str, Any]) -> str:
    """Result of `cost_table.cost_table`: totals, components, and bounds."""
    totals, components, bounds = [], [], []
    for entry in result["plans"]:
        plan = entry["plan"]
        label = f"{plan['num_iterations']}, {plan['num_video_samples']}, {plan['num_value_samples']}"
        totals.append(
            [label]
            + [f"{entry['forms'][form]['total']['flops'] / 1e12:.3g} ({_gigabytes(entry, form)})" for form in FORMS]
        )
        for form, name in FORMS.items():
            costs = entry["forms"][form]
            values = [costs["components"][component]["flops"] / 1e12 for component in COMPONENTS]
            components.append([label, name, *(f"{value:.3g}" for value in values)])
            bounds.append([label, name, *(f"{seconds:.3g}" for seconds in costs["lower_bound_seconds"].values())])
    names = [accelerator["name"] for accelerator in result["accelerators"]]
    return "\n".join(
        [
            f"{result['model']}: computed from the shapes, not measured. Bytes: {result['bytes_per_number']} a number.",
            "",
            *_table(["TFLOP (GB)  K, M, N", *FORMS.values()], totals),
            "",
            *_table(["TFLOP  K, M, N", "", *COMPONENTS], components),
            "",
            "Lower bound of the planning time [s] at published peak rates: computed, not measured",
            *_table(["K, M, N", "", *names], bounds),
            "",
            *(
                f"{a['name']}: {a['flops'] / 1e12:g} TFLOP/s, {a['bandwidth'] / 1e9:g} GB/s ({a['source']})"
                for a in result["accelerators"]
            ),
        ]
    )


def _gigabytes(entry: dict[str, Any], form: str) -> str:
    return f"{entry['forms'][form]['total']['bytes'] / 1e9:.0f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns padded to their widest cell: the first to the left, numbers to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return [
        "  ".join(
            cell.ljust(w) if i == 0 or not header[i] else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
