"""The page: whole, offline, escaped, with the right numbers."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from vlseg.jobs.evaluate import EvaluateOptions, evaluate_on
from vlseg.jobs.probe import probe_on
from vlseg.metrics import aggregate
from vlseg.records import EvaluationSpec, InputError, read_record, read_scores, write_record
from vlseg.reports import find_runs, load_run, write_report
from vlseg.reports.words.numbers import p_value


class Reader(HTMLParser):
    """Collects tags, links and text, and checks that tags close."""

    VOID = frozenset({"meta", "img", "br", "link", "hr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def run(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained run with a clean and a swapped evaluation."""
    copy = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(trained / "run", copy)
    for condition in ("clean", "swapped"):
        evaluate_on(str(copy), [str(trained / "data")], EvaluateOptions(condition=condition, threads=1))  # type: ignore[arg-type]
    return copy


def test_page_is_whole_and_offline(run: Path, tmp_path: Path) -> None:
    page = read(write_report([run], tmp_path / "r.html", title="A title"))
    assert "script" in page.tags
    plain = read(write_report([run], tmp_path / "p.html", title="A title", images=False))
    assert "script" not in plain.tags
    assert "data:image" not in (tmp_path / "p.html").read_text()
    assert all(link.startswith(("#", "data:image/")) for link in page.links)
    assert "A title" in page.text
    assert "images treated as independent" in page.text
    assert "Empty masks" in page.text
    assert "a user has it" in page.text


def test_numbers_come_from_the_rows(run: Path, tmp_path: Path) -> None:
    text = read(write_report([run], tmp_path / "r.html", title="t")).text
    clean = next(path for path in (run / "evaluations").iterdir() if "swapped" not in path.name)
    expected = aggregate(read_scores(clean / "scores.parquet"), groups_known=False)
    assert f"{expected.dice.mean:.3f}" in text
    assert f"{expected.iou.mean:.3f}" in text
    assert "too few for an interval" in text
    swapped = next(path for path in (run / "evaluations").iterdir() if "swapped" in path.name)
    rows = [r for r in read_scores(swapped / "scores.parquet") if "named" in r.condition_arguments]
    named = aggregate(rows, groups_known=False).dice.mean
    assert load_run(run).under("swapped")[0].against("named").dice.mean == named


def test_everything_that_was_asked_is_shown(run: Path, trained: Path, tmp_path: Path) -> None:
    """Probe, corruptions, subgroups, calibration, other data: each with numbers recomputed from the rows."""
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    other = tmp_path / "elsewhere"
    shutil.copytree(trained / "data", other)
    (other / "dataset.json").write_text((other / "dataset.json").read_text().replace('"data"', '"elsewhere"'))
    data = [str(trained / "data")]
    evaluate_on(str(copy), [str(other)], EvaluateOptions(threads=1, device="cpu"))
    evaluate_on(str(copy), data, EvaluateOptions(threads=1, device="cpu", condition="corrupted"))
    probed = probe_on(str(copy), data, EvaluateOptions(threads=1, device="cpu"))
    text = read(write_report([copy], tmp_path / "r.html", title="t")).text
    assert probed.use.selection.value is not None
    assert f"{probed.use.selection.value:.3f} (3 images: too few for an interval), n = 3" in text
    assert "has prompts for both a present and an absent target" in text
    assert f"{probed.use.chose_none.value:.3f}" in text
    for effect in probed.use.effects:
        assert effect.name in text
    for words in ("Data it was not trained on", "For whom does it work?", "target: dark disc", "Worse images"):
        assert words in text
    for words in ("lesions found", "pixel precision", "change towards it", "Not asked: ", "n = 6 samples, 3 images"):
        assert words in text
    assert text.count("Empty masks: truth and prediction both empty") == 1
    assert "occlusion" in text
    assert "expected calibration error" in text


def test_a_p_value_is_never_shown_as_zero() -> None:
    assert [p_value(one) for one in (None, 5e-5, 0.00099, 0.001, 0.2)] == ["–", "< 0.001", "< 0.001", "0.001", "0.200"]


def test_leak_is_marked(run: Path, tmp_path: Path) -> None:
    for sources, words in ((["class", "mask"], "from the mask"), (["unknown"], "source unknown")):
        record = read_record(run / "run.json").model_copy(update={"prompt_sources": sources, "deployable": False})
        write_record(tmp_path / "r" / "run.json", record)
        assert words in read(write_report([tmp_path / "r"], tmp_path / "r.html", title="t")).text


def test_text_is_escaped(run: Path, tmp_path: Path) -> None:
    page = write_report([run], tmp_path / "r.html", title="<script>alert(1)</script>")
    assert "<script>alert" not in page.read_text()
    assert "&lt;script&gt;alert(1)" in page.read_text()


def test_failed_run_without_anything_is_shown(run: Path, tmp_path: Path) -> None:
    record = read_record(run / "run.json").model_copy(update={"status": "failed", "error": "the loss is nan"})
    write_record(tmp_path / "r" / "run.json", record)
    text = read(write_report([tmp_path / "r"], tmp_path / "r.html", title="t")).text
    assert "the loss is nan" in text
    assert "No evaluation yet" in text
    assert "No history yet" in text


