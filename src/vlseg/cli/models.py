"""vlseg models"""

from typing import Annotated

import typer

from vlseg.cli.options import Json, finish


def models(
    name: Annotated[str | None, typer.Argument(help="One model; default: all.")] = None, json: Json = False
) -> None:
    """The models, their input size and number of parameters."""
    from vlseg.models.cards import model_cards

    cards = model_cards(name)
    lines = [f"{'name':<14}{'input':>6}{'parameters':>13}  {'text encoder':<34}weights (licence)"]
    lines += [
        f"{c.name:<14}{c.image_size:>6}{c.parameters:>13,}  {c.text_encoder or 'none':<34}{c.weights} ({c.licence})"
        for c in cards
    ]
    finish("models", {"models": [card.to_json() for card in cards]}, lines, as_json=json)
