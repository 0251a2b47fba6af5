"""What the docs say of results/serving_load.json: python benchmarks/load_table.py"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
NAMES = {"clipseg-tiny": "clipseg-tiny", "clipseg": "CLIPSeg ViT-B/16"}
MOVES = {"upload": "upload", "prompt": "next prompt", "one_shot": "image and two prompts in one request"}


def table(rows: Sequence[Row]) -> str:
    """A column for each model and number of clients: alone (before and after), together, twice as many."""
    shown = [(row, kind) for row in rows for kind in (("alone", "alone_again"), ("together",), ("twice",))]
    heads = [f"{NAMES[row['model']]}, {row['phases'][kinds[0]]['clients']}" for row, kinds in shown]
    lines = [["clients at once", *heads], ["---"] * (len(shown) + 1)]
    lines.append(["answers a second", *_each(shown, lambda one: f"{one['answers_a_second']:.2f}")])
    lines.append(["images encoded a second", *_each(shown, lambda one: f"{_images(one):.2f}")])
    told = "server's processor seconds an answer"
    lines.append([told, *_each(shown, lambda one: f"{one['processor_seconds_an_answer']:.4f}")])
    for move, name in MOVES.items():
        lines.append([f"{name}, s, p50 and p95", *_each(shown, lambda one, move=move: _latency(one, move))])
    lines.append(["refused with 429", *_each(shown, lambda one: f"{one['refused_429']:.1%}")])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def told(row: Row) -> str:
    """What a model's run says beside its columns, as an item of a list."""
    together, ratio, batch = row["phases"]["together"], row["against_one_by_one"], row["mean_batch"]
    memory, (before, after) = together["memory"], row["load_average"]
    alone = [row["phases"][kind] for kind in ("alone", "alone_again")]
    images = 2 * _images(together) / sum(map(_images, alone))
    cost = 2 * _cost(together) / sum(map(_cost, alone))
    return (
        f"- {NAMES[row['model']]}, {row['machine']['date']}, load average {before} before and {after} after: "
        f"{together['clients']} clients in {together['seconds']:.0f} s, the last answers included, "
        f"get {together['answers']:,} answers, "
        f"{ratio['answers_a_second']:.2f} times as many a second as one alone ({images:.2f} times as many images), for "
        f"{ratio['processor_seconds_an_answer']:.2f} of the processor's seconds each ({cost:.2f} an image). "
        f"{sum(one['lost'] for one in row['phases'].values())} are lost, "
        f"{sum(one['mixed_up'] for one in row['phases'].values())} mixed up, of "
        f"{sum(one['answers'] for one in row['phases'].values()):,} in all phases. "
        f"A batch has {batch['encode']:.1f} images or {batch['decode']:.1f} requests in the mean. "
        f"Memory: {memory['middle_mib']:.0f} MiB in the second third, {memory['last_mib']:.0f} in the last "
        f"({memory['growth']:+.1%}); {memory['leak_seen_kib_an_answer']:.0f} KiB an answer would be too much. "
        f"The two most similar of {row['questions']} answers differ in {row['nearest_two_answers']:.1%} of the pixels."
    )


def _images(one: Row) -> float:
    """Encoded a second: uploads, and those that came with their prompts."""
    return float(sum(one["latency"].get(move, {"n": 0})["n"] for move in ("upload", "one_shot")) / one["seconds"])


def _cost(one: Row) -> float:
    """Processor seconds, prompts included, by images encoded."""
    return float(one["processor_seconds_an_answer"] * one["answers"] / one["seconds"] / _images(one))


def _each(shown: Sequence[tuple[Row, tuple[str, ...]]], say: Callable[[Row], str]) -> list[str]:
    """What stands in a column: of one client alone both times."""
    return ["; ".join(say(row["phases"][kind]) for kind in kinds) for row, kinds in shown]


def _latency(one: Row, move: str) -> str:
    taken = one["latency"].get(move)
    return f"{taken['p50']:.3f}, {taken['p95']:.3f}" if taken else "none"


if __name__ == "__main__":
    measured = json.loads((Path(__file__).parent / "results" / "serving_load.json").read_text())
    print(table(measured), *map(told, measured), sep="\n")
