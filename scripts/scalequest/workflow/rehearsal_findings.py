"""What a rehearsal found: of each model, stage and training, with errors and warnings.

It reads what the run of a few rows left in its folder: tables, manifests, measurements, logs of jobs that failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalequest.config.selectors import answering, model_in_use, model_references, model_roles
from scalequest.errors import ScaleQuestError
from scalequest.llm.chat import load_tokenizer, question_format
from scalequest.rows.tables import ATTEMPTS, JUDGEMENTS, QUESTIONS, REWARDS, REWRITES, STEP_REWARDS, TOPICS, read_rows
from scalequest.runtime import measured
from scalequest.runtime.files import read_json
from scalequest.stages import of_kind
from scalequest.workflow import weights
from scalequest.workflow.job_logs import last_error
from scalequest.workflow.training_memory import RULES

Row = dict[str, Any]
_ANSWERS = ("measure_fail_rates", "sample_responses", "answer_known_problems")
# Texts of a model of which one should have ended.
_SOME = 8


@dataclass(frozen=True)
class Texts:
    """A stage's texts: how many, and which shares are empty, cut at max_tokens, and (of verdicts) unreadable. None
    where it does not apply. `of` is the generator or model, `model` the manifest of the model that ran."""

    stage: str
    of: str
    model: str
    texts: int
    empty: float | None = None
    cut: float | None = None
    unparsed: float | None = None


@dataclass
class Findings:
    """Everything that the page shows. `errors` and `warnings` are sentences."""

    models: list[Row] = field(default_factory=list)
    stages: list[Texts] = field(default_factory=list)
    trainings: list[Row] = field(default_factory=list)
    engines: list[Row] = field(default_factory=list)
    rewards: Row | None = None
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find(config: Mapping[str, Any], folder: Path, begun: float, status: int) -> Findings:
    """What a rehearsal with this config left in its folder. It began at the time `begun` (as time.time gives it), and
    Snakemake ended with `status`."""
    found = Findings()
    found.errors += failures(folder / "logs", begun)
    if status and not found.errors:
        found.errors.append(f"Snakemake ended with status {status}; its last lines above say why.")
    found.models = [model(config, name, folder) for name in model_in_use(config)]
    found.stages = list(stages(config, folder))
    found.engines = list(engines(found.stages, config, folder))
    found.trainings = list(trainings(config, folder))
    found.rewards = rewards(folder / "results/rehearsal/rewards.parquet")
    found.errors += never_ending(found.stages)
    found.warnings = list(warnings(config["rehearsal"], found))
    return found


def failures(logs: Path, begun: float) -> Iterator[str]:
    """How each job ended that failed since `begun`: its log, and what it said last."""
    for path in sorted(logs.rglob("*.log")):
        if path.parent.name == "attempts" or path.stat().st_mtime < begun:
            continue
        if said := last_error(path.read_text(encoding="utf-8", errors="replace")):
            yield f"{path.relative_to(logs).with_suffix('')}: {said}"


def model(config: Mapping[str, Any], name: str, folder: Path) -> Row:
    """A model in use: its roles, size, tokenizer proof, and the beginning and end of a user's turn."""
    roles = [path.removesuffix(".model") for path, other, used in model_references(config) if used and other == name]
    found: Row = {"name": name, "roles": roles, "source": config["models"][name]["source"]}
    manifest = folder / "results/models" / f"{name}.json"
    if not manifest.is_file():
        return found
    entry = read_json(manifest)
    place = folder / entry["folder"]
    found["architecture"] = ", ".join(read_json(place / "config.json").get("architectures") or ["?"])
    found["parameters"] = weights.of_model(found["source"], name, folder)
    found["tokenizer"] = entry.get("tokenizer")
    if model_roles(config)[name]["chat"]:
        try:
            tokenizer = load_tokenizer(place, trust_remote_code=entry["trust_remote_code"])
            form = question_format(tokenizer)
            found["prefix"] = tokenizer.decode(list(form.prefix))
            found["stops"] = tokenizer.convert_ids_to_tokens(list(form.stops))
        except ScaleQuestError as error:
            found["trouble"] = str(error)
    measures = folder / "results/rehearsal" / name / "measures.json"
    if measures.is_file():
        known = read_json(measures)
        first = next(iter(known["graders"].values()))
        found |= {"right": first["pass@1"]["percent"] / 100, "problems": known["problems"]}
    return found