def test_missing_and_found_runs(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json"):
        write_report([tmp_path], tmp_path / "r.html", title="t")
    with pytest.raises(InputError, match=r"no run\.json"):
        find_runs(tmp_path)
    assert find_runs(run.parent) == [run]
    assert find_runs(run) == [run]


def test_evaluation_cut_off_before_its_spec_is_left_out(run: Path, tmp_path: Path) -> None:
    record = read_record(run / "run.json")
    write_record(tmp_path / "r" / "run.json", record)
    (tmp_path / "r" / "evaluations" / "half").mkdir(parents=True)
    assert load_run(tmp_path / "r").evaluations == []


def test_same_records_give_the_same_page(run: Path, tmp_path: Path) -> None:
    first = write_report([run], tmp_path / "a.html", title="t").read_bytes()
    assert write_report([run], tmp_path / "b.html", title="t").read_bytes() == first


def _broken(run: Path, name: str, content: bytes | None) -> Path:
    """One file of the run's first evaluation, or of the run, with other content, or gone."""
    path = run / name if name == "history.csv" else next((run / "evaluations").iterdir()) / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("scores.parquet", None, r"scores\.parquet: cannot be read \(no such file\); evaluate again, or delete its f"),
        ("scores.parquet", b"PAR1 and no more", r"scores\.parquet: cannot be read \(.*evaluate again"),
        ("calibration.json", b'{"curve":', r"calibration\.json: broken JSON"),
        ("calibration.json", b"[]", r"calibration\.json: .*evaluate again, or delete the file"),
        ("calibration.json", b'{"curve": [[0, 1]]}', r"calibration\.json: field '.*evaluate again, or delete the file"),
        ("history.csv", b"step,loss\n1,0.5\n2,half\n", r"history\.csv: cannot be read \(line 3: .*'half'\); delete"),
        ("history.csv", b"step,loss\n1,0.5,7\n", r"history\.csv: cannot be read \(line 2: .*; delete"),
    ],
)
def test_a_broken_record_is_named_with_a_mend_that_works(
    run: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    path = _broken(copy, name, content)
    with pytest.raises(InputError, match=message):
        write_report([copy], tmp_path / "page.html", title="t")
    assert not (tmp_path / "page.html").exists()
    if name == "scores.parquet":
        shutil.rmtree(path.parent)
    else:
        path.unlink()
    assert write_report([copy], tmp_path / "page.html", title="t").exists()


@pytest.mark.parametrize(("told", "words"), [("prompt", True), ("target", False), ("nothing", False)])
def test_only_a_model_that_is_told_a_prompt_is_said_to_be_asked_with_one(
    run: Path, tmp_path: Path, told: str, words: bool
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    for path in copy.glob("evaluations/*/spec.json"):
        spec = EvaluationSpec.read(path)
        path.write_text(spec.model_copy(update={"told": told, "prompt": "its-prompt"}).model_dump_json())
    text = read(write_report([copy], tmp_path / "p.html", title="t")).text
    assert ("told the prompt its-prompt: a user has it" in text) == words
    assert ("its-prompt" in text) == words


def test_numbers_that_are_missing_have_no_unit_and_settings_read_as_such(run: Path, tmp_path: Path) -> None:
    text = read(write_report([run], tmp_path / "p.html", title="t")).text
    assert not re.search("–[⁰¹²³⁴⁵⁶⁷⁸⁹]* (px|mm)", text)
    assert "size-bin" not in text
    assert "{" not in text.split("How it was run")[1].split("configuration")[0]
    assert re.search(r"started, ended\s*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text)


def test_methods_of_one_seed_have_no_table(run: Path, tmp_path: Path) -> None:
    """It would repeat the table of runs."""
    other = shutil.copytree(run, tmp_path / "other")
    for seeds, shown in (((0, 0), False), ((0, 1), True)):
        methods = [{"method": "m", "seeds": list(set(seeds)), "means": [0.5] * len(set(seeds)), "mean": 0.5}]
        methods[0] |= {"ci95": None, "reason": "1 seeds, fewer than 5"}
        comparison = {"pairs": [], "methods": methods, "over_datasets": [], "family": "1 pair"}
        page = write_report([run, other], tmp_path / "p.html", title="t", comparison=comparison)
        assert ("Methods over their seeds" in page.read_text()) == shown


def test_no_figure_replaces_another_whose_name_is_cut_alike(run: Path, tmp_path: Path) -> None:
    runs = [shutil.copytree(run, tmp_path / name) for name in ("one", "two")]
    for path in runs:
        record = read_record(path / "run.json")
        write_record(path / "run.json", record.model_copy(update={"id": "r" * 150 + path.name}))
    write_report(runs, tmp_path / "p.html", title="t", figures=tmp_path / "figures")
    files = {path.name for path in (tmp_path / "figures").glob("swapped-*.svg")}
    assert len(files) == 2, files
