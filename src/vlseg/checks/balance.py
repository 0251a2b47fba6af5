"""How many of what: classes, empty masks, areas."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from vlseg.checks.collect import Collector, view
from vlseg.records import AREA_EDGES, SPLITS, DatasetStatistics, Sample

IMBALANCE = 20
"""Entries of the commonest to the rarest target above which a mean over entries says little of the rare one."""
FULL = 0.95


def check_balance(samples: Sequence[Sample], areas: Mapping[str, float], found: Collector) -> None:
    """Targets that are rare, or tested and never trained on; masks that cover nearly all of their image."""
    by_split = {split: Counter(s.target for s in samples if s.split == split and s.target) for split in SPLITS}
    if by_split["train"]:
        for target, count in by_split["test"].items():
            if target not in by_split["train"]:
                message = "a target is in test and not in train"
                found.add("untrained_target", "warning", "test", message, f"{target}: {count} entries")
    total = sum(by_split.values(), Counter[str | None]())
    if len(total) > 1:
        (common, most), (rare, least) = total.most_common()[0], total.most_common()[-1]
        if most > IMBALANCE * least:
            message = f"one target has more than {IMBALANCE} times the entries of another; see the mean over targets"
            found.add("class_imbalance", "note", None, message, f"{common}: {most}, {rare}: {least}")
    for sample in samples:
        if areas.get(sample.id, 0) > FULL:
            message = f"a mask covers more than {FULL:.0%} of its image: is it inverted?"
            found.add("full_mask", "warning", sample.split, message, sample.id, view(sample, *sample.mask_paths))


def statistics(dataset: str, samples: Sequence[Sample], areas: Mapping[str, float]) -> DatasetStatistics:
    """The dataset's numbers; `areas` is the foreground's share by sample id, empty where masks were not read."""
    of = {split: [sample for sample in samples if sample.split == split] for split in SPLITS}
    shares = {split: [areas[s.id] for s in inside if s.id in areas] for split, inside in of.items()}
    edges = np.nextafter(np.asarray(AREA_EDGES), 2)  # bins are closed above
    histogram = {
        split: np.histogram([share for share in values if share > 0], edges)[0].tolist()
        for split, values in shares.items()
    }
    return DatasetStatistics(
        dataset=dataset,
        images={split: len({s.image_id for s in inside}) for split, inside in of.items()},
        entries={split: len(inside) for split, inside in of.items()},
        groups={split: len({s.group for s in inside if s.group is not None}) for split, inside in of.items()},
        targets={
            split: dict(sorted(Counter(s.target or "unknown" for s in inside).items())) for split, inside in of.items()
        },
        absent={split: sum(share == 0 for share in values) for split, values in shares.items()} if areas else None,
        areas=histogram if areas else None,
    )
