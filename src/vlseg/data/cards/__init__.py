"""Dataset cards by name. A new one is a file here and a line below."""

from importlib import import_module
from importlib.metadata import entry_points

from vlseg.data.cards.card import Card, Item, Part, Structure
from vlseg.records import InputError, unknown_name

CARDS = {
    "kvasir-seg": "kvasir_seg",
    "cvc-clinicdb": "cvc_clinicdb",
    "bkai-igh": "bkai_igh",
    "cvc-300": "cvc_300",
    "cvc-colondb": "cvc_colondb",
    "etis": "etis",
    "isic-2016": "isic_2016",
    "dfuc-2022": "dfuc_2022",
    "camus": "camus",
    "busi": "busi",
    "chexlocalize": "chexlocalize",
    "qata-cov19": "qata_cov19",
    "mosmeddata-plus": "mosmeddata_plus",
    "monuseg": "monuseg",
    "chase-db1": "chase_db1",
    "dsb2018": "dsb2018",
    "fuseg": "fuseg",
}
"""Module by name."""

ENTRY_POINTS = "vlseg.datasets"


def card_names() -> list[str]:
    """Ours, then those of other packages."""
    return [*CARDS, *sorted({entry.name for entry in entry_points(group=ENTRY_POINTS)} - CARDS.keys())]


def find_card(name: str) -> Card:
    """The card of that name; other packages' are entry points of the group `vlseg.datasets` that give a Card.

    Raises:
        InputError: no such card (the known ones are listed), or an entry point that gives something else.
    """
    if name in CARDS:
        card: object = import_module(f"{__name__}.{CARDS[name]}").CARD
    else:
        found = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
        if name not in found:
            raise unknown_name("dataset", name, card_names())
        card = found[name].load()
    if not isinstance(card, Card):
        raise InputError(f"dataset '{name}': its entry point gives no Card")
    return card


__all__ = ["CARDS", "Card", "Item", "Part", "Structure", "card_names", "find_card"]
