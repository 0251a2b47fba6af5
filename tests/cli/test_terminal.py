"""What commands print: the report's sentences and tables of at most 100 columns, in a terminal and in a pipe."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlseg.cli.terminal import Notes, shown, table
from vlseg.jobs.compare import compare_runs
from vlseg.metrics import aggregate, language_use
from vlseg.records import EvaluationSpec, read_scores
from vlseg.reports import words

BOXES = re.compile("[\u2500-\u257f]")
COMMANDS = ("evaluate", "probe")


@pytest.fixture(scope="module")
def scored(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two copies of the trained run to write into."""
    import shutil

    root = tmp_path_factory.mktemp("terminal")
    for name in ("one", "two"):
        shutil.copytree(trained / "run", root / name)
    return root


def printed(vlseg: Callable[..., Any], command: str, scored: Path, data: Path, *more: str) -> str:
    done = vlseg(command, scored / "one", "--data", data, "--threads", "1", *more)
    assert done.code == 0, done.err
    text: str = done.out
    return text


def flat(text: str) -> str:
    return " ".join(text.split())


def narrow(text: str) -> None:
    """Nothing but a path, which somebody copies, is wider than 100 columns."""
    lines = [line for line in text.splitlines() if not line.startswith("scores: ")]
    assert max(map(len, lines)) <= 100
    assert "…" not in text
    assert "\x1b" not in text
    assert not BOXES.search(text)
    assert all(line == line.rstrip() for line in lines)


def test_evaluate_and_probe_print_the_sentences_of_the_report(
    vlseg: Callable[..., Any], scored: Path, trained: Path
) -> None:
    said = {}
    for command, condition in (("evaluate", "clean"), ("evaluate", "swapped"), ("probe", "probe")):
        more = ("--condition", condition, "--by", "target") if command == "evaluate" else ()
        text = printed(vlseg, command, scored, trained / "data", *more)
        narrow(text)
        folder = Path(re.findall(r"^scores: (.*)$", text, flags=re.MULTILINE)[0]).parent
        spec, rows = EvaluationSpec.read(folder / "spec.json"), read_scores(folder / "scores.parquet")
        assert words.about_leak(spec) in flat(text)
        if condition == "clean":
            assert words.about_scores(aggregate(rows, groups_known=False), spec) in flat(text)
            assert "Dice, targets that are there" in text
        else:
            assert words.about_language(rows, spec) in flat(text)
        said[condition] = text
    assert "target" in said["clean"]
    assert "Dice, target that is named" in said["swapped"]
    for effect in language_use(rows, groups_known=False).effects:
        assert re.search(rf"^  {effect.name} +{effect.original.n} ", said["probe"], flags=re.MULTILINE)
    assert "not asked: absent_structure" in said["probe"]


def test_corruptions_are_a_table(vlseg: Callable[..., Any], scored: Path, trained: Path) -> None:
    text = printed(vlseg, "evaluate", scored, trained / "data", "--condition", "corrupted")
    narrow(text)
    assert len(re.findall(r"^  \w[\w ]* +[1-5] +6 ", text, flags=re.MULTILINE)) >= 25


def test_compare_prints_the_sentences_of_the_report(vlseg: Callable[..., Any], scored: Path, trained: Path) -> None:
    for name in ("one", "two"):
        done = vlseg("evaluate", scored / name, "--data", trained / "data", "--threads", "1")
        assert done.code == 0, done.err
    runs = [scored / "one", scored / "two"]
    for metric in ("dice", "hd95_penalised"):
        done = vlseg("compare", *runs, "--metric", metric)
        narrow(done.out)
        (pair,) = compare_runs(runs, metric=metric)["pairs"]
        assert words.about_comparison(pair, metric=metric) in flat(done.out)
        assert re.search(r"^  two minus one +6 \(3\) ", done.out, flags=re.MULTILINE)
    many = [*runs, scored / "one", scored / "two"]
    done = vlseg("compare", *many)
    narrow(done.out)
    assert "Of 6 pairs of runs, none differ after Holm's correction over all pairs." in flat(done.out)


def test_json_is_as_it_was(vlseg: Callable[..., Any], scored: Path, trained: Path) -> None:
    done = vlseg("evaluate", scored / "one", "--data", trained / "data", "--threads", "1", "--json", "--by", "target")
    assert len(done.out.splitlines()) == 1
    assert next(iter(done.json)) == "command"
    assert {"dice", "dice_present", "by", "by_dataset", "ceilings", "told", "prompt_source", "scores"} <= set(done.json)
    assert not any("sentence" in key for key in done.json)


ROWS = [("a long name of a condition", "12", "0.938 [0.932, 0.942]", "3 images: too few for an interval")] * 2
PARTS = (
    "from vlseg.cli.terminal import Notes, shown, table; from vlseg.cli.options import finish;"
    f"parts = 'A sentence. ' * 12, table(('what', 'n', 'mean', ''), {ROWS!r});"
    "finish('x', {}, shown(*parts, then=['scores: ' + 'p' * 150]), as_json=False)"
)


def in_terminal(columns: int, **environment: str) -> str:
    """What the program prints into a terminal of so many columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE")}
    program = [sys.executable, "-c", PARTS]
    with subprocess.Popen(
        program, stdin=follower, stdout=follower, stderr=subprocess.PIPE, env={**plain, "TERM": "xterm", **environment}
    ) as process:
        os.close(follower)
        text = b""
        try:
            while part := os.read(leader, 4096):
                text += part
        except OSError:  # the other end is closed
            pass
        assert process.wait() == 0
    os.close(leader)
    return text.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(("columns", "widest"), [(60, 60), (200, 100)])
def test_a_terminal(columns: int, widest: int) -> None:
    """As wide as it is, at most 100; nothing is cut off; bold headings."""
    text = in_terminal(columns)
    assert "\x1b[1m" in text
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    body = [line for line in plain.splitlines() if not line.startswith("scores: ")]
    assert widest - 20 < max(map(len, body)) <= widest
    assert flat(plain).count("A sentence.") == 12
    assert "…" not in plain
    assert "scores: " + "p" * 150 in plain.replace("\n", "")


def test_no_colour_in_a_terminal_that_asks_for_none() -> None:
    assert not re.search(r"\x1b\[(?!0?m|1m)", in_terminal(100, NO_COLOR="1"))


def test_a_pipe_is_100_columns_whatever_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = "\n".join(shown("A sentence. " * 12, table(("what", "n", "mean", ""), ROWS)))
    narrow(text)
    assert max(map(len, text.splitlines())) > 90
    assert "  a long name of a condition  12  0.938 [0.932, 0.942]  3 images: too few for an interval" in text


def test_stdout_that_cannot_write_a_dash() -> None:
    program = "from vlseg.cli.options import finish; finish('x', {}, ['none: –'], as_json=False)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert done.stdout == b"none: ?\n"


def test_markup_in_names_is_text() -> None:
    assert shown("prompt [bold]p[/bold] :smile:")[0] == "prompt [bold]p[/bold] :smile:"
    assert "[red]x" in shown(table(("a",), [("[red]x",)]))[1]


def test_reasons_stand_below_a_table_each_once() -> None:
    notes = Notes()
    marks = [notes(reason) for reason in ("3 images: too few", "", "all alike", "3 images: too few")]
    assert marks == [" (a)", "", " (b)", " (a)"]
    assert str(notes) == "(a) 3 images: too few\n(b) all alike"
