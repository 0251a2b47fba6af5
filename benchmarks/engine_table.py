"""What the docs show of results/engines.json: python benchmarks/engine_table.py"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
RESULTS = Path(__file__).parent / "results" / "engines.json"
COLUMNS = {
    "folder": "zero-shot over a folder, one prompt",
    "first mask": "first mask of an image",
    "next prompt": "new prompt on a known image",
    "from the shell": "vlseg predict from the shell, one image",
}
MEMORY = "peak memory of one answer"


def table(rows: Sequence[Row]) -> str:
    """A line for each engine: how many times faster than transformers, with the least and largest of the turns."""
    found = {tuple(row["work"].rsplit(", ", 1)): row for row in rows}
    kinds = list(dict.fromkeys(kind for _, kind in found))
    lines = [["engine", *COLUMNS, "peak memory", "masks' Dice, mean and least"]]
    lines.append(["---"] * len(lines[0]))
    for kind in kinds:
        speeds = [_ratio(found[work, kind]) for work in COLUMNS.values()]
        dice = found[COLUMNS["folder"], kind]["equality"]
        memory = found[MEMORY, kind]
        held = f"{memory['gib'][0]:.2f} GiB ({memory['ratio']:.2f})"
        lines.append([kind, *speeds, held, f"{dice['dice_mean']:.4f}, {dice['dice_least']:.4f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ratio(row: Row) -> str:
    low, high = row["spread"]
    return f"{row['ratio']:.2f} ({low:.2f}-{high:.2f})"


if __name__ == "__main__":
    print(table(json.loads(RESULTS.read_text())))
