"""`make report`: page, browser, and both packed by `snakemake --report`, followed link by link in a real Chromium."""

from __future__ import annotations

import itertools
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from conftest import ROOT
from pages import chromium, linked, requests, trouble, wait
from programs import finished
from scalequest.publishing.figures import figures
from scalequest.rows.tables import FILTERED, read_rows
from workflow import succeeded

PAGE, BROWSER = "results/report.html", "results/browser/index.html"
# The description of the workflow leads there.
PAPER = "https://arxiv.org/abs/2410.18693"
NUMBERS = "Numbers of the figures (CSV)"
# Of the results in the packed report.
ROWS = "nav tbody tr"
# The address of the picture or the frame that the packed report shows, once it is there.
SHOWN = """
const [image, frame] = ["img", "iframe"].map((name) => document.querySelector(`#app > div > .grow ${name}`));
return frame?.src ?? (image?.complete && image.naturalWidth > 0 ? image.src : "");
"""
CLICK = """
const link = [...document.querySelectorAll("nav a")].find((one) => one.innerText.trim() === arguments[0]);
link?.click();
return Boolean(link);
"""


def report(folder: Path, config: dict[str, Any]) -> str:
    """Make the report of a run, as `make report` does, and return what it prints."""
    overlay = folder / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(config), encoding="utf-8")
    tool = [sys.executable, str(ROOT / "scripts/tools/make_report.py"), "--snakefile", str(ROOT / "Snakefile")]
    where = ["--directory", str(folder), "--profile", str(ROOT / "profiles/local"), "--configfile", str(overlay)]
    return succeeded(finished([*tool, *where], cwd=folder))


def unpacked(run: Path, folder: Path) -> Path:
    """The packed report's folder, apart from the run."""
    with zipfile.ZipFile(run / "results/report.zip") as file:
        file.extractall(folder)
    return folder / "report"


