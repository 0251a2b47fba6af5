"""vlseg models"""

from typing import Annotated

import typer

from vlseg.cli.options import Device, Json, Threads, finish


def models(
    name: Annotated[str | None, typer.Argument(help="One model; default: all.")] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time a prediction and a training step here, and their memory.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """The models: size, input, text encoder, protocols, where weights come from; with --measure what they cost here."""
    from vlseg.models import Published
    from vlseg.models.cards import model_cards

    cards = model_cards(name)
    lines = [f"{'name':<18}{'input':>5}{'parameters':>13}{'decoder':>12}  {'text encoder':<23}protocols"]
    lines += [
        f"{c.name:<18}{_count(c.image_size):>5}{_count(c.parameters):>13}{_count(c.decoder):>12}  "
        f"{c.text_encoder or 'none':<23}{', '.join(c.protocols)}"
        for c in cards
    ]
    lines += ["", *(f"{card.name}: {card.about}" for card in cards if card.about), "", "weights:"]
    users: dict[Published, list[str]] = {}
    for card in cards:
        for one in card.published:
            users.setdefault(one, []).append(card.name)
    for one, names in users.items():
        pinned = f", commit {one.revision[:12]}" if one.revision else ""
        summed = f", sha256 {one.sha256[:12]}" if one.sha256 else ""
        packed = f", out of the package {one.package}" if one.package else ""
        lines.append(
            f"{', '.join(names)}: {one.place}{packed} ({one.licence}; protocol {one.protocol}{pinned}{summed})"
        )
        lines += [f"    {one.note}"] if one.note else []
        lines += [f"    the same at {', '.join(one.mirrors)}"] if one.mirrors else []
    plain = [card.name for card in cards if not card.published and card.parameters is not None]
    lines += [f"{', '.join(plain)}: random"] if plain else []
    values: dict[str, object] = {"models": [card.to_json() for card in cards]}
    if measure:
        from dataclasses import asdict

        from vlseg.jobs.measure import measure_models

        sized = [card.name for card in cards if card.parameters is not None]
        measured = measure_models(sized, device=device, threads=threads)
        values["measured"] = [asdict(one) for one in measured]
        lines.append(f"{'name':<18}{'predict':>9}{'next prompt':>13}{'step':>9}{'memory':>11}{'with step':>11}")
        lines += [
            f"{m.name:<18}{m.predict_seconds:>7.2f} s"
            f"{f'{m.next_prompt_seconds:.3f} s' if m.next_prompt_seconds is not None else '-':>13}"
            f"{m.step_seconds:>7.2f} s{m.predict_bytes / 2**30:>7.2f} GiB{m.step_bytes / 2**30:>7.2f} GiB"
            for m in measured
        ]
    finish("models", values, lines, as_json=json)


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
