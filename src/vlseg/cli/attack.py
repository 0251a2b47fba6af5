"""vlseg attack"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vlseg.cli.attack_lines import attack_lines, gradient_lines
from vlseg.cli.options import (
    Data,
    Device,
    Json,
    ModelSettings,
    Precision,
    Revision,
    Target,
    Threads,
    Weights,
    finish,
    say,
)


def attack(
    sources: Annotated[
        list[str],
        typer.Argument(help="Run folder, model folder, hub id or model name; several: a matrix.", metavar="RUN"),
    ],
    data: Data,
    method: Annotated[
        Literal["fgsm", "pgd", "segpgd", "apgd", "spsa", "noise", "universal", "greedy", "gradient", "random"] | None,
        typer.Option(help="How a change is looked for; default: pgd, of words greedy. docs/attacks.md describes them."),
    ] = None,
    epsilon: Annotated[
        list[str] | None,
        typer.Option(help="How far, on images in [0, 1]; give it again for more. Default: 2/255 and 8/255."),
    ] = None,
    norm: Annotated[Literal["linf", "l2"], typer.Option(help="What epsilon measures.")] = "linf",
    place: Annotated[
        Literal["input", "native"], typer.Option(help="Change the image at the network's size, or at its own.")
    ] = "input",
    goal: Annotated[
        Literal["untargeted", "erase", "make", "move"],
        typer.Option(help="Away from the truth; no mask; a mask of what is absent; the mask of another target."),
    ] = "untargeted",
    loss: Annotated[Literal["ce", "dice", "both"], typer.Option(help="What is followed on the way.")] = "both",
    steps: Annotated[
        int | None, typer.Option(help="Default: 20; 1 of fgsm; 5 passes of universal; of words by size.", min=1)
    ] = None,
    step_size: Annotated[str | None, typer.Option(help="A number or fraction; default: 2.5 epsilon / steps.")] = None,
    restarts: Annotated[int, typer.Option(help="Searches from other starts; the worst counts.", min=1)] = 1,
    words: Annotated[
        list[str] | None,
        typer.Option(
            help="Change the sentence, not the image: typos, synonyms (these keep its meaning), vocabulary, near,"
            " suffix, order; again for more.",
            metavar="KIND",
        ),
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(help="Of words: how many changes; give it again for more. Default: 1 and 2.", min=1),
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Of words: sentences that are asked at each step; default: 64.", min=1)
    ] = None,
    whole: Annotated[
        list[str] | None,
        typer.Option("--attack", help="A whole attack, as a table names it (repr or JSON), in place of the above."),
    ] = None,
    preset: Annotated[
        Literal["published"] | None,
        typer.Option(help="published: as arXiv 2505.02971 did it, and without its faults beside it."),
    ] = None,
    round_trip: Annotated[
        Literal["8bit", "jpeg"] | None, typer.Option(help="Write the attacked image to such a file, read it, score.")
    ] = None,
    onto: Annotated[
        list[str] | None, typer.Option(help="Try what is found on this model, too; again for more.")
    ] = None,
    check_gradients: Annotated[
        bool,
        typer.Option("--check-gradients", help="Do searches that see no gradient do more? On up to 32 samples."),
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Attack so many samples, spread over targets.", min=1)] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    prompt: Annotated[str | None, typer.Option(help="Prompt name; default: the run's own.")] = None,
    target: Target = None,
    threshold: Annotated[float | None, typer.Option(help="On probabilities.", min=0.0, max=1.0)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for scores; default: inside the run.")] = None,
    settings: ModelSettings = None,
    weights: Weights = None,
    revision: Revision = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Of random starts and noise.", min=0)] = 0,
    save_images: Annotated[
        bool, typer.Option("--save-images", help="Keep small copies of images and outlines: patient data.")
    ] = False,
    json: Json = False,
) -> None:
    """How far does a change of the image that nobody sees, or of the sentence, push the mask? Controls beside it."""
    from vlseg.jobs.attack import attack_on
    from vlseg.jobs.attack_plan import AttackOptions
    from vlseg.jobs.attack_summary import summary
    from vlseg.jobs.scoring import EvaluateOptions
    from vlseg.jobs.settings import model_settings

    options = EvaluateOptions(
        prompt=prompt,
        split=split,
        target=target,
        weights=weights,
        revision=revision,
        device=device,
        precision=precision,
        threads=threads,
        threshold=threshold,
        seed=seed,
        pictures=save_images,
        **model_settings(settings or []),
    )
    asked = AttackOptions(
        method=method,
        epsilons=epsilon or (),
        norm=norm,
        place=place,
        goal=goal,
        loss=loss,
        steps=steps,
        step_size=step_size,
        restarts=restarts,
        seed=seed,
        attacks=whole or (),
        limit=limit,
        round_trip=round_trip,
        preset=preset,
        words=words or (),
        sizes=size or (),
        candidates=candidates,
        check_gradients=check_gradients,
    )
    try:
        values = summary(attack_on(sources, data, options, asked, onto=onto or (), out=out))
    except KeyboardInterrupt:
        if not save_images:
            say("stopped; the same command goes on where it was")
        raise
    for line in [*values["rises"], *gradient_lines(values, signs=True)]:
        say(f"warning: {line}")
    finish("attack", values, [] if json else attack_lines(values), as_json=json)
