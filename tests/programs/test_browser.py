"""The sample browser, made of written tables and opened from disk in a real Chromium: what it shows and lets one do."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pages import DESKTOP, PHONE, Firefox, axe, chromium, requests, trouble, wait
from programs import refused, script, succeeded
from scalequest.hashing import digest
from scalequest.publishing import browser_data
from scalequest.publishing.marks import read_marks
from scalequest.rows.tables import CANDIDATES, FILTERED, JUDGEMENTS, write_table
from scalequest.runtime.files import read_json
from written_run import CUT, EASY, HOSTILE, OPTIONS, PLAIN, write_evaluation, write_run, write_topics, write_verified

FILTERS = [
    {"name": "length", "action": "drop", "enabled": True, "max_characters": 2000},
    {"name": "duplicates", "action": "mark", "enabled": True, "threshold": 0.7},
    {"name": "difficulty", "action": "drop", "enabled": True, "generators": ["plain"], "below_quantile": 0.1},
    {"name": "solvability", "action": "drop", "enabled": True, "min_probability": 0.5},
]
SETTINGS = {"max_mb": 150, "filters": FILTERS}


def build(run: Path, shards: list[str], measured: list[str], **settings: Any) -> str:
    """Make the browser of a run's folder, and return its log."""
    files: dict[str, Any] = {"results": run / "results", "shards": shards, "measured": measured or None}
    files |= {"marks": run / "marks", "folder": run / "results/browser", "out": run / "results/browser.json"}
    return succeeded(script("build_browser", {**SETTINGS, **settings}, **files))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with its browser: plain questions of one generator, hostile ones of another, answers."""
    run = tmp_path_factory.mktemp("browsed")
    shards = write_run(run / "results", {"plain": PLAIN, "hostile": HOSTILE})
    write_topics(run / "results", {"plain": 40, "hostile": 16}, [])
    write_verified(run / "results", {"plain": 40, "hostile": 16})
    build(run, shards, write_evaluation(run / "results"), topics=True, verified=True)
    return run


@pytest.fixture(scope="module", params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def screen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("chromium"), request.param) as driver:
        driver.phone = request.param == PHONE
        yield driver


@pytest.fixture
def page(made: Path, screen: Any) -> Callable[[str], Any]:
    """Opens the page anew at a link, with nothing kept from before."""

    def at(link: str = "") -> Any:
        screen.get("about:blank")
        screen.get((made / "results/browser/index.html").as_uri() + link)
        wait(lambda: screen.execute_script("return document.body.dataset.ready"), "the page")
        screen.execute_script("localStorage.clear(); marks.own.clear(); blind.deck = null;")
        return screen

    return at


def text(driver: Any, selector: str) -> str:
    return str(driver.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector))


def titles(driver: Any) -> list[str]:
    return list(driver.execute_script("return [...document.querySelectorAll('.item .title')].map((e) => e.innerText)"))


def click(driver: Any, words: str, within: str = "body") -> None:
    """Click the button or link with these words, as a reader does: it has to be there, and visible."""
    from selenium.webdriver.common.by import By

    place = driver.find_element(By.CSS_SELECTOR, within)
    found = [e for e in place.find_elements(By.CSS_SELECTOR, "a, button, label, summary") if e.text.strip() == words]
    assert found, f"nothing says {words!r} in {within}"
    found[0].click()


def fill(driver: Any, selector: str, words: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    box = driver.find_element(By.CSS_SELECTOR, selector)
    box.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.BACKSPACE, words)


def press(driver: Any, key: str) -> None:
    from selenium.webdriver.common.by import By

    driver.find_element(By.TAG_NAME, "body").send_keys(key)


def choose(driver: Any, label: str, value: str) -> None:
    """Choose a value in the field of the filters with this label."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    if not driver.execute_script("return document.getElementById('more').open"):
        click(driver, "Filters and order")
    labels = driver.find_elements(By.CSS_SELECTOR, "#fields label")
    [field] = [one for one in labels if one.text.split("\n")[0].strip().startswith(label)]
    Select(field.find_element(By.TAG_NAME, "select")).select_by_value(value)


def counted(driver: Any, words: str) -> None:
    wait(lambda: text(driver, "#count") == words, f"{words}; it says {text(driver, '#count')}", 10)


def opened(driver: Any, key: str) -> None:
    wait(lambda: text(driver, "#detail h2") == key, f"row {key}; it shows {text(driver, '#detail h2')!r}", 10)


# ---------------------------------------------------------------- what is shown


