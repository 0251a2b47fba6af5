"""A browser, and one page of each kind made from made-up data."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import browser_or_skip
from made_up_runs import write_run
from made_up_study import write_study
from PIL import Image
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browser_or_skip() as found:
        yield found


@pytest.fixture(scope="session")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run that was really trained a little, asked in every way that a report shows."""
    from vlseg.jobs.evaluate import EvaluateOptions, evaluate_on
    from vlseg.jobs.probe import probe_on
    from vlseg.jobs.train import train_run
    from vlseg.phantoms import write_phantoms
    from vlseg.records import RunConfig
    from vlseg.reports import write_report

    root = tmp_path_factory.mktemp("run-page")
    data, run = root / "phantoms", root / "run"
    write_phantoms(data, counts={"train": 8, "val": 4, "test": 6}, size=32)
    train_run(
        RunConfig(
            model="clipseg-tiny",
            model_arguments={"image_size": 32},
            data=[str(data)],
            prompt="class+attributes",
            threads=1,
            device="cpu",
            max_steps=12,
            validate_every=1,
        ),
        run,
    )
    evaluate_on(str(run), [str(data)], EvaluateOptions(threads=1, device="cpu"))
    for condition in ("swapped", "corrupted"):
        evaluate_on(str(run), [str(data)], EvaluateOptions(threads=1, device="cpu", condition=condition))
    probe_on(str(run), [str(data)], EvaluateOptions(threads=1, device="cpu"))
    return write_report([run], root / "report.html", title="A run on phantoms")


@pytest.fixture(scope="session")
def runs_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three runs on the same data, compared; long names, as real ones are."""
    from vlseg.jobs.compare import comparison_for_report
    from vlseg.reports import write_report

    root = tmp_path_factory.mktemp("runs-page")
    names = ("clipseg-tiny-class-and-attributes-seed-0", "clipseg-tiny-class-and-attributes-seed-1", "unet")
    runs = [write_run(root / "runs" / name, 60, seed=seed, per_image=2) for seed, name in enumerate(names)]
    return write_report(runs, root / "report.html", title="Three runs", comparison=comparison_for_report(runs))


@pytest.fixture(scope="session")
def check_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a dataset with much that is wrong: copies across splits, empty and full masks, texts that tell the truth."""
    from vlseg.jobs.check import check_data
    from vlseg.jobs.check_pictures import draw_view
    from vlseg.phantoms import write_phantoms
    from vlseg.records import Looked
    from vlseg.reports.check_page import write_check_page

    root = tmp_path_factory.mktemp("check-page")
    data = root / "phantoms"
    write_phantoms(data, counts={"train": 12, "val": 4, "test": 8}, size=32)
    images = sorted((data / "images").glob("t*.png"))
    images[-1].write_bytes(next(path for path in images if path.name.startswith("train")).read_bytes())
    masks = sorted((data / "masks").glob("train*.png"))
    Image.new("L", (32, 32), 255).save(masks[0])
    Image.new("L", (20, 32), 0).save(masks[1])
    file = data / "anns" / "train.json"
    entries = json.loads(file.read_text())
    for entry in entries:
        entry["prompts"] = dict.fromkeys(entry["prompts"], "there is no polpy here")
    file.write_text(json.dumps(entries))
    findings, statistics = check_data([data])
    assert len(findings) > 3
    return write_check_page(findings, statistics, Looked(files=True, near=True), root / "check.html", draw=draw_view)


@pytest.fixture(scope="session")
def study_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a study of which most is done, one training failed, and some is still planned."""
    from vlseg.studies.report import write_study_report

    study, plan = write_study(tmp_path_factory.mktemp("study-page"))
    return write_study_report(study, plan).page
