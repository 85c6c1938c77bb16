"""`make rehearse`: a run of a few rows on the run's own models, its page, and what a plan takes from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT
from programs import finished
from scalequest.config.check import check
from scalequest.config.defaults import fill_defaults, shaping
from scalequest.config.selectors import engine_settings
from scalequest.errors import ScaleQuestError
from scalequest.llm.throughput import Asked
from scalequest.runtime.files import read_json, write_json
from scalequest.stages import of_kind
from scalequest.workflow.estimate import Estimator
from scalequest.workflow.rehearsal import ROWS, check_server, loaded, overlay, rehearsed
from scalequest.workflow.rehearsal_findings import Findings, Texts, failures, never_ending, warnings
from workflow import merged
from workflow import overlay as tiny_overlay

DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())
PRESETS = {
    **{name: [name] for name in ("paper", "first_run", "student")},
    "table1": ["paper", "table1"],
    "ablation": ["first_run", "ablation"],
    "simple": ["paper", "simple"],
    "modern": ["paper", "modern"],
    "modern_rl": ["paper", "modern", "modern_rl"],
    "thinking": ["paper", "modern", "thinking"],
    "students_8x40gb": ["paper", "table1", "students_8x40gb"],
}


def preset(*names: str, **changes: Any) -> dict[str, Any]:
    """The default config with overlays of presets/ and changes, every default filled in."""
    found = DEFAULT
    for name in names:
        found = merged(found, yaml.safe_load((ROOT / "presets" / f"{name}.yaml").read_text()))
    return fill_defaults(merged(found, changes))


def rehearse(folder: Path, config: Mapping[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `make rehearse` runs, in a folder with this overlay."""
    folder.mkdir(exist_ok=True)
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    line = [sys.executable, str(ROOT / "scripts/tools/rehearse.py"), "--snakefile", str(ROOT / "Snakefile")]
    line += ["--profile", str(ROOT / "profiles/local"), "--cores", "2", "--directory", str(folder), *arguments]
    return finished([*line, "--configfile", str(path)])


def page(result: subprocess.CompletedProcess[str]) -> str:
    """What a rehearsal printed, with its log where that is no page."""
    assert "errors" in result.stdout, result.stdout[-4000:] + result.stderr[-4000:]
    return result.stdout


# ---------------------------------------------------------------- a whole rehearsal on the tiny model


@pytest.fixture(scope="module")
def tiny(tiny_model, tmp_path_factory):
    """The config of a rehearsal, with paths that are seen from the run's folder alone, and that folder."""
    folder = tmp_path_factory.mktemp("rehearsed") / "run"
    folder.mkdir()
    (folder / "own").symlink_to(tiny_model)
    changes = {"rehearsal": {"measure_seconds": 0.5}, "training": {"threads": 1}, "topics": {"enabled": True}}
    config = merged(tiny_overlay(Path("own")), changes)
    return folder, config


@pytest.fixture(scope="module")
def whole(tiny):
    return rehearse(*tiny)


def test_it_ends_with_a_page_and_warnings(whole):
    text = page(whole)
    assert whole.returncode == 0, text
    assert "0 errors" in text
    # Random weights solve nothing, and greedily they say nothing.
    assert "tiny solves 0% of 16 seed problems (rehearsal.min_right: 0.5)" in text
    assert "answer_known_problems (tiny): 100% of 16 texts are empty (rehearsal.max_empty: 0.05)" in text
    assert "  tiny: LlamaForCausalLM" in text
    assert "<|im_start|>user\\n'" in text
    assert "held against tokenizer.json" in text
    assert "Rewards: the solution has the higher one in" in text
    assert "`make plan` does not use them" in text


def test_every_engine_is_measured_full(tiny, whole):
    record = read_json(tiny[0] / "rehearsal/rehearsal.json")
    rates = {entry["what"]: entry["rows_per_hour"] for entry in record["measured"]}
    programs = {stage.script for stage in of_kind("engine")} - {"rewrite_questions"}
    assert programs <= set(rates)
    assert all(rate > 0 for rate in rates.values())
    assert record["models"] == {"tiny": "path:own"}
    # By these settings a plan finds them again.
    engine = loaded(engine_settings(fill_defaults(merged(DEFAULT, tiny[1])), "tiny"))
    assert all(entry["engine"] == engine for entry in record["measured"] if entry["what"] in programs)


