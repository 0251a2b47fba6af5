"""What pages of a study, of many runs and of many samples take, to make and to open.

python benchmarks/report_pages.py [--demo DEMO/runs] [--probed RUN ...]

Runs and studies are made up (`made_up_runs.py`, `made_up_study.py`) but for those named: the folder of the demo's runs,
and real runs with a probe. Seconds are those of `vlseg report` as a whole, imports included: of the processor, and by
the clock (of a machine that may have other work). The browser's are from asking for the file to its load event, the
middle of three. Writes `benchmarks/results/report_pages.json`.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from made_up_runs import write_run

SAMPLES, RUNS = 10_000, 150
LOADED = "() => performance.getEntriesByType('navigation')[0].loadEventStart"
"""Milliseconds."""


def made(command: list[str], page: Path) -> dict[str, Any]:
    """What making a page takes: seconds, the most memory, and the page's size."""
    begin = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "vlseg", "report", *command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"vlseg report {' '.join(command)} ended with {process.returncode}")
    return {
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "clock_seconds": round(time.monotonic() - begin, 1),
        "peak_mebibytes": round(used.ru_maxrss / 1024),
        "page_megabytes": round(page.stat().st_size / 1e6, 2),
    }


def opened(page: Path) -> dict[str, Any]:
    """What a browser takes to load a page, and how many elements it has then; nothing where there is no browser."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
    from browsing import NoBrowserError, chromium, open_page

    seconds, elements = [], 0
    try:
        with chromium() as browser:
            for _ in range(3):
                with open_page(browser, page) as one:
                    seconds.append(one.page.evaluate(LOADED) / 1000)
                    elements = one.page.evaluate("() => document.querySelectorAll('*').length")
    except NoBrowserError as error:
        return {"browser": f"not measured: {error}"}
    return {"browser_seconds": round(median(seconds), 2), "elements": elements}


def write(place: Path) -> None:
    """All that is made up, whatever is not there yet."""
    from made_up_study import write_study

    if not (place / "of-a-study").exists():
        write_study(place / "of-a-study")
    for index in range(RUNS):
        run = place / "many-runs" / f"run-{index:03d}"
        if not run.exists():
            write_run(run, 200, seed=index, images=20, per_image=2)
    if not (place / "many-samples").exists():
        write_run(place / "many-samples" / "run", SAMPLES)


def cases(place: Path, given: argparse.Namespace) -> dict[str, tuple[list[str], Path]]:
    """By name the arguments of `vlseg report` and the page that comes of it."""
    study = place / "of-a-study" / "study"
    runs = len(json.loads((study / "plan.json").read_text())["runs"])
    found: dict[str, tuple[list[str], Path]] = {}
    pages = place / "pages"
    pages.mkdir(exist_ok=True)
    if given.demo:
        found["demo"] = ([str(given.demo), "--out", str(pages / "demo.html")], pages / "demo.html")
    for run in given.probed:
        page = pages / f"probed-{run.name}.html"
        found[f"a real run with a probe: {run.name}"] = ([str(run), "--out", str(page)], page)
    found[f"a study of {runs} runs"] = ([str(study)], study / "report" / "report.html")
    page = pages / "runs.html"
    found[f"{RUNS} runs of 200 samples"] = ([str(place / "many-runs"), "--out", str(page)], page)
    page = pages / "samples.html"
    found[f"one run of {SAMPLES:,} samples, as many images"] = ([str(place / "many-samples"), "--out", str(page)], page)
    bare = pages / "bare.html"
    found["the same without pictures"] = ([str(place / "many-samples"), "--out", str(bare), "--no-images"], bare)
    return found


def main() -> None:
    """Make all, measure each, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, help="folder of the demo's runs")
    parser.add_argument("--probed", type=Path, nargs="*", default=[], help="real runs with a probe")
    parser.add_argument("--keep", type=Path, help="a folder that keeps runs and pages")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = given.keep or Path(temporary)
        place.mkdir(exist_ok=True)
        # In a process of its own: Linux counts the memory of the one that starts a command as the command's.
        writer = multiprocessing.get_context("spawn").Process(target=write, args=(place,))
        writer.start()
        writer.join()
        found: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "cores": os.cpu_count()}
        for name, (command, page) in cases(place, given).items():
            found[name] = {**made(command, page), **opened(page)}
            print(name, json.dumps(found[name]), flush=True)
    target = Path(__file__).parent / "results" / "report_pages.json"
    target.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
