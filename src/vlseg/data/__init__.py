"""Reading images and masks, layouts and formats, dataset cards, preparing, splits: free of torch."""

from vlseg.data.ahead import made_ahead
from vlseg.data.entries import locate
from vlseg.data.images import open_image, read_image, unit_range
from vlseg.data.info import read_info
from vlseg.data.keys import image_key
from vlseg.data.masks import foreground, mask_values, read_mask
from vlseg.data.measure import MEASURES, REFERRING, location_words
from vlseg.data.pairs import write_entries
from vlseg.data.read import layout_folders, load_image, load_mask, load_pixels, read_dataset, with_mask_max
from vlseg.data.readers import reader_agreement
from vlseg.data.splits import circle, split_by_group
from vlseg.data.table import read_table, stem
from vlseg.data.write import new_folder, write_view

__all__ = [
    "MEASURES",
    "REFERRING",
    "circle",
    "foreground",
    "image_key",
    "layout_folders",
    "load_image",
    "load_mask",
    "load_pixels",
    "locate",
    "location_words",
    "made_ahead",
    "mask_values",
    "new_folder",
    "open_image",
    "read_dataset",
    "read_image",
    "read_info",
    "read_mask",
    "read_table",
    "reader_agreement",
    "split_by_group",
    "stem",
    "unit_range",
    "with_mask_max",
    "write_entries",
    "write_view",
]
