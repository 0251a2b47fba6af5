"""Pictures of the page of `vlseg serve` for the docs: a made-up image, never a patient's.

python docs/page_pictures.py demo/runs/clipseg-tiny demo/data/phantoms/images docs

Serves the run, asks it in Debian's Chromium or the one that VLSEG_CHROMIUM names, and writes page-one.png (light),
page-instead.png (dark), page-many.png and page-phone.png. Needs the development packages.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
from browsing import NoBrowserError, chromium
from page_driving import Shown, page_at
from playwright.sync_api import Browser


@contextmanager
def serving(run: Path) -> Iterator[str]:
    """The address of `vlseg serve` over a run."""
    command = [sys.executable, "-m", "vlseg", "serve", str(run), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield running.stdout.readline().strip()
        finally:
            running.terminate()


def taken(shown: Shown, path: Path) -> None:
    """What is seen, in a small file."""
    shown.page.mouse.move(0, 0)
    shown.page.wait_for_timeout(900)
    shown.page.screenshot(path=path)
    with Image.open(path) as image:
        image.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            path, optimize=True
        )
    print(path)


def pictures(browser: Browser, address: str, images: Path, out: Path) -> None:
    """One image; two prompts against each other; many images; a phone."""
    image = images / "test-00001.png"
    asked = ["dark cyst in the lower left", "small round bright nodule", "large round dark cyst in the lower right"]
    with page_at(browser, address) as shown:
        shown.upload(image)
        for number, prompt in enumerate(asked, start=1):
            if number > 1:
                shown.page.get_by_role("button", name="Add a prompt").click()
            shown.type(number, prompt)
        shown.page.keyboard.press("Escape")
        taken(shown, out / "page-one.png")
    with page_at(browser, address, scheme="dark") as shown:
        shown.upload(image)
        shown.type(1, "dark cyst")
        shown.page.get_by_role("button", name="Instead… of").click()
        shown.type(2, "dark cyst in the lower left")
        shown.page.keyboard.press("Escape")
        taken(shown, out / "page-instead.png")
    with page_at(browser, address) as shown:
        shown.page.get_by_role("link", name="Many images").click()
        shown.page.get_by_label("Images", exact=True).set_input_files(sorted(images.glob("test-0000*.png"))[:6])
        shown.page.get_by_label("Prompts, one a line").fill("dark cyst\nsmall bright nodule")
        shown.page.get_by_role("button", name="Segment").click()
        shown.page.locator("#results-body tr").nth(11).wait_for()
        taken(shown, out / "page-many.png")
    with page_at(browser, address, 390) as shown:
        shown.page.set_viewport_size({"width": 390, "height": 844})
        shown.upload(image)
        shown.type(1, asked[0])
        shown.page.keyboard.press("Escape")
        taken(shown, out / "page-phone.png")


def main() -> None:
    """Serve, ask, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run on phantoms, as vlseg demo makes it")
    parser.add_argument("images", type=Path, help="its images")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    given = parser.parse_args()
    try:
        with serving(given.run) as address, chromium() as browser:
            pictures(browser, address, given.images, given.out)
    except NoBrowserError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
