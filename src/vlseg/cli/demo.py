"""vlseg demo"""

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlseg.cli.options import Json, Threads, finish, say

if TYPE_CHECKING:
    from vlseg.jobs.demo import TimeLeft


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
    from vlseg.jobs.demo import TimeLeft, run_demo, time_left_bar
    from vlseg.reports import write_report

    clock = TimeLeft()
    with time_left_bar(clock):
        result = run_demo(out, seed=seed, threads=threads, say=lambda line: say(_timed(line, clock)), clock=clock)
    comparison = comparison_for_report(result.runs)
    page = write_report(result.runs, out / "report.html", title="vlseg demo", comparison=comparison)
    seconds = round(time.monotonic() - begin, 1)
    serve = shlex.join([*_this_command(), "serve", str(out / "runs" / "clipseg-tiny")])
    values = {
        "seconds": seconds,
        "report": str(page),
        "serve": serve,
        "text_blind_ceiling": result.text_blind_ceiling,
        "class_ceiling": result.class_ceiling,
        "runs": result.figures,
    }
    dice = {name: values.get("dice") for name, values in result.figures.items()}
    text, swapped = result.figures["text"], result.figures["text_swapped"]
    lines = [
        "Mean test Dice over targets that are present, by what the model is told beside the image:",
        f"  the prompt (clipseg-tiny)                          {dice['text']:.3f}",
        f"  the target's class (U-Net steered by its index)    {dice['target_conditioned']:.3f}",
        f"  the target's class (U-Net, a channel for each)     {dice['image_only']:.3f}",
        f"  nothing (the same U-Net, one mask for all prompts) {dice['blind']:.3f}",
        "The highest Dice possible:",
        f"  with the class alone, one mask an image and class  {result.class_ceiling:.3f}",
        f"  with nothing, one mask an image                    {result.text_blind_ceiling:.3f}",
        "Only what lies above the ceiling of the class shows that the other words are read.",
        f"Prompts swapped: {swapped['dice_vs_original']:.3f} against the original target, "
        f"{swapped['dice_vs_named']:.3f} against the one named.",
        f"Absent targets answered with an empty mask: {text['absent_empty']:.0%}",
        f"Report: {page} ({seconds:.0f} s)",
        f"Type yourself: {serve}",
        f"  Open the address that it prints, drop an image from {out / 'data' / 'phantoms' / 'images'} there,",
        "  and type: small round dark cyst",
    ]
    finish("demo", values, lines, as_json=json)


def _this_command() -> list[str]:
    """How this program is called: `make demo` has it in .venv/bin, where a shell does not look."""
    called = Path(sys.argv[0])
    if called.name != "vlseg":
        return [sys.executable, "-m", "vlseg"]
    found = shutil.which("vlseg")
    return ["vlseg"] if found and Path(found).samefile(called) else [str(called)]


def _timed(line: str, clock: "TimeLeft") -> str:
    return line if line.startswith(" ") else f"{line} (about {clock.seconds / 60:.0f} min left)"
