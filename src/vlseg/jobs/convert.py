"""What `vlseg data convert` does."""

from pathlib import Path

from vlseg.data.formats.convert import ConvertSummary, Layout, convert
from vlseg.jobs.datasets import open_dataset


def convert_dataset(
    source: Path, to: Layout, out: Path, *, target: str | None = None, prompt: str | None = None
) -> ConvertSummary:
    """The dataset in another layout, with the sources of its prompts where the layout can hold them.

    Raises:
        InputError: see `vlseg.data.formats.convert.convert`.
    """
    return convert(open_dataset(source, target), to, out, prompt=prompt)
