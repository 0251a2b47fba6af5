"""vlseg demo"""

import time
from pathlib import Path
from typing import Annotated

import typer

from vlseg.cli.options import Json, Threads, finish, say


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, runs and the report.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of the phantoms and of the training.", min=0)] = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Phantoms, three trained models, tests, language test and a report: no network, minutes on two cores."""
    begin = time.monotonic()
    say("loading torch")
    from vlseg.jobs.compare import comparison_for_report
    from vlseg.jobs.demo import run_demo
    from vlseg.reports import write_report

    result = run_demo(out, seed=seed, threads=threads, say=say)
    comparison = comparison_for_report(result.runs)
    page = write_report(result.runs, out / "report.html", title="vlseg demo", comparison=comparison)
    seconds = round(time.monotonic() - begin, 1)
    values = {
        "seconds": seconds,
        "report": str(page),
        "text_blind_ceiling": result.text_blind_ceiling,
        "runs": result.figures,
    }
    text, swapped = result.figures["text"], result.figures["text_swapped"]
    lines = [
        "Mean test Dice over targets that are present:",
        f"  reads the prompt (clipseg-tiny)     {text['dice']:.3f}",
        f"  knows the target's class only       {result.figures['target_conditioned']['dice']:.3f}",
        f"  sees the image only                 {result.figures['image_only']['dice']:.3f}",
        f"  best possible without the prompt    {result.text_blind_ceiling:.3f}",
        f"Prompts swapped: {swapped['dice_vs_original']:.3f} against the original target, "
        f"{swapped['dice_vs_named']:.3f} against the one named.",
        f"Absent targets answered with an empty mask: {text['absent_empty']:.0%}",
        f"Report: {page} ({seconds:.0f} s)",
    ]
    finish("demo", values, lines, as_json=json)