@pytest.fixture(scope="module")
def packed(run: Path, config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert f"Both, packed: {run / 'results/report.zip'}" in report(run, config)
    return unpacked(run, tmp_path_factory.mktemp("sent"))


@pytest.fixture(scope="module")
def asked(run: Path) -> list[str]:
    """The run's questions, in the order of their ids."""
    rows = [row for path in (run / "results/filtered").rglob("*.parquet") for row in read_rows(path, FILTERED)]
    return [row["question"] for row in sorted(rows, key=lambda row: row["id"])]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


def opened(driver: Any, path: Path) -> None:
    """Open a page from disk. Each of its links leads to a part of it, to a file beside it or to the paper, and it asks
    for nothing but such files; nothing is complained of."""
    driver.get("about:blank")
    requests(driver)
    driver.get(path.as_uri())
    links = [url for url in linked(driver) if url != PAPER]
    for url in [*links, *requests(driver)]:
        parts = urlsplit(url)
        # The sample browser's views and rows are no parts of its page.
        assert path.name == "index.html" or not url.startswith(f"{path.as_uri()}#"), url
        assert parts.scheme in ("file", "data", "about"), url
        if parts.scheme == "file":
            file = Path(unquote(parts.path))
            assert file.is_file() and file.is_relative_to(path.parent), url
    assert trouble(driver) == []


def shows_rows(driver: Any, asked: list[str]) -> None:
    """The sample browser, in the page or the frame that is looked at, has these questions, and opens one."""
    wait(lambda: driver.execute_script("return document.body?.dataset.ready"), "the sample browser")
    assert f"all {len(asked)} questions" in driver.find_element("id", "shown").text
    assert driver.execute_script("return view.columns.question") == asked
    driver.find_element("css selector", ".item").click()
    wait(lambda: driver.find_elements("css selector", "#detail h2"), "a row", 10)


def tells(driver: Any, words: str) -> bool:
    """Whether the packed report's side has these words."""
    return words in " ".join(driver.find_element("tag name", "nav").text.split())


def test_pages_of_a_run_lead_to_nothing_that_is_not_there(
    packed: Path, run: Path, asked: list[str], driver: Any
) -> None:
    """In the run's folder, and in the packed report."""
    pages = [run / PAGE, run / BROWSER, *packed.rglob("*.html")]
    assert sorted(path.name for path in pages) == [*["index.html"] * 2, *["report.html"] * 3]
    for path in pages:
        opened(driver, path)
        if path.name == "index.html":
            shows_rows(driver, asked)


def test_each_figure_has_a_category_a_caption_and_its_numbers(packed: Path, driver: Any) -> None:
    driver.get((packed / "report.html").as_uri())
    results, categories = driver.execute_script("return [results, categories]")
    found = {
        (category, results[path]["labels"]["figure"], Path(path).name)
        for category, groups in categories.items()
        for path in itertools.chain.from_iterable(groups.values())
        if results[path]["labels"]
    }
    # Topics are off in this run.
    drawn = figures(topics=False)
    drawings = {(section, title, f"{name}.svg") for name, (title, section) in drawn.items()}
    assert found == drawings | {(NUMBERS, title, f"{name}.csv") for name, (title, _) in drawn.items()}
    assert {"Everything on one page", "Samples"} < set(categories)
    for path, result in results.items():
        assert (packed / result["data_uri"]).is_file(), path
        assert len(result["caption"]) > 60, path
    assert "Each figure says below it how to read it" in driver.execute_script("return workflow_desc")


def test_a_reader_sees_each_result_of_the_packed_report(packed: Path, asked: list[str], driver: Any) -> None:
    """By clicks: each category, and in it the links that show a result and say what it is."""
    driver.get((packed / "report.html").as_uri())
    results, categories = driver.execute_script("return [results, categories]")
    captions = {(packed / result["data_uri"]).as_uri(): result["caption"] for result in results.values()}
    seen: list[str] = []
    for category in categories:
        driver.get((packed / "report.html").as_uri())
        assert driver.execute_script(CLICK, category), category
        for number in range(len(wait(lambda: driver.find_elements("css selector", ROWS), "results", 10))):
            show, *_ = driver.find_elements("css selector", ROWS)[number].find_elements("css selector", "a")
            if category == NUMBERS:
                assert show.get_attribute("download")
                seen.append(show.get_attribute("href"))
            else:
                show.click()
                wait(lambda: driver.execute_script(SHOWN) not in ("", *seen), f"result {number} of {category}", 10)
                seen.append(driver.execute_script(SHOWN))
        for frame in driver.find_elements("css selector", "iframe"):
            driver.switch_to.frame(frame)
            if category == "Samples":
                shows_rows(driver, asked)
            wait(lambda: driver.find_elements("css selector", "figure svg, .item"), "its content", 10)
            driver.switch_to.default_content()
        driver.find_elements("css selector", f"{ROWS} a")[-1].click()
        words = re.sub(r"<.*?>", " ", captions[seen[-1]]).split()[:8]
        wait(partial(tells, driver, " ".join(words)), "its caption", 10)
    assert sorted(seen) == sorted(captions)
    assert trouble(driver) == []


def test_an_unfinished_run_has_a_report_of_what_is_there(
    run: Path, config: dict[str, Any], driver: Any, tmp_path: Path
) -> None:
    part = shutil.copytree(run, tmp_path / "part", symlinks=True)
    for name in ("candidates", "dataset", "students", "evaluation", "report", "browser"):
        shutil.rmtree(part / "results" / name)
    (part / "results/summary.json").unlink()
    said = report(part, config)
    assert "The run is not finished" in said
    page = (part / PAGE).read_text(encoding="utf-8")
    assert "<li>results/dataset/manifest.json</li>" in page
    assert "Not drawn: nothing has been measured yet." in page
    for path in (part / PAGE, part / BROWSER, unpacked(part, tmp_path / "sent") / "report.html"):
        opened(driver, path)
