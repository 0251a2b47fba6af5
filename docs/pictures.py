"""Pictures of pages for the docs: the first screen, 1280 pixels wide, light and dark.

python docs/pictures.py PAGE.html NAME [--height 900]

Writes NAME-light.png and NAME-dark.png. Needs Debian's Chromium or the one that VLSEG_CHROMIUM names, and the
development packages.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
from browsing import NoBrowserError, chromium, open_page

WIDTH = 1280


def main() -> None:
    """Open the page in both schemes and write what a reader sees first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="an HTML file")
    parser.add_argument("name", type=Path, help="of the pictures, without ending")
    parser.add_argument("--height", type=int, default=900, help="pixels")
    given = parser.parse_args()
    if not given.page.is_file():
        parser.error(f"{given.page}: no such file")
    try:
        with chromium() as browser:
            for scheme in ("light", "dark"):
                with open_page(browser, given.page, WIDTH, scheme) as opened:
                    opened.page.set_viewport_size({"width": WIDTH, "height": given.height})
                    file = given.name.with_name(f"{given.name.name}-{scheme}.png")
                    opened.page.screenshot(path=file)
                    print(file)
    except NoBrowserError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
