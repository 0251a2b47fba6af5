"""What `vlseg data convert` does."""

from pathlib import Path

from vlseg.data.formats.convert import ConvertSummary, Layout, convert
from vlseg.jobs.datasets import open_dataset


def convert_dataset(
    source: Path, to: Layout, out: Path, *, target: str | None = None, prompt: str | None = None, absent: bool = False
) -> ConvertSummary:
    """The dataset in another layout, with the sources of its prompts where the layout can hold them.

    With `absent` every image gets an entry with an empty mask of each target that it does not show: right only where
    whatever there is was drawn.

    Raises:
        InputError: see `vlseg.data.formats.convert.convert`.
    """
    return convert(open_dataset(source, target, absent=absent), to, out, prompt=prompt)