def test_every_training_is_resumed_from_a_checkpoint(tiny, whole):
    lines = [line for line in page(whole).splitlines() if line.startswith(("tune_", "train_"))]
    assert [line.split()[0] for line in lines] == ["tune_questions", "tune_preferences", "train_scorer", "tune_student"]
    for line in lines:
        assert line.split()[6] == "yes", line
        assert float(line.split()[4]) > 0 or "0.00" in line, line
    logs = "".join(path.read_text() for path in (tiny[0] / "rehearsal/logs").glob("t*/**/*.log"))
    assert logs.count("resuming from checkpoint-1") >= 3


def test_it_is_no_part_of_the_run(tiny, whole):
    """The run's own folder has no result; its weights and the rehearsal's lie in one folder."""
    assert {path.name for path in tiny[0].iterdir()} == {"own", "mine.yaml", "rehearsal", "models"}
    assert not (tiny[0] / "rehearsal/models").exists()


def test_strict_makes_a_warning_an_error(tiny, whole):
    folder, config = tiny
    again = rehearse(folder, merged(config, {"rehearsal": {"strict": True}}))
    assert again.returncode == 1
    assert "0 errors" in page(again)
    assert "Nothing to be done" in again.stderr


def test_a_plan_alone_runs_nothing(tiny_model, tmp_path):
    result = rehearse(tmp_path / "run", tiny_overlay(tiny_model), "-n")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "answer_known_problems" in result.stdout + result.stderr
    assert not list((tmp_path / "run/rehearsal").rglob("*.parquet"))


# ---------------------------------------------------------------- what makes it fail


def test_a_template_without_the_question_fails(tiny_model, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    (broken / "chat_template.jinja").write_text("<|im_start|>user\nHello<|im_end|>\n")
    result = rehearse(tmp_path / "run", tiny_overlay(broken))
    assert result.returncode == 1
    assert "1 errors" in page(result)
    assert "stage_model/tiny: models.tiny: the chat template shows the user's words 0 times" in page(result)


def test_a_config_that_is_wrong_is_refused(tiny_model, tmp_path):
    result = rehearse(tmp_path / "run", merged(tiny_overlay(tiny_model), {"rehearsal": {"max_cut": 2}}))
    assert result.returncode == 1
    assert "rehearsal.max_cut" in result.stderr
    assert not (tmp_path / "run/rehearsal").exists()


def test_a_server_is_asked_only_if_that_is_allowed():
    config = preset("paper")
    with pytest.raises(ScaleQuestError, match=r"would send 16 questions .* to https://api\.openai\.com/v1.*ask_server"):
        check_server(config)
    check_server(preset("paper", rehearsal={"ask_server": True}))
    check_server(preset("paper", preference_tuning={"rewrite": {"backend": "engine"}}))
    check_server(preset("paper", generators={name: {"tuning": "question"} for name in ("qwen", "deepseek")}))


def test_a_log_says_how_its_last_attempt_ended(tmp_path):
    log = tmp_path / "rule/name.log"
    log.parent.mkdir()
    log.write_text(
        "---- 2026, process 1 ----\n12:00:00 scalequest: error: the first\n"
        "---- 2026, process 2 ----\n12:00:01 scalequest: loading\n12:00:02 scalequest: error: it is\n    on two lines\n"
    )
    assert list(failures(tmp_path, 0.0)) == ["rule/name: it is on two lines"]
    with log.open("a") as handle:
        handle.write("---- 2026, process 3 ----\n12:00:03 scalequest: done\n")
    assert list(failures(tmp_path, 0.0)) == []


def answers(stage: str, model: str, texts: int, cut: float) -> Texts:
    return Texts(stage, "?", f"results/models/{model}.json", texts, 0.0, cut)


def test_a_model_that_ends_no_answer_fails():
    mute = [answers("sample_responses", "mute", 32, 1.0), answers("answer_known_problems", "mute", 16, 1.0)]
    others = [answers("sample_responses", "some", 32, 1.0), answers("measure_fail_rates", "some", 16, 0.9)]
    few = [
        answers("sample_responses", "few", 7, 1.0),
        Texts("sample_questions", "g", "results/models/g.json", 16, 0, 1.0),
    ]
    [said] = never_ending([*mute, *others, *few])
    assert said.startswith("mute ended none of its 48 answers")


def test_seed_problems_without_answers_are_a_warning(tiny_model, tmp_path):
    """Then no rule asks for known problems."""
    config = merged(tiny_overlay(tiny_model), {"datasets": {"bare": {"source": "path:bare.jsonl", "licence": "none"}}})
    config["datasets"]["bare"]["fields"] = {"question": "q"}
    config["use"]["seeds"] = ["bare"]
    config["filters"]["difficulty"] = {"enabled": False}
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "bare.jsonl").write_text('{"q": "What is 1 + 1?"}\n')
    result = rehearse(folder, config, "-n")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "tune_questions" in result.stdout + result.stderr
    assert "known_problems" not in result.stdout + result.stderr
    assert any("no seed problem has an answer" in said for said in warnings(DEFAULT["rehearsal"], Findings()))


