"""Pairs in worker processes: what goes there, what a hanging pair costs, how answers are grouped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from faults import family, processor_seconds
from programs import SCRIPTS
from scalequest.errors import ScaleQuestError
from scalequest.grading import pool as pool_module
from scalequest.grading.graders import GRADERS, Grade, Item, grade_all, pool_of
from scalequest.grading.pool import Grouping, Pool, Verdict
from scalequest.runtime.lease import process_start

# Symbolic mathematics that does not end in a test's time: a product of many factors against a changed one.
HANGING = (
    r"\sqrt{1+\sin(x)^{300}}" + "".join(rf"(x+{k}y+\sqrt{{{k}}})^{{60}}" for k in range(2, 14)),
    r"\sqrt{1+\cos(x)^{300}}" + "".join(rf"(y-{k}x+\sqrt{{{k}}})^{{60}}" for k in range(2, 14)),
)
LIMIT = 30.0


@pytest.fixture(scope="module")
def grader() -> Iterator[Pool]:
    with pool_of(GRADERS["equivalence"]) as grader:
        yield grader


def test_strings_and_numbers_start_no_process() -> None:
    with pool_of(GRADERS["equivalence"]) as grader:
        verdicts = grader.equal_pairs([("5", "$5$"), ("1/2", "0.5"), ("0.333", r"\frac13")], LIMIT)
        assert grader._pool is None
    assert verdicts == [Verdict(True, "string"), Verdict(True, "number"), Verdict(False, "number")]


def test_symbolic_pairs_are_judged_in_order(grader: Pool) -> None:
    pairs = [(r"\sqrt{12}", r"2\sqrt3"), ("7", "7."), (r"\sqrt{12}", r"3\sqrt2"), (r"\sqrt{12}", r"2\sqrt3")]
    assert grader.equal_pairs(pairs, LIMIT) == [
        Verdict(True, "math-verify"),
        Verdict(True, "string"),
        Verdict(False, "number"),
        Verdict(True, "math-verify"),
    ]


def test_a_hanging_pair_costs_its_limit_and_nothing_else(grader: Pool, caplog: pytest.LogCaptureFixture) -> None:
    good = (r"x(x+1)", r"x^2+x")
    grader.equal_pairs([good], LIMIT)
    start = time.monotonic()
    verdicts = grader.equal_pairs([HANGING, good, ("3", "4")], 2.0)
    took = time.monotonic() - start
    assert verdicts == [Verdict(False, "timeout"), Verdict(True, "math-verify"), Verdict(False, "number")]
    assert took > 1.9, "the pair did not hang, so the test shows nothing"
    assert took < 2.0 + 10.0
    assert "not decided within 2 s" in caplog.text


def undecided(*pair: str) -> tuple[None, str]:
    return None, ""


def waits(gold: str, prediction: str) -> bool:
    """A pair whose worker is suspended for a while."""
    time.sleep(1.5)
    return gold == prediction


def ends_its_worker(marks: str, how: str) -> bool:
    """Once, where there is a folder for its mark, or else each time."""
    mark = Path(marks, how)
    if not mark.exists():
        if marks:
            mark.touch()
        time.sleep(60) if how == "sleeps" else os.kill(os.getpid(), signal.SIGKILL)
    return True


def test_time_in_which_a_pair_does_not_compute_does_not_count() -> None:
    with Pool(named="math-verify", fast=undecided, slow=waits) as pool:
        assert pool.equal_pairs([("1", "1")], 0.5) == [Verdict(True, "math-verify")]


@pytest.mark.parametrize("how", ["sleeps", "is killed"])
def test_a_pair_whose_worker_ends_by_chance_is_tried_again(how: str, tmp_path: Path) -> None:
    with Pool(named="math-verify", fast=undecided, slow=ends_its_worker) as pool:
        assert pool.equal_pairs([(str(tmp_path), how)], 0.1) == [Verdict(True, "math-verify")]
        assert (tmp_path / how).exists()


@pytest.mark.parametrize(
    ("how", "verdict"), [("sleeps", Verdict(False, "timeout")), ("is killed", Verdict(False, "error"))]
)
def test_a_pair_that_ends_its_worker_each_time_is_different(how: str, verdict: Verdict) -> None:
    with Pool(named="math-verify", fast=undecided, slow=ends_its_worker) as pool:
        assert pool.equal_pairs([("", how)], 0.05) == [verdict]


@pytest.mark.parametrize(
    "pair",
    [
        ("10^{10^{10}}", "10^{10^{11}}"),
        ("1", "10^{10^{10}}"),
        ("9^{9^{9^{9}}}+1", "5"),
        (r"(10^{10})!", "1"),
        (r"\sqrt{10^{10^{10}}}", r"\sqrt{2}"),
        ("x" * 100_000, "y" * 100_000),
        ("{" * 2_000 + "x" + "}" * 2_000, "y"),
        ("(" * 1_500 + "x", "y^2"),
        (r"\frac{" * 600, "x+1"),
        ("x\x00\N{FIRE}", "y"),
        (r"\operatorname{exec}(x)", "import os"),
    ],
)
def test_hostile_text_is_a_row_in_the_result(grader: Pool, pair: tuple[str, str]) -> None:
    start = time.monotonic()
    verdict = grader.equal_pairs([pair], 5.0)[0]
    assert not verdict.equal
    assert time.monotonic() - start < 5.0 + 10.0


KILLED = """
import sys
sys.path[:0] = sys.argv[1:3]
from scalequest.errors import ScaleQuestError
from scalequest.grading import pool as pool_module
from scalequest.grading.graders import GRADERS, Grade, Item, grade_all, pool_of
from test_pool import HANGING
with pool_of(GRADERS["equivalence"]) as pool:
    pool.equal_pairs([HANGING], 1000.0)