def stages(config: Mapping[str, Any], folder: Path) -> Iterator[Texts]:
    """The texts of each stage that has made some, in the order of the method."""
    results, seed = folder / "results", config["questions"]["seeds"][0]
    pairs = config["preference_tuning"]
    generators = config["use"]["generators"]
    manifests = {name: _asking(name, config["generators"][name]["tuning"], config) for name in generators}
    for name in generators:
        place = results / "preference_tuning" / name
        tuned = f"results/question_tuning/{name}/model.json"
        yield from _questions("sample_pair_questions", name, tuned, place / "questions.parquet")
        if (path := place / "rewrites.parquet").is_file():
            rows = read_rows(path, REWRITES)
            bad = _share(bool(row["failure"]) for row in rows)
            yield Texts("rewrite_questions", name, _staged(pairs["rewrite"]["model"]), len(rows), unparsed=bad)
        if (path := place / "judgements.parquet").is_file():
            yield Texts("judge_pair_questions", name, _staged(pairs["rank"]["model"]), len(read_rows(path, JUDGEMENTS)))
    for name in generators:
        shard = f"{name}/seed{seed}/gpu0.parquet"
        yield from _questions("sample_questions", name, manifests[name], results / "questions" / shard)
    solver = config["difficulty"]["solver"]
    yield from _answers("measure_fail_rates", solver, _staged(solver), results / "difficulty/attempts.parquet")
    judge, answerer = config["filters"]["solvability"], config["responses"]["model"]
    for name in generators:
        shard = f"{name}/seed{seed}/gpu0.parquet"
        if (path := results / "filters/solvability" / shard).is_file():
            rows = read_rows(path, JUDGEMENTS)
            unread = _share(row["verdict"] == "unparsed" for row in rows) if judge["verdict"] == "text" else None
            yield Texts("judge_questions", name, _staged(judge["model"]), len(rows), unparsed=unread)
        yield from _answers("sample_responses", name, _staged(answerer), results / "responses" / shard)
    asked = {**{name: f"questions/{name}" for name in generators}, "seed problems": "seeds"}
    for name, place in asked.items():
        if (path := results / "topics" / f"{place}.parquet").is_file():
            yield Texts("choose_topics", name, _staged(config["topics"]["model"]), len(read_rows(path, TOPICS)))
    for name in answering(config):
        path = results / "rehearsal" / name / "answers0.parquet"
        yield from _answers("answer_known_problems", name, _staged(name), path)


def never_ending(stages: Iterable[Texts]) -> Iterator[str]:
    """Models that ended none of their answers: they do not know the token that ends one."""
    answers: dict[str, list[Texts]] = {}
    for stage in stages:
        if stage.stage in _ANSWERS:
            answers.setdefault(stage.model, []).append(stage)
    for manifest, own in answers.items():
        texts = sum(stage.texts for stage in own)
        if texts >= _SOME and all(stage.cut == 1 for stage in own):
            yield (
                f"{Path(manifest).stem} ended none of its {texts} answers: all were cut at max_tokens. Is its chat "
                "template the right one, and the token that ends a turn (above) the one that it writes?"
            )


def _questions(stage: str, name: str, manifest: str, path: Path) -> Iterator[Texts]:
    if path.is_file():
        rows = read_rows(path, QUESTIONS)
        empty, cut = _share(not row["question"] for row in rows), _share(_is_cut(row) for row in rows)
        yield Texts(stage, name, manifest, len(rows), empty, cut)


def _answers(stage: str, name: str, manifest: str, path: Path) -> Iterator[Texts]:
    if path.is_file():
        rows = read_rows(path, ATTEMPTS)
        empty, cut = _share(not row["response"] for row in rows), _share(_is_cut(row) for row in rows)
        yield Texts(stage, name, manifest, len(rows), empty, cut)


def _is_cut(row: Row) -> bool:
    return row["finish_reason"] == "length"


def _share(values: Iterable[bool]) -> float:
    counted = list(values)
    return sum(counted) / len(counted) if counted else 0.0


def _staged(name: str) -> str:
    return f"results/models/{name}.json"


def _asking(name: str, tuning: str, config: Mapping[str, Any]) -> str:
    """Manifest of the model that a generator samples from."""
    folder = {"question": "question_tuning", "preference": "preference_tuning"}.get(tuning)
    return f"results/{folder}/{name}/model.json" if folder else _staged(config["generators"][name]["model"])