# ---------------------------------------------------------------- its sizes


@pytest.mark.parametrize("names", PRESETS.values(), ids=PRESETS)
def test_the_sizes_fit_every_preset(names, tmp_path):
    config = preset(*names)
    small = rehearsed(config, tmp_path)
    check(small)
    assert small["questions"]["questions_per_shard"] == ROWS
    assert {small["engine"]["window"], *small["engine"]["stage_windows"].values()} == {ROWS}
    # What takes memory, and what is asked of a model, is the run's own.
    for path in ("training", "responses.sampling", "student_tuning", "evaluation.sampling", "reward"):
        old, new = config, small
        for key in path.split("."):
            old, new = old[key], new[key]
        assert old == new, path
    assert small["engine"]["max_sequences"] == config["engine"]["max_sequences"]


def test_sizes_of_a_rehearsal_are_no_settings_of_the_run():
    changed = preset("paper", rehearsal={"strict": True}, operation={"measure_seconds": 1.0})
    assert shaping(changed) == shaping(preset("paper"))


def test_a_path_is_found_from_the_rehearsals_folder(tmp_path):
    (tmp_path / "mine.jsonl").write_text("{}\n")
    config = preset(datasets={"embedded_test": {"source": "path:mine.jsonl"}})
    found = overlay(config, tmp_path)["datasets"]
    assert found["embedded_test"]["source"] == f"path:{tmp_path / 'mine.jsonl'}"
    assert "source" not in found["embedded"]


# ---------------------------------------------------------------- what is asked of a full engine


def test_prompts_are_changed_between_what_all_begin_and_end_with():
    prompts = [[1, 2, 10, 11, 12, 9], [1, 2, 20, 21, 22, 9], [1, 2, 30, 9]]
    asked = Asked(calls=[([{"prompt_token_ids": prompt} for prompt in prompts], ["how"])])
    seen = [next_[0]["prompt_token_ids"] for next_, _ in zip(asked.again(), range(6), strict=False)]
    assert seen[:3] == [[1, 2, 11, 12, 10, 9], [1, 2, 21, 22, 20, 9], [1, 2, 30, 9]]
    assert seen[3:5] == [[1, 2, 12, 10, 11, 9], [1, 2, 22, 20, 21, 9]]


def test_prompts_that_are_all_the_same_stay():
    asked = Asked(calls=[([{"prompt_token_ids": [1, 2]}] * 3, ["a", "b", "c"])])
    assert [next_ for next_, _ in zip(asked.again(), range(4), strict=False)] == [
        ({"prompt_token_ids": [1, 2]}, how) for how in ("a", "b", "c", "a")
    ]


# ---------------------------------------------------------------- what a plan takes from it


def measured(seconds: float, source: str = "hf:Qwen/Qwen2-Math-7B-Instruct@main", **changed: Any) -> dict[str, Any]:
    engine = loaded(engine_settings(preset("paper"), "qwen2_math_instruct")) | changed
    entry = {"what": "sample_responses", "model": "results/models/qwen2_math_instruct.json", "gpus": 1}
    entry["engine"] = engine
    return {
        "models": {"qwen2_math_instruct": source},
        "measured": [{**entry, "rows_per_hour": 5000.0, "seconds": seconds}],
    }


@pytest.mark.parametrize(
    ("record", "used"),
    [
        (measured(121.0), True),
        (measured(119.0), False),
        (measured(121.0, "hf:other/model@main"), False),
        (measured(121.0, max_sequences=8), False),
    ],
    ids=["long enough", "too short", "another model", "another engine"],
)
def test_a_plan_uses_what_was_measured_for_two_minutes(record, used, tmp_path):
    write_json(tmp_path / "rehearsal/rehearsal.json", record)
    shard = {"generator": "qwen", "seed": "0", "gpu": "0"}
    model = "results/models/qwen2_math_instruct.json"
    seconds, source = Estimator(preset("paper"), tmp_path).seconds("sample_responses", 10_000, shard, model, 1)
    assert ("by the rehearsal: 121 s" in source) == used, source
    if used:
        assert seconds == pytest.approx(7200)
        # Two GPUs take half as long.
        assert Estimator(preset("paper"), tmp_path).seconds("sample_responses", 10_000, shard, model, 2)[0] == 3600