"""


def test_a_pair_that_hangs_ends_with_the_job_that_was_killed() -> None:
    folders = [str(SCRIPTS), str(Path(__file__).parent)]
    child = subprocess.Popen([sys.executable, "-c", KILLED, *folders], start_new_session=True)  # noqa: S603 - our own
    # Its fork server and one worker, at work.
    end = time.monotonic() + 60
    while len(family(child.pid)) < 3 or processor_seconds(family(child.pid)[-1]) < 3:
        assert time.monotonic() < end, "no worker was seen at work"
        time.sleep(0.2)
    everyone = family(child.pid)
    child.kill()
    child.wait()
    end = time.monotonic() + 20
    while any(process_start(one) is not None for one in everyone):
        assert time.monotonic() < end, "a worker outlives the job"
        time.sleep(0.2)


def test_huge_powers_are_decided_without_waiting(grader: Pool) -> None:
    assert grader.equal_pairs([("10^{10^{10}}", "10^{10^{11}}")], LIMIT) == [Verdict(False, "math-verify")]


def test_grading_from_a_thread(grader: Pool) -> None:
    found: list[Verdict] = []

    def judge() -> None:
        with pool_of(GRADERS["equivalence"]) as pool:
            found.extend(pool.equal_pairs([(r"\sqrt{12}", r"2\sqrt3")], LIMIT))

    thread = threading.Thread(target=judge)
    thread.start()
    thread.join()
    assert found == [Verdict(True, "math-verify")]


@pytest.mark.parametrize(
    ("answers", "groups"),
    [
        ([], []),
        ([None, None], [[0], [1]]),
        (["1", "2", "1", None, "x=2"], [[0, 2], [1, 4], [3]]),
        (["0.5", r"\frac12", "1/2", "2"], [[0, 1, 2], [3]]),
        ([r"\sqrt{12}", "3", r"2\sqrt{3}", r"2\sqrt3", "3."], [[0, 2, 3], [1, 4]]),
        (["x=5", "y=5"], [[0], [1]]),
        (["A", "(A)", "B"], [[0, 1], [2]]),
    ],
)
def test_groups(grader: Pool, answers: list[str | None], groups: list[list[int]]) -> None:
    assert grader.group_all([answers], LIMIT) == [Grouping(groups)]


def test_many_lists_are_grouped_each_by_itself(grader: Pool) -> None:
    lists: list[list[str | None]] = [["1", "1.0"], [], ["x+1", "1+x", None], ["1", "2"]]
    assert [one.groups for one in grader.group_all(lists, LIMIT)] == [[[0, 1]], [], [[0, 1], [2]], [[0], [1]]]


def test_comparisons_that_hit_the_limit_are_counted_for_their_list(grader: Pool) -> None:
    found = grader.group_all([["1", "2"], [*HANGING]], 1.0)
    assert found == [Grouping([[0], [1]]), Grouping([[0], [1]], undecided=1)]


# ---------------------------------------------------------------- workers that do not start, or end as they start
def broken_worker(job: int, warm_up: object) -> None:
    raise RuntimeError("no memory")


def second_worker_is_killed(starts: Path, job: int, warm_up: object) -> None:
    with starts.open("a") as file:
        file.write("x")
    if len(starts.read_text()) == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def always(gold: str, prediction: str) -> bool:
    time.sleep(100 if gold == "hangs" else 0)
    return True


def test_one_pair_that_breaks_the_quick_look_is_an_error_of_its_own() -> None:
    def fast(gold: str, prediction: str) -> tuple[bool | None, str]:
        return (1 / len(prediction) == 1 / len(gold)), "string"

    with Pool(1, fast=fast, slow=always) as pool:
        assert [verdict.how for verdict in pool.equal_pairs([("a", "b"), ("a", "")], 1)] == ["string", "error"]


def test_workers_that_do_not_start_end_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_prepare_worker", broken_worker)
    with pool_of(GRADERS["equivalence"]) as pool, pytest.raises(ScaleQuestError, match="cannot start"):
        pool.equal_pairs([("x+1", "1+x"), (r"\sqrt{8}", r"2\sqrt{2}")], 20)


def test_many_pairs_for_workers_that_do_not_start_end_the_job_with_the_same_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "_prepare_worker", broken_worker)
    pairs = [("x" * 200, str(number)) for number in range(20_000)]
    with Pool(1, fast=undecided, slow=always) as pool, pytest.raises(ScaleQuestError, match="cannot start"):
        pool.equal_pairs(pairs, 20)


@pytest.mark.nightly
def test_a_worker_that_is_killed_while_it_starts_costs_no_pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pool_module, "_prepare_worker", partial(second_worker_is_killed, tmp_path / "starts"))
    with Pool(1, named="math-verify", fast=undecided, slow=always) as pool:
        verdicts = pool.equal_pairs([("hangs", "x"), *(("x", str(number)) for number in range(20))], 1)
    # The first worker ends with the pair that hangs, the second one as it starts.
    assert [verdict.how for verdict in verdicts] == ["timeout", *["math-verify"] * 20]
    assert len((tmp_path / "starts").read_text()) >= 3


# What no float holds: an answer of a student as any other.
HUGE = [
    "3^{2018}-2^{2018}",
    "x^{2000}+x^{1999}",
    "9^{9^{9}}-9^{9^{9}}",
    r"\sin(10^{10^{5}})",
    r"\log_{2}{3^{99999}}",
    r"10^{308}(1+i)\cdot 1.5",
    "2^{2010}",
    "1e500",
]


@pytest.mark.parametrize("grader", GRADERS)
def test_a_number_beyond_all_floats_is_an_answer_like_others(grader: str) -> None:
    def graded(*items: Item, limit: float = 10.0) -> list[Grade]:
        return grade_all(GRADERS[grader], items, pool, time_limit=limit)

    others = ["5", "2^{2009}", "10^{400}", "9" * 400, r"\sqrt{x}"]
    items = [Item(gold, rf"It is $\boxed{{{text}}}$.", {}) for text in [*HUGE, "8" * 400] for gold in others]
    with pool_of(GRADERS[grader]) as pool:
        assert [grade.right for grade in graded(*items, limit=3)] == [False] * len(items)
        same = graded(*(Item(text, rf"It is $\boxed{{{text}}}$.", {}) for text in HUGE))
        assert all(grade.right for grade in same)
