"""The notes that the published numbers were taken from (papers.md), read anew: what every table should hold."""

import re
from collections.abc import Callable

Labels = tuple[tuple[str, str], ...]
Numbers = tuple[float | None, float | None, tuple[float, ...] | None, tuple[float, ...], str]
"""Value, standard deviation, interval, other sources' values, tag."""
Expected = dict[str, dict[Labels, Numbers]]

DATA = {
    "Kvasir": "kvasir-seg",
    "ClinicDB": "cvc-clinicdb",
    "BKAI": "bkai-igh",
    "CVC-300": "cvc-300",
    "ColonDB": "cvc-colondb",
    "ETIS": "etis",
    "ISIC": "isic-2016",
    "ISIC-16": "isic-2016",
    "ISIC-2018": "isic-2018",
    "DFU": "dfuc-2022",
    "CAMUS": "camus",
    "BUSI": "busi",
    "BUSI (no normals)": "busi",
    "CheXloc": "chexlocalize",
    "CheX": "chexlocalize",
    "QaTa": "qata-cov19",
    "MosMed+": "mosmeddata-plus",
    "MosMed": "mosmeddata-plus",
    "MoNuSeg": "monuseg",
    "ESO-CT": "eso-ct",
    "BTMRI": "btmri",
    "EUS": "eus",
    "Duke breast MRI": "duke-breast-mri",
}
MEDVLSM = {
    "CRIS": "cris",
    "CLIPSeg": "clipseg",
    "BiomedCLIPSeg": "biomedclipseg",
    "BiomedCLIPSeg-D": "biomedclipseg-d",
    "Biomed": "biomedclipseg",
    "-D": "biomedclipseg-d",
    "UNet": "smp-unet",
    "UNet++": "smp-unetplusplus",
    "DeepLabV3+": "smp-deeplabv3plus",
    "cited SOTA": "cited-sota",
}
OTHERS = {
    "UNet": "unet",
    "U-Net": "unet",
    "UNet++": "unetplusplus",
    "DeepLabv3": "deeplabv3",
    "Attention U-Net": "attention-unet",
    "Att-UNet": "attention-unet",
    "nnU-Net": "nnunet",
    "Ariadne's Thread": "ariadne",
    "MaPLe + decoder": "maple-decoder",
    "MaPLe+dec": "maple-decoder",
    "VLSM-Adapter": "clipseg-da",
    "LViT-T": "lvit",
    "LViT-TW": "lvit-tw",
    "LViT-TW (no text)": "lvit-tw",
    "LViT-T no pretrain": "lvit-no-pretrain",
}