def engines(stages: Iterable[Texts], config: Mapping[str, Any], folder: Path) -> Iterator[Row]:
    """What engines did when they were full, by program and model."""
    programs = dict.fromkeys(stage.script for stage in of_kind("engine"))
    for what in programs:
        for path in sorted((folder / measured.FOLDER / what).glob("*.json")):
            yield {"what": what, "model": measured.manifest_of(path), **read_json(path)}


def trainings(config: Mapping[str, Any], folder: Path) -> Iterator[Row]:
    """What each training took, by the section of the config and the manifest of the model that it started from."""
    names = config["use"]["generators"]
    staged = {name: _staged(config["generators"][name]["model"]) for name in names}
    tuned = {name: f"results/question_tuning/{name}/model.json" for name in names}
    students = {name: _staged(config["students"][name]["model"]) for name in config["use"]["students"]}
    asked = [
        *(("question_tuning", name, staged[name]) for name in names),
        *(("preference_tuning", name, tuned[name]) for name in names),
        ("difficulty", "", _staged(config["difficulty"]["base"])),
        *(("students", name, base) for name, base in students.items()),
    ]
    for section, name, base in asked:
        manifest = folder / "results" / section / name / "model.json"
        if not manifest.is_file():
            continue
        entry = read_json(manifest)
        [setting] = set(entry["settings"]) & set(RULES)
        path = folder / measured.file_of(setting, Path(entry["folder"]).name)
        known = read_json(path) if path.is_file() else {}
        yield {"what": RULES[setting], "model": base, "of": name or "scorer", "steps": entry["steps"], **known}


def rewards(path: Path) -> Row | None:
    """In how many pairs the right response has the higher reward; None where nothing scores."""
    if not path.is_file():
        return None
    try:
        found = {(row["id"], row["sample"]): row["reward"] for row in read_rows(path, REWARDS)}
    except ScaleQuestError:
        rows = read_rows(path, STEP_REWARDS)
        found = {(row["id"], row["sample"]): min(row["steps"] or [0.0]) for row in rows}
    # As make_known_problems numbers them: right, wrong.
    pairs = [(found[name, 0], found[name, 1]) for name in sorted({name for name, _ in found})]
    right, wrong = ([pair[side] for pair in pairs] for side in (0, 1))
    return {
        **{"pairs": len(pairs), "preferred": _share(a > b for a, b in pairs)},
        **{"right": sum(right) / len(right), "wrong": sum(wrong) / len(wrong)},
    }


def warnings(limits: Mapping[str, Any], found: Findings) -> Iterator[str]:
    """What is not as the config's `rehearsal` wants it, and what was not looked at."""
    if not found.errors and not any("right" in known for known in found.models):
        yield "no seed problem has an answer: neither right answers nor rewards of right and wrong ones were compared."
    for stage in found.stages:
        place = f"{stage.stage} ({stage.of})"
        for share, limit, what, advice in (
            (stage.empty, "max_empty", "are empty", "read some of them"),
            (stage.cut, "max_cut", "were cut at max_tokens", "raise max_tokens, or read why they do not end"),
            (stage.unparsed, "max_unparsed", "could not be read", "read some, raise the tokens, or take another model"),
        ):
            if share is not None and share > limits[limit]:
                allowed = f"rehearsal.{limit}: {limits[limit]:g}"
                yield f"{place}: {share:.0%} of {stage.texts} texts {what} ({allowed}): {advice}."
    for known in found.models:
        if known.get("right", 1.0) < limits["min_right"]:
            yield (
                f"{known['name']} solves {known['right']:.0%} of {known['problems']} seed problems "
                f"(rehearsal.min_right: {limits['min_right']:g}): read results/rehearsal/{known['name']}."
            )
    scored = found.rewards
    if scored and scored["preferred"] < limits["min_preferred"]:
        yield (
            f"the solution has the higher reward in {scored['preferred']:.0%} of {scored['pairs']} pairs with a wrong "
            f"one (rehearsal.min_preferred: {limits['min_preferred']:g}): does reward.kind fit reward.model?"
        )
    for training in found.trainings:
        peak, there = training.get("peak_bytes"), training.get("memory_bytes")
        if peak and there and peak > 0.95 * there:
            yield f"{training['what']} ({training['of']}) took {peak / there:.0%} of the device's memory."
        if not training.get("resumed", True):
            yield f"{training['what']} ({training['of']}) had one step, so that no checkpoint was resumed."
