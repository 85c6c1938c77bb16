"""The pictures of docs/images, from a finished run: python tests/support/take_pictures.py --results results

The sample browser in Chromium with a row open, and the funnel of the report.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support"), str(ROOT / "tests")]

from PIL import Image  # noqa: E402

from pages import chromium, wait  # noqa: E402

IMAGES = ROOT / "docs" / "images"
SIZE = (1200, 720)
BEST = """
const order = document.getElementById("order"), falling = order.closest("div").querySelector("input");
order.value = "solvable";
falling.checked = true;
for (const field of [order, falling]) field.dispatchEvent(new Event("change"));
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--row", default="", help="id of the question that is shown; the first one in the dataset")
    args = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    shutil.copyfile(args.results / "report/funnel.svg", IMAGES / "funnel.svg")
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder), SIZE) as driver:
        driver.get((args.results / "browser/index.html").resolve().as_uri())
        wait(lambda: driver.execute_script("return document.body.dataset.ready"), "the page")
        # The best ones first.
        driver.execute_script(BEST)
        chosen = "arguments[0] || view.keys[view.columns.selected.indexOf(true)]"
        driver.execute_script(f"location.hash = `#questions/${{encodeURIComponent({chosen})}}`", args.row)
        wait(lambda: driver.find_elements("css selector", ".candidate.selected .text"), "the row")
        # Formulas are typeset once they are seen.
        driver.execute_async_script("setTimeout(arguments[0], 500)")
        driver.save_screenshot(str(Path(folder) / "browser.png"))
        # A few shades do, and take a third of the room.
        Image.open(Path(folder) / "browser.png").convert("RGB").quantize(48).save(IMAGES / "browser.png", optimize=True)


if __name__ == "__main__":
    main()