def test_it_lists_every_question_kept_or_dropped(page) -> None:
    driver = page()
    assert text(driver, "#shown") == "Shown: all 76 questions, all 6 benchmark answers."
    counted(driver, "76 of 76 rows")
    assert titles(driver)[0] == "Ann has 0 pens and buys $0^2$ more. How many now? [0]"
    assert text(driver, "#page") == "page 1 of 2"
    click(driver, "Next page")
    assert text(driver, "#page") == "page 2 of 2"
    assert len(titles(driver)) == 26


def test_a_row_shows_all_that_was_found_about_it(page) -> None:
    driver = page("#questions/plain%2Fs0%2F000000002")
    opened(driver, "plain/s0/000000002")
    shown = text(driver, "#detail")
    assert "dropped by solvability" in shown
    assert "not solvable: 0.21, below 0.5" in shown
    assert "min_probability 0.5" in shown
    assert f"{OPTIONS[2]} (probability 0.4)" in shown
    assert "0 responses" in shown
    # It was dropped, so that no solver saw it.
    assert "Verified answer" not in shown
    driver = page("#questions/plain%2Fs0%2F000000003")
    opened(driver, "plain/s0/000000003")
    shown = text(driver, "#detail")
    assert f"{HOSTILE[3]} (text, agreement 0.8)" in shown
    assert "small 0.5, large 1" in shown
    assert "proof" in shown
    driver = page(f"#questions/plain%2Fs0%2F{EASY:09d}")
    opened(driver, f"plain/s0/{EASY:09d}")
    # The number of which the quantile came, in the reason and beside the setting.
    rows = driver.execute_script("return [...document.querySelectorAll('#detail tr')].map((row) => row.innerText)")
    [row] = [row.split("\t") for row in rows if row.startswith("difficulty")]
    assert row[:4] == ["difficulty", "fails", f"too easy: -0.30, below {CUT}", "-0.3"]
    assert row[4] == f"action drop, below_quantile 0.1, threshold {CUT}"
    driver = page("#questions/hostile%2Fs0%2F000000000")
    opened(driver, "hostile/s0/000000000")
    assert "no threshold for this generator" in text(driver, "#detail")
    driver = page("#questions/plain%2Fs0%2F000000000")
    opened(driver, "plain/s0/000000000")
    shown = text(driver, "#detail")
    assert "near-duplicate of another" in shown
    assert "<b>the other</b>" in shown
    assert "threshold 0.7" in shown
    assert "Response 1 selected" in text(driver, ".candidate.selected h4")
    assert len(driver.find_elements("css selector", ".candidate")) == 2
    assert "9, cut" in text(driver, ".candidate")
    # Of the selected response alone, folded.
    [trace] = driver.find_elements("css selector", ".candidate details")
    assert trace.text.startswith("Trace, ") and "Let me see." not in trace.text
    trace.find_element("css selector", "summary").click()
    assert "Let me see." in trace.text
    assert len(driver.find_elements("css selector", ".question .katex")) == 1
    click(driver, "Source", ".question")
    assert "buys $0^2$ more" in text(driver, ".question .text")


def test_answers_show_both_graders_verdicts(page) -> None:
    driver = page()
    click(driver, "Benchmark answers", "nav")
    counted(driver, "6 of 6 rows")
    choose(driver, "Graders", "no")
    counted(driver, "1 of 6 rows")
    press(driver, "j")
    opened(driver, "student/bench/bench/0/0")
    shown = text(driver, "#detail")
    assert re.search(r"equivalence\s+wrong", shown)
    assert re.search(r"paper\s+right", shown)
    assert "The answer is <script>window.pwned = 1</script>" in shown


# ---------------------------------------------------------------- search, filters, order, keys, links


def test_search_looks_into_all_questions_and_into_loaded_responses(page) -> None:
    driver = page()
    fill(driver, "#search", "[41]")
    counted(driver, "1 of 76 rows")
    fill(driver, "#search", "Sample 1:")
    counted(driver, "0 of 76 rows")
    assert "the 0 of 76 rows that are loaded" in text(driver, "#search-loaded-label")
    fill(driver, "#search", "")
    counted(driver, "76 of 76 rows")
    press(driver, "j")
    opened(driver, "plain/s0/000000000")
    if driver.phone:
        click(driver, "Back to the list")
    assert "the 76 of 76 rows that are loaded" in text(driver, "#search-loaded-label")
    driver.find_element("id", "search-loaded").click()
    fill(driver, "#search", "Sample 1:")
    counted(driver, "51 of 76 rows")