class Notes:
    """papers.md, asked for its tables and sentences."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()

    def table(self, *starts: str) -> list[list[str]]:
        """The rows, its header first, of the one table whose header begins with these cells."""
        found = [i for i, line in enumerate(self.lines) if tuple(cells(line)[: len(starts)]) == starts]
        assert len(found) == 1, (starts, found)
        rows = []
        for line in self.lines[found[0] :]:
            if not line.startswith("|"):
                break
            rows.append(cells(line))
        return [rows[0], *rows[2:]]

    def sentence(self, start: str) -> str:
        """The one line that begins so."""
        (found,) = [line for line in self.lines if line.startswith(start)]
        return found


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def key(**labels: str) -> Labels:
    return tuple(sorted(labels.items()))


def number(text: str) -> float:
    return float(text.strip().replace("−", "-"))


def plain(value: float | None, tag: str, std: float | None = None) -> Numbers:
    return (value, std, None, (), tag)


def table2(notes: Notes) -> Expected:
    header, *rows = notes.table("Trained on", "Model")
    names = {"Individual": "individual", "Pooled (all)": "pooled-all", "Endoscopy pooled": "pooled-endoscopy"}
    found: Expected = {}
    block = ""
    for row in rows:
        block = row[0] or block
        for data, text in zip(header[2:], row[2:], strict=True):
            if text != "–":
                place = found.setdefault(f"medvlsm/table2/{names[block]}", {})
                place[key(model=MEDVLSM[row[1]], data=DATA[data])] = plain(number(text), "IMG")
    return found


def by_prompt(notes: Notes) -> Expected:
    prompts = [f"p{i}" for i in range(10)]
    long = notes.table("Set", "Model", *prompts)
    # Both tables begin alike; the short one is the other.
    starts = [i for i, line in enumerate(notes.lines) if cells(line)[:3] == ["Set", "Model", "p0"]]
    short = Notes("\n".join(notes.lines[starts[1] :])).table("Set", "Model", "p0")
    found: Expected = {}
    for header, *rows in (long, short):
        data = ""
        for row in rows:
            data = row[0] or data
            model, mode, rest = re.fullmatch(r"(\S+) (zs|ft)(.*)", row[1]).groups()  # type: ignore[union-attr]
            name = {"zs": "zero-shot", "ft": "finetuned"}[mode] + ("-rerun" if "camus_testing" in rest else "")
            for prompt, text in zip(header[2:], row[2:], strict=True):
                labels = {"data": DATA[data], "model": MEDVLSM[model], "asked": prompt}
                if mode == "ft":
                    labels["prompt"] = prompt
                if text != "–":
                    found.setdefault(f"medvlsm/prompts/{name}", {})[key(**labels)] = plain(number(text), "VEC")
    intervals(notes, found["medvlsm/prompts/finetuned"])
    return found


def intervals(notes: Notes, found: dict[Labels, Numbers]) -> None:
    text = notes.sentence("95 % CI at p6").partition("[VEC]: ")[2].removesuffix(".")
    pattern = re.compile(r"(\S+?)(?: ft)? ([\d.]+) \[([\d.]+), ([\d.]+)\]")
    parts = [part.split(" ", 1) for part in text.split("; ")]
    assert sum(len(pattern.findall(rest)) for _, rest in parts) == text.count("[")
    for data, rest in parts:
        for model, value, low, high in pattern.findall(rest):
            labels = key(data=DATA[data], model=MEDVLSM[model], asked="p6", prompt="p6")
            assert found[labels][0] == number(value)
            found[labels] = (number(value), None, (number(low), number(high)), (), "VEC")


def language(notes: Notes) -> Expected:
    header, *rows = notes.table("CRIS", "Kvasir L/R")
    found: dict[Labels, Numbers] = {}
    for attribute, *changes in rows:
        for data, text in zip(header[1:], changes, strict=True):
            for change, one in zip(("wrong", "random"), text.split(" / "), strict=True):
                labels = {"data": DATA[data.removesuffix(" L/R")], "model": "cris", "prompt": "p6", "change": change}
                name = {"colour": "color"}.get(attribute, attribute)
                found[key(attribute=name, **labels)] = plain(None if one == "?" else number(one), "IMG")
    return {"medvlsm/language-use": found}


def synthetic_boost(notes: Notes) -> Expected:
    header, *rows = notes.table("CAMUS, real data only")
    places = {
        "CLIPSeg": ("real", "clipseg"),
        "CLIPSeg, batch 128": ("real-batch-128", "clipseg"),
        "CRIS": ("real", "cris"),
        "CRIS, synthetic pretrain + real": ("synthetic", "cris"),
        "CLIPSeg bs128, synthetic pretrain + real": ("synthetic-batch-128", "clipseg"),
    }
    found: Expected = {}
    for name, *values in rows:
        place, model = places[name]
        for prompt, text in zip(header[1:], values, strict=True):
            mean, std = map(number, text.split("±"))
            labels = key(data="camus", model=model, prompt=prompt, asked=prompt)
            found.setdefault(f"synthetic-boost/{place}", {})[labels] = plain(mean, "CALC", std)
    targets = {"LV": "left ventricular cavity", "myocardium": "myocardium", "LA": "left atrium cavity"}
    sentence = notes.sentence("Per structure (CRIS p1)").partition(": ")[2].partition(". ")[0]
    found["synthetic-boost/structures"] = {
        key(data="camus", model="cris", prompt="p1", asked="p1", target=targets[name]): plain(number(value), "CALC")
        for name, value in (part.rsplit(" ", 1) for part in sentence.split(", "))
    }
    return found


def adapter(notes: Notes) -> Expected:
    header, *rows = notes.table("Set", "Metric")
    models = {
        "CLIPSeg": "clipseg",
        "CRIS": "cris",
        "SAN": "san",
        "CLIPSeg-SA": "clipseg-sa",
        "CLIPSeg-DA": "clipseg-da",
    }
    metrics = {"DSC": "dice", "IoU": "iou", "HD95": "hd95"}
    found: Expected = {}
    data = ""
    for row in rows:
        data = row[0] or data
        for model, text in zip(header[2:], row[2:], strict=True):
            labels = key(data=DATA[data], model=models[model.split()[0]])
            found.setdefault(f"vlsm-adapter/table1/{metrics[row[1]]}", {})[labels] = plain(number(text), "IMG")
    line = notes.sentence("DSC [3RD wizwand]: Kvasir").partition(": ")[2].partition(". No")[0]
    found["telescopic/results"] = {
        key(data=DATA[name], model="clipseg-telescopic"): plain(number(value), "3RD")
        for name, value in (part.split(" ") for part in line.split(", "))
    }
    return found


def adversarial(notes: Notes) -> Expected:
    found: Expected = {"adversarial/kvasir/dice": {}, "adversarial/kvasir/iou": {}}
    for attack, epsilon, dice, iou in notes.table("Attack", "ε")[1:]:
        labels = key(model="clipseg-da", data="kvasir-seg", attack=attack, epsilon={"–": "0"}.get(epsilon, epsilon))
        found["adversarial/kvasir/dice"][labels] = plain(number(dice), "IMG")
        found["adversarial/kvasir/iou"][labels] = plain(number(iou), "IMG")
    return found


def lvit(notes: Notes) -> Expected:
    results: Expected = {"dice": {}, "iou": {}}
    shares: Expected = {"dice": {}, "iou": {}}
    for data, models, dice, iou, sources in notes.table("Set", "Model", "Dice", "mIoU")[1:]:
        tags = re.findall(r"\[(\w+)\]", sources)
        match = re.fullmatch(r"(.+) 25/50/100 %", models)
        for metric, text in (("dice", dice), ("iou", iou)):
            if match:
                model = OTHERS[match[1]]
                for share, value in zip(("0.25", "0.5", "1"), text.split("/"), strict=True):
                    full = "README" if share == "1" and "README" in tags else "3RD"
                    shares[metric][key(data=DATA[data], model=model, label_share=share)] = plain(number(value), full)
                results[metric][key(data=DATA[data], model=model)] = plain(number(value), full)
                continue
            names = models.split(" / ")
            for i, (name, value) in enumerate(zip(names, text.split(" / "), strict=True)):
                tag = tags[i] if len(tags) == len(names) else tags[0]
                first, *rest = re.findall(r"[\d.]+", value)
                labels = key(data=DATA[data], model=OTHERS[name])
                results[metric][labels] = (number(first), None, None, tuple(map(number, rest)), tag)
    remembered = notes.sentence("Other baselines [MEM only").partition(": ")[2].partition(" on QaTa")[0]
    for name, pair in (part.rsplit(" ", 1) for part in remembered.split(", ")):
        for metric, value in zip(("dice", "iou"), pair.split("/"), strict=True):
            labels = key(data="qata-cov19", model=OTHERS.get(name, name.lower()))
            results[metric][labels] = plain(number(value), "MEM")
    parts = {f"lvit/results/{m}": v for m, v in results.items()}
    return parts | {f"lvit/shares/{m}": v for m, v in shares.items()}


def vlsm_ensemble(notes: Notes) -> Expected:
    """Its table was not found: a gain is known, and of what."""
    sentence = notes.sentence("Results known: +6.3 % Dice for BiomedCLIPSeg → A on BKAI")
    assert "(abstract" in sentence
    notes.sentence("NOT FOUND: its Table 1")
    return {"vlsm-ensemble/dice": {key(model="vlsm-ensemble-a", data="bkai-igh"): (None, None, None, (), "ABSTRACT")}}


def medclipseg(notes: Notes) -> Expected:
    header, *rows = notes.table("Method", "10 %")
    found: Expected = {f"medclipseg/{name}": {} for name in ("average", "generalisation", "ablation")}
    shares = [f"{number(text.removesuffix('%')) / 100:g}" for text in header[1:]]
    for name, *values in rows:
        for share, value in zip(shares, values, strict=True):
            labels = key(model=OTHERS.get(name, name.lower()), data="average", share=share)
            found["medclipseg/average"][labels] = plain(number(value), "README")
    kinds = ("in-domain", "out-of-domain", "harmonic-mean")
    line = notes.sentence("Domain generalisation").partition("harmonic mean: ")[2].removesuffix(".")
    for name, triple in (part.rsplit(" ", 1) for part in line.split("; ")):
        model = OTHERS.get(name, name.lower())
        for kind, value in zip(kinds, triple.split("/"), strict=True):
            found["medclipseg/generalisation"][key(model=model, data=kind)] = plain(number(value), "README")
    ablation, backbones, prompts = notes.sentence("Ablation (ID/OOD/HM) [3RD]: ").split(". ")[:3]
    for name, triple in (part.rsplit(" ", 1) for part in ablation.partition(": ")[2].split("; ")):
        for kind, value in zip(kinds, triple.split("/"), strict=True):
            labels = key(model="medclipseg", data=kind, variant=name)
            found["medclipseg/ablation"][labels] = plain(number(value), "3RD")
    for place, label, text in (("backbones", "backbone", backbones), ("prompt-quality", "asked", prompts)):
        pairs = re.findall(r"([A-Za-z-]+) ([\d.]+)(?:,|$| \()", text.partition(": " if ":" in text else "HM ")[2])
        pairs = pairs or re.findall(r"([A-Za-z-]+) (\d\d\.\d\d)", text)
        found[f"medclipseg/{place}"] = {
            key(model="medclipseg", data="harmonic-mean", **{label: name}): plain(number(value), "3RD")
            for name, value in pairs
        }
    sources: dict[Labels, Numbers] = {}
    own = notes.sentence("MedCLIPSeg per source set: ").partition(": ")[2].partition(" [3RD]")[0]
    for name, value in (part.split(" ") for part in own.split(", ")):
        sources[key(model="medclipseg", data=DATA[name])] = plain(number(value), "3RD")
    others = notes.sentence("Per-set from the same paper [3RD wizwand]: ").partition(": ")[2].removesuffix(".")
    for part in others.split("; "):
        data, rest = part.split(" ", 1)
        for name, value in (one.split(" ") for one in rest.split(", ")):
            sources[key(model=name.lower(), data=DATA[data])] = plain(number(value), "3RD")
    line = notes.sentence("OOD ClinicDB when trained on Kvasir: ").partition(": ")[2]
    crossed = re.findall(r"(VLSM-Adapter|LViT|CausalCLIPSeg|MedCLIPSeg) (\d\d\.\d\d)", line)
    found["medclipseg/cross-dataset"] = {
        key(model=OTHERS.get(name, name.lower()), data="cvc-clinicdb", trained_on="kvasir-seg"): plain(
            number(value), "3RD"
        )
        for name, value in crossed
    }
    return found | {"medclipseg/sources": sources}


def further(notes: Notes) -> Expected:
    """Section 6.2: one row a paper, its numbers in words."""
    methods = {
        "CausalCLIPSeg": "causalclipseg",
        "TGC-Net": "tgc-net",
        "TMC": "tmc",
        "STPNet": "stpnet",
        "MedSAM-3": "medsam-3",
        "SAM3 lesion study": "sam3",
        "TextSAM-EUS": "textsam-eus",
        "EffiSegNet-B4": "effisegnet-b4",
        "Conditional diffusion BUSI": "conditional-diffusion",
    }
    found: Expected = {name: {} for name in ("others/dice", "others/iou", "ariadne/table1/dice", "ariadne/table1/iou")}
    sets = "|".join(sorted(map(re.escape, DATA), key=len, reverse=True))
    pattern = re.compile(rf"\b({sets})(?: video)?(?: mDice| Dice)? (\d+(?:\.\d+)?)(?:/(\d+\.\d+))?(?![\d.]* [a-z]+ )")
    for method, facts, source in notes.table("Method", "Facts and numbers")[1:]:
        tag = "ABSTRACT" if source.startswith("abstract") else (re.findall(r"\[(\w+)\]", source) or [""])[0]
        if method.startswith("Ariadne"):
            first, others = facts.split("; same table: ")
            dice, iou = re.findall(r"(?:Dice|Jaccard) ([\d.]+)", first)
            found["ariadne/table1/iou"][key(data="qata-cov19", model="ariadne")] = plain(number(iou), tag)
            for name, value in [("Ariadne's Thread", dice)] + [tuple(p.rsplit(" ", 1)) for p in others.split(", ")]:
                labels = key(data="qata-cov19", model=OTHERS.get(name, name.lower()))
                found["ariadne/table1/dice"][labels] = plain(number(value), tag)
            continue
        name = next((methods[one] for one in methods if method.startswith(one)), None)
        if name is None:
            continue
        for data, dice, iou in pattern.findall(facts.replace("MosMed+ ", "MosMed ")):
            value = number(dice) if number(dice) > 1 else 100 * number(dice)
            tag_here = "3RD" if name == "medsam-3" else tag
            found["others/dice"][key(data=DATA[data], model=name)] = plain(value, tag_here)
            if iou:
                found["others/iou"][key(data=DATA[data], model=name)] = plain(number(iou), tag)
    return found


READERS: list[Callable[[Notes], Expected]] = [
    table2, by_prompt, language, synthetic_boost, adapter, adversarial, lvit, vlsm_ensemble, medclipseg, further,
]  # fmt: skip
