"""The rows as trainers take them: built from small tables, loaded by `datasets`, checked with TRL's own reward, and
called as verl does."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import build_formats
import check_answers
from conftest import ROOT
from programs import operating
from scalequest.errors import ScaleQuestError
from scalequest.grading import checkable, verl_reward
from scalequest.rows.published import CHAT, PREFERENCE, PROMPT_COMPLETION, RL
from scalequest.rows.tables import ANSWER_CHECKS, made_in, read_rows, write_table
from scalequest.runtime.files import read_json
from scalequest.runtime.operation import OPERATION
from test_build_dataset import HOSTILE, Run, question, response

FILES = {
    **{"chat": "chat.parquet", "prompt-completion": "prompt_completion.parquet", "preference": "preference.parquet"},
    **{"rl": "rl.parquet", "reward": "verl_reward.py", "counts": "formats.json"},
}
MATRIX = r"\begin{pmatrix}1\\2\end{pmatrix}"
# Answers that the reward reads only between dollar signs, and a wrong one to each.
ANSWERS = {
    **{r"3\sqrt{2}": "3", "(2,3)": "(3,2)", r"\{1,2\}": r"\{1,3\}", "[0,1)": "[0,1]", MATRIX: MATRIX.replace("1", "3")},
    **{r"\frac{1}{2}": "0.3", "1,000": "100", "x^2+1": "x^2-1", "-4": "4", r"12\text{ cm}": r"13\text{ cm}"},
}


def answers(
    asked: dict, *texts: str | None, selected: int = 0, rewards: tuple[float, ...] = (), **other: Any
) -> list[dict]:
    """Candidates with these answers, by default of falling rewards. Equal texts vote together."""
    rows = [
        response(asked, sample, f"So it is {text}.", selected=sample == selected) for sample, text in enumerate(texts)
    ]
    for sample, (row, text) in enumerate(zip(rows, texts, strict=True)):
        row |= {"answer": text, "votes": texts.count(text), "reward": rewards[sample] if rewards else 1 - sample / 8}
    return [row | other for row in rows]


def joined(made: list[list[dict]]) -> list[dict]:
    return [row for rows in made for row in rows]


def check(run: Run, time_limit: float = 5.0) -> list[str]:
    """Check the answers of each shard, and return the tables."""
    asked = {"domain": "math", "grading": {"time_limit": time_limit}}
    tables = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(OPERATION, operating(grading_workers=1)[OPERATION])
        for number, candidates in enumerate(run.candidates):
            words = ["check_answers.py", "--settings", json.dumps(asked), "--progress", str(run.folder / "progress")]
            tables.append(str(run.folder / f"checks{number}.parquet"))
            patch.setattr(sys, "argv", [*words, "--candidates", candidates, "--out", tables[-1]])
            check_answers.main()
    return tables


def build(run: Run, out: Path, time_limit: float = 5.0) -> Path:
    checks = check(run, time_limit)
    words = ["build_formats.py", "--settings", json.dumps({"name": "org/demo", "domain": "math"})]
    words += ["--filtered", *run.filtered, "--candidates", *run.candidates, "--checks", *checks]
    with pytest.MonkeyPatch.context() as patch:
        outputs = [word for name, file in FILES.items() for word in (f"--{name}", str(out / file))]
        patch.setattr(sys, "argv", [*words, *outputs])
        build_formats.main()
    return out


def accuracy(solution: str, answer: str) -> float | None:
    """TRL's own reward of an answer in a box."""
    from trl.rewards import accuracy_reward

    completion = [{"role": "assistant", "content": rf"So it is \boxed{{{answer}}}."}]
    return accuracy_reward([completion], [solution])[0]


