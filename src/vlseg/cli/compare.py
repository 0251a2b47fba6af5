"""vlseg compare"""

from pathlib import Path
from typing import Annotated, Any

import typer

from vlseg.cli.options import Json, finish


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run or evaluation folders.", metavar="RUN_A RUN_B ...")],
    metric: Annotated[
        str, typer.Option(help="dice, iou, nsd, hd95, hd95_penalised, hd, assd, pixel_precision, pixel_recall, brier.")
    ] = "dice",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    data: Annotated[
        list[str] | None, typer.Option(help="Dataset folder or name to take, repeatable; default: all.")
    ] = None,
    json: Json = False,
) -> None:
    """Paired differences between runs on the same samples: interval, permutation test, what could have been seen."""
    from vlseg.jobs.compare import compare_runs

    values = compare_runs(runs, metric=metric, split=split, data=data or ())
    lines = [f"{metric} on {split}, second minus first; family for Holm: {values['family']}"]
    for pair in values["pairs"]:
        lines.append(f"  {pair['second']} minus {pair['first']}: {_line(pair)}")
        lines += [f"    {text}" for text in (_left_out(pair["left_out"]), _differs(pair["differs"])) if text]
    for method in values["methods"]:
        means = ", ".join(f"{mean:.4f}" for mean in method["means"])
        lines.append(f"  method {method['method']}: seeds {means}; {_interval(method)}")
    for effect in values["over_datasets"]:
        if effect["n_datasets"] > 1:
            lines.append(
                f"  over {effect['n_datasets']} datasets: {_number(effect['difference'])}, {_interval(effect)}"
            )
    for row in values["cross_dataset"]:
        if row["cross_dataset"] is not None:
            lines.append(f"  {row['run']}: {_crossing(row)}")
    finish("compare", values, lines, as_json=json)


def _line(pair: dict[str, Any]) -> str:
    p = f"p = {pair['p']:.4f}, Holm {pair['p_holm']:.4f}" if pair["p"] is not None else "p none"
    return (
        f"{_number(pair['difference'])}, {_interval(pair)}, {p}{_detectable(pair)}; "
        f"n = {pair['n']}, {pair['n_groups']} groups"
    )


def _detectable(pair: dict[str, Any]) -> str:
    """What would have been found with 80 % power, by this test alone and after Holm's correction."""
    if pair["detectable"] is None:
        return ""
    if pair["family"] == 1:
        return f"; 80 % power from {pair['detectable']:.4f}"
    family = pair["detectable_holm"]
    corrected = "never, too few groups" if family is None else f"{family:.4f}"
    return f"; 80 % power from {pair['detectable']:.4f} (after Holm: {corrected})"


def _left_out(counts: dict[str, int]) -> str:
    words = {
        "only_first": "scored in the first alone",
        "only_second": "scored in the second alone",
        "undefined": "without a value in one or both",
        "other_truth": "with another truth under the other prompt",
    }
    told = [f"{count} {words[name]}" for name, count in counts.items() if count]
    return f"not compared: {', '.join(told)}" if told else ""


def _differs(names: list[str]) -> str:
    return f"differs, too: {'; '.join(names)}" if names else ""


def _crossing(row: dict[str, Any]) -> str:
    means = ", ".join(f"{name} {mean:.4f}" for name, mean in row["means"].items())
    if row["in_domain"] is None:
        return f"{means}; not scored on data it was trained on"
    interval = _interval({"ci95": row["drop_ci95"], "reason": row["reason"]})
    return (
        f"{means}; in domain {row['in_domain']:.4f}, cross-dataset {row['cross_dataset']:.4f}, "
        f"harmonic mean {row['harmonic_mean']:.4f}, drop {row['drop']:.4f}, {interval}"
    )


def _interval(values: dict[str, Any]) -> str:
    if values["ci95"] is None:
        return f"no interval ({values['reason']})"
    return f"95 % [{values['ci95'][0]:.4f}, {values['ci95'][1]:.4f}]"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:+.4f}"
