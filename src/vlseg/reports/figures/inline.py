"""From matplotlib's SVG to one that is part of a page: no ids, no style sheet, the page's ink, paper and typeface."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_GEOMETRY = ("d", "x", "y", "transform", "points", "viewBox", "width", "height")
_DROPPED = re.compile(r"\s*font-family:[^;]*;?")


def inline_svg(text: str, label: str, *, colours: Mapping[str, str], widest: int, narrowest: int) -> str:
    """An <svg> for the middle of a page, without any id: many may share a page.

    Args:
        text: what matplotlib wrote.
        label: what is read out in place of the picture.
        colours: what stands in the page for a colour "#rrggbb" of the drawing.
        widest, narrowest: its width in the page is between these, in px; a page that is narrower scrolls it.
    """
    source = ET.fromstring(text)
    shapes = {one.get("id"): one for one in source.iter() if one.get("id")}
    background = shapes["patch_1"]
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": _rounded(source.get("viewBox", "")),
            "role": "img",
            "aria-label": label,
            "style": f"width:100%;min-width:{narrowest}px;max-width:{widest}px;height:auto",
            "stroke-linejoin": "round",
        },
    )
    for child in source:
        if child.tag == f"{SVG}g":
            root.extend(_plain(child, shapes, background))
    for node in root.iter():
        for colour, other in colours.items():
            if "style" in node.attrib:
                node.set("style", node.attrib["style"].replace(colour, other))
    return ET.tostring(root, encoding="unicode")


def _plain(node: ET.Element, shapes: dict[str | None, ET.Element], background: ET.Element) -> list[ET.Element]:
    """The shapes and texts below a node; groups that say nothing are left out, shapes used by id are put in place."""
    if node is background or node.tag in (f"{SVG}defs", f"{SVG}metadata"):
        return []
    if node.tag == f"{SVG}use":
        shape = ET.Element("path", _attributes(shapes[node.get(LINK, "")[1:]]))
        shape.attrib |= _attributes(node)
        place = f"translate({_rounded(shape.attrib.pop('x'))} {_rounded(shape.attrib.pop('y'))})"
        shape.set("transform", place)
        return [shape]
    inside = [one for child in node for one in _plain(child, shapes, background)]
    if node.tag == f"{SVG}g" and "transform" not in node.attrib and "style" not in node.attrib:
        return inside
    found = ET.Element(node.tag.removeprefix(SVG), _attributes(node))
    found.text = node.text if node.tag in (f"{SVG}text", f"{SVG}tspan") else None
    found.extend(inside)
    return [found]


def _attributes(node: ET.Element) -> dict[str, str]:
    kept = {}
    for name, value in node.attrib.items():
        if name in ("id", LINK, "clip-path"):
            continue
        if name == "style":
            kept[name] = _DROPPED.sub("", value)
        elif name in _GEOMETRY:
            kept[name] = _rounded(value)
        else:
            kept[name] = value
    if kept.get("transform", "").startswith("rotate(0 "):
        del kept["transform"]
    return kept


def _rounded(text: str) -> str:
    """Numbers with two decimals: a hundredth of a point is not seen."""
    short = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text)
    return re.sub(r"\s+", " ", short.replace("-0 ", "0 ")).strip()