def test_filters_and_order(page) -> None:
    driver = page()
    choose(driver, "Status", "dropped")
    counted(driver, "25 of 76 rows")
    choose(driver, "Generator", "hostile")
    counted(driver, "5 of 76 rows")
    click(driver, "Reset all")
    counted(driver, "76 of 76 rows")
    choose(driver, "Failed filter", "duplicates")
    counted(driver, "16 of 76 rows")
    click(driver, "Reset all")
    fill(driver, "[aria-label='least Difficulty']", "0.55")
    counted(driver, "5 of 76 rows")
    click(driver, "Reset all")
    choose(driver, "Topic", OPTIONS[1])
    counted(driver, "14 of 76 rows")
    click(driver, "Reset all")
    choose(driver, "Order", "difficulty")
    driver.find_element("css selector", "#fields [aria-label='Order'] [type='checkbox']").click()
    wait(lambda: titles(driver)[0].endswith("[59]"), "the hardest first", 10)
    choose(driver, "Order", "filter")
    # Falling, with what no filter dropped at the end.
    wait(lambda: "dropped: solvability" in text(driver, ".item .state"), "the filters' names, falling", 10)
    driver.find_element("css selector", "#fields [aria-label='Order'] [type='checkbox']").click()
    wait(lambda: "dropped: difficulty" in text(driver, ".item .state"), "the filters' names, rising", 10)


def test_keys_go_from_row_to_row_and_links_lead_back(page) -> None:
    driver = page()
    for key, expected in (("j", "000000000"), ("j", "000000001"), ("j", "000000002"), ("k", "000000001")):
        press(driver, key)
        opened(driver, f"plain/s0/{expected}")
    address = driver.current_url
    assert address.endswith("#questions/plain%2Fs0%2F000000001")
    press(driver, "/")
    assert driver.execute_script("return document.activeElement.id") == ("search" if not driver.phone else "")
    driver.back()
    opened(driver, "plain/s0/000000002")
    driver = page("#questions/nothing")
    assert "There is no row nothing here" in text(driver, "#detail")


# ---------------------------------------------------------------- marks and blind reading


def saved(driver: Any, name: str) -> Path:
    """A file that the page has saved, taken away so that the next one is new."""
    folder = Path(driver.capabilities["chrome"]["userDataDir"]).parent / "downloads"
    path = wait(lambda: (folder / name).exists() and folder / name, name, 20)
    return Path(path.rename(folder / f"{len(list(folder.iterdir()))}-{name}"))


def test_marks_are_saved_and_survive_a_rebuild(page, made: Path, tmp_path: Path) -> None:
    driver = page("#questions/plain%2Fs0%2F000000003")
    opened(driver, "plain/s0/000000003")
    press(driver, "g")
    assert text(driver, ".marking [aria-pressed='true']") == "Good"
    fill(driver, ".marking input", 'a "note" <b>')
    driver.find_element("css selector", "h1").click()
    press(driver, "j")
    opened(driver, "plain/s0/000000004")
    press(driver, "b")
    click(driver, "Marks", "nav")
    assert text(driver, "#marks h2") == "2 marks"
    click(driver, "Save as marks.jsonl")
    path = saved(driver, "marks.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows == [
        {"id": "plain/s0/000000003", "mark": "good", "note": 'a "note" <b>'},
        {"id": "plain/s0/000000004", "mark": "bad", "note": ""},
    ]
    # In another copy of the run, and in a web browser that remembers nothing.
    run = shutil.copytree(made, tmp_path / "run")
    (run / "marks").mkdir()
    shutil.copy(path, run / "marks/mine.jsonl")
    before = read_json(run / "results/browser.json")
    build(run, ["plain/seed0/gpu0", "hostile/seed0/gpu0"], ["student/bench"], topics=True, verified=True)
    assert read_json(run / "results/browser.json") == before
    driver.get((run / "results/browser/index.html").as_uri() + "#questions/plain%2Fs0%2F000000003")
    opened(driver, "plain/s0/000000003")
    assert text(driver, ".marking [aria-pressed='true']") == "Good"
    assert driver.find_element("css selector", ".marking input").get_attribute("value") == 'a "note" <b>'
    # Taken back here, it is no mark any more.
    press(driver, "g")
    click(driver, "Marks", "nav")
    assert text(driver, "#marks h2") == "1 mark"
    driver.find_element("css selector", "#marks [type='file']").send_keys(str(path))
    wait(lambda: text(driver, "#marks h2") == "2 marks", "the marks of the file", 10)