def verl_function(path: Path, name: str = "compute_score") -> Any:
    """The function of a file, as verl finds it by `custom_reward_function.path` and `.name`."""
    spec = importlib.util.spec_from_file_location("custom_module", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["custom_module"] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows with every kind of answer, each with a wrong one; and some that no reward can check."""
    rows = [question(i, f"What is it, {i}?") for i in range(len(ANSWERS) + 5)]
    asked = iter(rows)
    made = [answers(next(asked), right, right, wrong) for right, wrong in ANSWERS.items()]
    made.append(answers(next(asked), None, "4", "5"))
    made.append(answers(next(asked), "7", "7"))
    made.append(answers(next(asked), "8", "9", rewards=(0.5, 0.5)))
    # A box that does not end, and an answer that is not compared.
    made.append(answers(next(asked), "{", "4"))
    made.append(answers(next(asked), "6" * 5000, "4"))
    run = Run(tmp_path_factory.mktemp("formats"), [(rows, joined(made))])
    return build(run, run.folder / "dataset")


def test_datasets_loads_each_configuration(built: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    counts = read_json(built / "formats.json")
    folder = tmp_path / "dataset"
    shutil.copytree(built, folder)
    run = Run(tmp_path, [([question(0)], answers(question(0), "4"))])
    run.made = [folder / name for name in FILES.values() if name != "formats.json"]
    run.made.insert(0, folder / "formats.json")
    run.build(folder)
    for table in (CHAT, PROMPT_COMPLETION, PREFERENCE, RL):
        loaded = load_dataset(str(folder), table.name, split="train", cache_dir=str(tmp_path / "cache"))
        assert loaded.to_list() == read_rows(built / f"{table.name}.parquet", table)
        assert len(loaded) == counts["rows"][table.name] > 0
    assert load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))["query"] == ["What is 2 + 2?"]


def test_what_is_left_out_is_counted_by_reason(built: Path) -> None:
    counts = read_json(built / "formats.json")
    everything = len(ANSWERS) + 5
    assert counts["rows"] == {
        **{"chat": everything, "prompt_completion": everything},
        **{"preference": len(ANSWERS) + 2, "rl": len(ANSWERS) + 2},
    }
    assert counts["left_out"] == {
        "preference": {"no answer": 1, "no other answer": 1, "no other answer has a lower reward": 1},
        "rl": {"no answer": 1, "the reward does not read the answer": 1, "answer too long": 1},
    }


def test_a_row_is_a_conversation_and_its_pair_is_the_worst_of_another_answer(built: Path) -> None:
    chat = read_rows(built / "chat.parquet", CHAT)[0]
    split = read_rows(built / "prompt_completion.parquet", PROMPT_COMPLETION)[0]
    assert chat["messages"] == split["prompt"] + split["completion"]
    assert chat["messages"] == [
        {"role": "user", "content": "What is it, 0?"},
        {"role": "assistant", "content": r"So it is 3\sqrt{2}."},
    ]
    pair = read_rows(built / "preference.parquet", PREFERENCE)[0]
    assert pair["prompt"] + pair["chosen"] == chat["messages"]
    assert pair["rejected"] == [{"role": "assistant", "content": "So it is 3."}]
    assert pair["margin"] == 0.25


def test_rl_rows_are_what_trl_and_verl_ask_for(built: Path) -> None:
    rows = read_rows(built / "rl.parquet", RL)
    assert rows[0] == {
        "prompt": [
            {
                "role": "user",
                "content": "What is it, 0?\n\nReason step by step, and put your final answer within \\boxed{}.",
            }
        ],
        "solution": r"$3\sqrt{2}$",
        "data_source": "org/demo",
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": r"3\sqrt{2}"},
        "extra_info": {"split": "train", "index": 0, "id": rows[0]["id"]},
        "answer_type": "expression",
        "agreement": 2 / 3,
        **{"pass_rate": None, "pass_rates": []},
        "id": rows[0]["id"],
    }
    assert [row["extra_info"]["index"] for row in rows] == list(range(len(rows)))
    # Rows that are found again in the store are not garbage.
    stores = made_in(built.parent / "checks0.parquet")
    assert {name.partition("/")[0] for name in stores} == {"build_formats", "select_responses"}


def test_trls_own_reward_is_right_for_each_row(built: Path) -> None:
    golds = {row["reward_model"]["ground_truth"]: row["solution"] for row in read_rows(built / "rl.parquet", RL)}
    assert set(ANSWERS) <= set(golds)
    for right, solution in golds.items():
        assert accuracy(solution, right) == 1.0
        assert accuracy(solution, ANSWERS.get(right, "9")) == 0.0
    # Why solutions are wrapped.
    assert accuracy(r"3\sqrt{2}", r"3\sqrt{2}") == 0.0
    assert accuracy(r"3\sqrt{2}", "3") == 1.0
    assert accuracy("(2,3)", "(2,3)") is None


def test_verl_calls_the_shipped_file(built: Path) -> None:
    score = verl_function(built / "verl_reward.py")
    row = read_rows(built / "rl.parquet", RL)[0]
    asked = {"data_source": row["data_source"], "ground_truth": row["reward_model"]["ground_truth"]}
    asked["extra_info"] = row["extra_info"]
    assert score(solution_str=r"It is \boxed{\sqrt{18}}.", **asked) == 1.0
    assert score(solution_str=r"It is \boxed{3}.", **asked) == 0.0
    # Newer releases pass more, from threads.
    found: list[float] = []
    router = {"reward_router_address": None, "reward_model_tokenizer": None}
    calls = [
        threading.Thread(target=lambda: found.append(score(solution_str=r"\boxed{3\sqrt{2}}", **asked, **router)))
        for _ in range(3)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert found == [1.0] * 3
    with pytest.raises(AttributeError):
        verl_function(built / "verl_reward.py", "no_such_name")


def test_verls_reward_is_trls(built: Path) -> None:
    for right, wrong in ANSWERS.items():
        for answer in (right, wrong, "", "{", "x", *HOSTILE[:5]):
            text = rf"So it is \boxed{{{answer}}}."
            ours = verl_reward.reward(text, f"${right}$")
            assert ours == accuracy(f"${right}$", answer), (right, answer)


def test_no_response_stops_verls_reward(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = verl_function(built / "verl_reward.py")
    for text in (*HOSTILE, "\ud800", r"\boxed{" * 2000, "$" * 5000):
        assert score("x", text, "4") in (0.0, 1.0)
    # One that would not end costs its time alone.
    assert score("x", r"\boxed{9^{9^{9^9}}}", "4") == 0.0
    assert score("x", r"\boxed{4}", "4") == 1.0
    # A missing package is said, and not a reward of zero.
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "nowhere"))
    broken = verl_function(built / "verl_reward.py")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="is math-verify installed"):
        broken("x", "4", "4")


@pytest.mark.parametrize("answer", ["10^{10^{10}}", pytest.param("9^{9^{9^9}}", marks=pytest.mark.nightly)])
def test_an_answer_that_cannot_be_compared_in_time_is_left_out(tmp_path: Path, answer: str) -> None:
    rows = [question(0), question(1)]
    run = Run(tmp_path, [(rows, answers(rows[0], answer, "4") + answers(rows[1], "5", "6"))])
    counts = read_json(build(run, tmp_path / "dataset", time_limit=0.5) / "formats.json")
    assert counts["left_out"]["rl"] == {"not decided within the time limit": 1}
    assert counts["rows"]["rl"] == 1


def test_hostile_texts_go_through_as_they_are(tmp_path: Path) -> None:
    rows = [question(i, text) for i, text in enumerate(HOSTILE)]
    made = [
        response(row, 0, text, selected=True, answer=text or None)
        for row, text in zip(rows, HOSTILE[::-1], strict=True)
    ]
    made += [response(row, 1, "no", answer="no", reward=0.0) for row in rows]
    made.sort(key=lambda row: (row["id"], row["sample"]))
    out = build(Run(tmp_path, [(rows, made)]), tmp_path / "dataset")
    assert [[turn["content"] for turn in row["messages"]] for row in read_rows(out / "chat.parquet", CHAT)] == [
        list(pair) for pair in zip(HOSTILE, HOSTILE[::-1], strict=True)
    ]
    counts = read_json(out / "formats.json")
    for name in ("preference", "rl"):
        assert counts["rows"][name] + sum(counts["left_out"][name].values()) == len(HOSTILE)
    for row in read_rows(out / "rl.parquet", RL):
        assert accuracy(row["solution"], row["reward_model"]["ground_truth"]) == 1.0
        assert accuracy(row["solution"], "no") == 0.0


def test_another_domain_has_no_rows_for_a_reward_of_mathematics(built: Path) -> None:
    """Such a reward takes a word for the product of its letters."""
    assert accuracy("$olleh$", "hello") == 1.0
    from scalequest.grading.graders import Grader

    words = Grader("words", 1, str, lambda gold, answer: (gold == answer, "string"))
    asked = [{"id": "g/s0/000000000", "index": 0, "answer": "olleh", "others": []}]
    found, stores = checkable.reasons(asked, words, group="g", progress=built, time_limit=1.0)
    assert list(found.values()) == [checkable.NO_MATHEMATICS]
    assert stores == []


def test_without_rewards_the_fewest_votes_are_rejected(tmp_path: Path) -> None:
    asked = question(0)
    rows = answers(asked, "4", "4", "5", "5", "6", reward=None)
    out = build(Run(tmp_path, [([asked], rows)]), tmp_path / "dataset")
    (pair,) = read_rows(out / "preference.parquet", PREFERENCE)
    assert (pair["rejected"][0]["content"], pair["margin"]) == ("So it is 6.", None)


def test_without_answers_there_are_neither_pairs_nor_problems(tmp_path: Path) -> None:
    out = build(Run(tmp_path, [([question(0)], answers(question(0), None, "4"))]), tmp_path / "dataset")
    counts = read_json(out / "formats.json")
    assert counts["rows"] == {"chat": 1, "prompt_completion": 1, "preference": 0, "rl": 0}
    assert read_rows(out / "preference.parquet", PREFERENCE) == read_rows(out / "rl.parquet", RL) == []


def test_a_response_that_was_cut_is_not_rejected(tmp_path: Path) -> None:
    asked = question(0)
    rows = answers(asked, "4", "5", "6")
    rows[2]["finish_reason"] = "length"
    out = build(Run(tmp_path, [([asked], rows)]), tmp_path / "dataset")
    assert read_rows(out / "preference.parquet", PREFERENCE)[0]["rejected"][0]["content"] == "So it is 5."


def test_sharding_changes_no_byte_and_what_is_checked_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_formats, "BLOCK_QUESTIONS", 3)
    rows = [question(i, f"{i}?") for i in range(8)]
    made = [answers(row, str(row["index"]), "77") for row in rows]
    one = Run(tmp_path / "one", [(rows, joined(made))])
    first = build(one, tmp_path / "one" / "dataset")
    many = Run(tmp_path / "many", [(rows[5:], joined(made[5:])), (rows[:5], joined(made[:5])), ([], [])])
    second = build(many, tmp_path / "many" / "dataset")
    for name in FILES.values():
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert pq.ParquetFile(first / "rl.parquet").metadata.num_row_groups == 3

    def none(*_: Any) -> Any:
        raise AssertionError("compared again")

    monkeypatch.setattr("scalequest.grading.pool.Pool.equal_pairs", none)
    monkeypatch.setattr("scalequest.grading.pool.Pool.group_all", none)
    third = build(one, tmp_path / "third")
    assert (first / "rl.parquet").read_bytes() == (third / "rl.parquet").read_bytes()


def test_of_several_selected_responses_each_is_a_conversation_and_the_best_is_chosen(tmp_path: Path) -> None:
    asked = question(0)
    rows = answers(asked, "1/2", "7", "0.5", rewards=(0.25, 0.125, 0.5))
    for row, votes in zip(rows, (2, 1, 2), strict=True):
        row |= {"votes": votes, "selected": votes == 2}
    out = build(Run(tmp_path, [([asked], rows)]), tmp_path / "dataset")
    for table, messages in ((CHAT, "messages"), (PROMPT_COMPLETION, "completion")):
        found = read_rows(out / f"{table.name}.parquet", table)
        assert [(row["sample"], row[messages][-1]["content"]) for row in found] == [
            (0, "So it is 1/2."),
            (2, "So it is 0.5."),
        ]
    (pair,) = read_rows(out / "preference.parquet", PREFERENCE)
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"], pair["margin"]) == (
        *("So it is 0.5.", "So it is 7."),
        0.375,
    )
    (problem,) = read_rows(out / "rl.parquet", RL)
    assert (problem["solution"], problem["agreement"]) == ("$0.5$", 2 / 3)


def test_checks_of_other_responses_are_refused(tmp_path: Path) -> None:
    rows = [question(0), question(1)]
    run = Run(tmp_path, [(rows, answers(rows[0], "4", "5") + answers(rows[1], "6", "7"))])
    (checks,) = check(run)
    write_table(checks, read_rows(checks, ANSWER_CHECKS)[1:], ANSWER_CHECKS)
    with pytest.raises(ScaleQuestError, match=r"checks0\.parquet is not of .*c0\.parquet"):
        shard = build_formats.Shard(Path(run.filtered[0]), Path(run.candidates[0]), Path(checks), None)
        list(build_formats.read_shard(shard))


def test_responses_to_a_question_that_is_not_there_are_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, [([question(0)], answers(question(1), "4", "5"))])
    with pytest.raises(ScaleQuestError, match=r"c0\.parquet has responses to 'g/s0/000000001', which is not in"):
        build(run, tmp_path / "dataset")
    assert not (tmp_path / "dataset" / "chat.parquet").exists()