def test_blind_reading_hides_kinds_until_all_are_marked(page) -> None:
    driver = page()
    click(driver, "Blind reading", "nav")
    click(driver, "Begin")
    assert "Choose at least two kinds" in text(driver, "#blind")
    for kind in ("plain: kept (40)", "plain: dropped by solvability (19)", "seed problems (6)"):
        click(driver, kind)
    fill(driver, "#blind [type='number']", "5")
    click(driver, "Begin")
    seen = []
    for number in range(15):
        shown = text(driver, "#blind")
        assert f"Text {number + 1} of 15" in shown
        assert not re.search(r"kept|dropped|seed problem|s0/", shown)
        seen.append(text(driver, "#blind .question .text"))
        press(driver, "g" if number % 2 else "b")
        if number == 7:
            # A reload goes on where it was.
            driver.refresh()
            wait(lambda: "Text 9 of 15" in text(driver, "#blind"), "the reading to go on", 10)
    shown = text(driver, "#blind")
    assert re.search(r"plain: kept\s+5\s+\d\s+\d+%\s+\d+% to \d+%", shown)
    assert len(set(seen)) == 15
    click(driver, "Save as blind.jsonl")
    rows = [json.loads(line) for line in saved(driver, "blind.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["kind"] for row in rows} == {"plain: kept", "plain: dropped by solvability", "seed problems"}
    assert [row["mark"] for row in rows] == ["good" if number % 2 else "bad" for number in range(15)]


# ---------------------------------------------------------------- hostile text, access


def test_hostile_text_is_text(page, made: Path) -> None:
    driver = page()
    requests(driver)
    for index, expected in enumerate(HOSTILE):
        page(f"#questions/hostile%2Fs0%2F{index:09d}")
        opened(driver, f"hostile/s0/{index:09d}")
        if driver.find_elements("css selector", "#detail .question .source"):
            wait(
                lambda: text(driver, ".question .katex") or "$x$" not in text(driver, ".question .text"), "typeset", 10
            )
            click(driver, "Source", "#detail .question")
        shown = driver.execute_script("return document.querySelector('.question .text')?.textContent ?? ''")
        plain = browser_data_hidden(expected)
        assert shown == plain, f"row {index}"
        assert driver.execute_script("return window.pwned") is None
        names = driver.execute_script(
            "return [...document.querySelectorAll('#detail .text *')].map((e) => e.tagName.toLowerCase())"
        )
        assert not {"script", "img", "a", "iframe", "object", "textarea"} & set(names)
    for view in ("questions", "answers", "blind", "marks", "help"):
        page(f"#{view}")
    here = made.as_uri()
    assert [url for url in requests(driver) if not url.startswith((here, "data:", "about:"))] == []
    assert trouble(driver) == []


def browser_data_hidden(text: str) -> str:
    """A text as the page shows it: hidden characters by their numbers."""
    return re.sub("[\x00-\x08\x0b-\x1f\u200b\u202a-\u202e\u2066-\u2069]", lambda found: f"U+{ord(found[0]):04X}", text)


@pytest.mark.parametrize(
    "link", ["", "#questions/plain%2Fs0%2F000000000", "#answers/student%2Fbench%2Fbench%2F0%2F0", "#blind", "#help"]
)
def test_axe_finds_no_serious_fault(page, link: str) -> None:
    driver = page(link)
    wait(lambda: not link.count("/") or driver.find_elements("css selector", "#detail h2"), "the row", 10)
    assert axe(driver) == []
    # Nothing is wider than the screen.
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_firefox_shows_it_too(made: Path, tmp_path: Path) -> None:
    firefox = Firefox(tmp_path)
    try:
        firefox.open((made / "results/browser/index.html").as_uri() + "#questions/plain%2Fs0%2F000000003")
        shown = "document.querySelector('#detail')?.innerText ?? ''"
        wait(lambda: "Response 1" in firefox.value(shown), "the row in Firefox", 30)
        assert firefox.value("document.getElementById('shown').innerText").startswith("Shown: all 76 questions")
        wait(lambda: firefox.value("document.querySelectorAll('.question .katex').length") == 1, "the formula", 10)
    finally:
        firefox.close()


# ---------------------------------------------------------------- size, and what is refused


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run of 100,000 questions."""
    run = tmp_path_factory.mktemp("large")
    texts = [f"A train has {n} cars. What is {digest(n)}, and how many seats has it?" for n in range(100_000)]
    return run, write_run(run / "results", {"large": texts}, samples=1)


def test_a_hundred_thousand_questions(large, tmp_path: Path) -> None:
    run, shards = large
    build(run, shards, [])
    with chromium(tmp_path) as driver:
        driver.get((run / "results/browser/index.html").as_uri())
        wait(lambda: driver.execute_script("return document.body.dataset.ready"), "the page")
        counted(driver, "100,000 of 100,000 rows")
        fill(driver, "#search", "99999 cars")
        counted(driver, "1 of 100,000 rows")
        press(driver, "j")
        driver.execute_script("document.activeElement.blur()")
        press(driver, "j")
        opened(driver, "large/s0/000099999")


def test_a_folder_over_its_limit_shows_a_sample(large) -> None:
    run, shards = large
    log = build(run, shards, [], max_mb=5)
    size = sum(path.stat().st_size for path in (run / "results/browser").rglob("*") if path.is_file())
    assert 3e6 < size < 5e6
    rows = read_json(run / "results/browser.json")["rows"]["questions"]
    assert rows["of"] == 100_000
    assert 1000 < rows["shown"] < 90_000
    assert f"{rows['shown']} of 100000 questions are shown" in log


def test_equal_tables_give_equal_bytes_however_they_are_dealt_out(tmp_path: Path) -> None:
    writers = []
    for name, parts in (("one", 1), ("two", 2)):
        results = tmp_path / name / "results"
        write_run(results, {"g": PLAIN})
        if parts == 2:
            from scalequest.rows.tables import read_rows

            for folder, table in (
                ("filtered", FILTERED),
                ("candidates", CANDIDATES),
                ("filters/solvability", JUDGEMENTS),
            ):
                rows = read_rows(results / folder / "g/seed0/gpu0.parquet", table)
                low = [row for row in rows if row["id"] < "g/s0/000000031"]
                write_table(results / folder / "g/seed0/gpu0.parquet", low, table)
                write_table(results / folder / "g/seed0/gpu1.parquet", rows[len(low) :], table)
        writer = browser_data.Writer(tmp_path / name / "data")
        source = browser_data.Source(results, [f"g/seed0/gpu{part}" for part in range(parts)], [])
        browser_data.write(source, writer, 1.0)
        writers.append(writer)
    assert writers[0].digests == writers[1].digests != {}


@pytest.mark.parametrize("option", ["topics", "verified"])
def test_an_option_is_shown_only_where_it_is_on(option: str, tmp_path: Path) -> None:
    shards = write_run(tmp_path / "results", {"g": PLAIN})

    def digests(**settings: Any) -> dict[str, str]:
        build(tmp_path, shards, [], **settings)
        found: dict[str, str] = read_json(tmp_path / "results/browser.json")["data"]
        return found

    before = digests()
    write_topics(tmp_path / "results", {"g": 40}, [])
    write_verified(tmp_path / "results", {"g": 40})
    assert digests() == before
    shown = digests(**{option: True})
    assert {name for name in shown if shown[name] != before[name]} == {"questions/0", "questions/columns0"}


def test_what_a_run_has_not_made_yet_is_left_out(tmp_path: Path) -> None:
    shards = write_run(tmp_path / "results", {"g": PLAIN})
    for folder in ("candidates", "filters"):
        shutil.rmtree(tmp_path / "results" / folder)
    build(tmp_path, shards, [])
    assert read_json(tmp_path / "results/browser.json")["rows"]["questions"] == {"shown": 60, "of": 60}


@pytest.mark.parametrize(
    ("line", "said"),
    [("no json", "line 2 is no mark"), ('{"id": "a", "mark": "so-so"}', "a mark is one of good, bad"), ("3", "line 2")],
)
def test_a_line_that_is_no_mark_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks/mine.jsonl").write_text(f'{{"id": "a", "mark": "good"}}\n{line}\n', encoding="utf-8")
    shards = write_run(tmp_path / "results", {"g": PLAIN[:3]})
    files: dict[str, Any] = {"results": tmp_path / "results", "shards": shards, "marks": tmp_path / "marks"}
    result = script("build_browser", SETTINGS, **files, folder=tmp_path / "b", out=tmp_path / "b.json")
    message = refused(result)
    assert f"{tmp_path}/marks/mine.jsonl" in message
    assert said in message
    assert not (tmp_path / "b").exists()


def test_later_marks_come_before_earlier_ones_and_blind_ones_are_left_out(tmp_path: Path) -> None:
    lines = [
        '{"id": "a", "mark": "good"}',
        '{"id": "a", "mark": "bad", "note": "no"}',
        '{"blind": 1, "id": "b", "mark": "good"}',
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert read_marks(tmp_path) == [{"id": "a", "mark": "bad", "note": "no"}]
