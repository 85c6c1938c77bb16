"""What the rules share: the checked config, settings as canonical JSON, hashes of code, paths that say what a file is."""

import os
import re
import sys
from pathlib import Path
from shlex import quote

SCRIPTS = Path(workflow.basedir) / "scripts"
sys.path.insert(0, str(SCRIPTS))

from snakemake.logging import logger
from scalequest.codehash import checkout_hash, code_hash
from scalequest.config import (
    OURS,
    cautions,
    check,
    config_digest,
    datasets_in_use,
    engine_settings,
    fill_defaults,
    measured,
    model_in_use,
    shaping,
    student_settings,
)
from scalequest.errors import ScaleQuestError
from scalequest.files import CHECKOUT, find_path
from scalequest.freeze import freeze
from scalequest.hashing import canonical_json, digest, file_sha256
from scalequest.operation import OPERATION

try:
    CONFIG = fill_defaults(config)
    check(CONFIG)
    freeze(
        {
            "the config was": config_digest(CONFIG),
            "a script or a file of resources/ was": checkout_hash(CHECKOUT),
        },
        workflow.is_main_process,
    )
except ScaleQuestError as error:
    raise WorkflowError(str(error)) from None

CONFIG["storage"] = {
    key: os.path.expanduser(folder) for key, folder in CONFIG["storage"].items()
}

# For the resources of a profile, whose expressions know nothing of the config: jobs without a GPU go to other partitions.
os.environ.update(SCALEQUEST_DEVICE=CONFIG["device"])

if workflow.is_main_process:
    for caution in cautions(CONFIG):
        logger.warning(caution)


def deploys(method):
    """Whether `--sdm` names a method: by conda, rules run in environments of their own, whose interpreter must win."""
    methods = workflow.deployment_settings.deployment_method
    return any(str(named).lower().endswith(method) for named in methods)


if deploys("apptainer") and not deploys("conda"):
    raise WorkflowError(
        "--sdm apptainer alone gives a container without the packages: say `--sdm conda apptainer`."
    )


def word(text):
    """A text as one word of the shell; Snakemake would fill in what stands between single braces."""
    return quote(str(text)).replace("{", "{{").replace("}", "}}")


# What says how to run and not what to make goes through the shell, not through params: paths of the checkout, of the
# interpreter and of bulky things, and the config's `operation`. Another folder or another timeout reruns nothing.
shell.prefix(
    f"set -euo pipefail; scripts={word(SCRIPTS)}; "
    f"models={word(CONFIG['storage']['models'])}; progress={word(CONFIG['storage']['progress'])}; "
    f"export {OPERATION}={word(canonical_json(CONFIG['operation']))}; "
    + (
        ""
        if deploys("conda")
        else f"export PATH={word(Path(sys.executable).parent)}:$PATH; "
    )
)

GENERATORS = CONFIG["use"]["generators"]
SEEDS = CONFIG["questions"]["seeds"]
# The most that any model's engine takes, so that no machine is overbooked.
ENGINE_THREADS = max(
    engine_settings(CONFIG, name)["threads"] for name in model_in_use(CONFIG)
)
SHARDS = range(CONFIG["questions"]["shards"])
TEXT_FILTERS = ("language", "length", "contamination")


# Only what the config knows: a path of anything else is one that no rule makes, and Snakemake says so.
wildcard_constraints:
    generator="|".join(CONFIG["generators"]),
    model="|".join(CONFIG["models"]),
    dataset="|".join(CONFIG["datasets"]),
    student="|".join(CONFIG["students"]),
    measured="|".join([*CONFIG["models"], *CONFIG["students"]]),
    part="|".join(map(str, range(CONFIG["evaluation"]["shards"]))),
    seed="|".join(map(str, SEEDS)),
    gpu="|".join(map(str, SHARDS)),


def code(script):
    """Hash of all code that scripts/{script}.py reaches, for a rule's params."""
    return code_hash(SCRIPTS / f"{script}.py")


def settings(**parts):
    """A stage's settings as one canonical JSON string: the only way that settings reach a script.

    Names stand here too, beside the inputs that are made of them, where their order counts: Snakemake compares inputs as
    a set.
    """
    return param(parts)


def param(value):
    """A value as canonical JSON in which Snakemake finds no wildcard: in a text (`{question}`) a brace is written by
    its number, as before anything but a quote or another brace it is none of JSON's own.
    """
    return re.sub(r'\{(?=[^"}])', r"\\u007b", canonical_json(value))


def resource(name):
    """Hash of a file in resources/, for a rule's params."""
    return file_sha256(Path(workflow.basedir) / "resources" / name)


def prompt(*names):
    """Hashes of prompt files, for a rule's params."""
    return [resource(f"prompts/{name}") for name in names]


def judge_prompts():
    """Hashes of the prompt files that the solvability filter's judge uses."""
    if CONFIG["filters"]["solvability"]["reasoning_tokens"]:
        return prompt("judge_solvability.txt", "judge_verdict.txt")
    return prompt("judge_solvability_direct.txt", "judge_examples.jsonl")


def pick(section, *keys):
    """Some keys of a section of the config."""
    return {key: section[key] for key in keys}


def model_manifest(name):
    """The staged model's manifest."""
    return f"results/models/{name}.json"


def asking_manifest(name):
    """Manifest of the model that a generator samples from, by how far it is tuned."""
    generator = CONFIG["generators"][name]
    return {
        "none": model_manifest(generator["model"]),
        "question": f"results/question_tuning/{name}/model.json",
        "preference": f"results/preference_tuning/{name}/model.json",
    }[generator["tuning"]]


def generator_manifest(wildcards):
    return asking_manifest(wildcards.generator)


def base_manifest(wildcards):
    """Manifest of the model that a generator starts from."""
    return model_manifest(base_model(wildcards))


def engine(model, stage):
    """The engine's settings for a model in a stage."""
    return engine_settings(CONFIG, model, stage)


def engine_gpus(model):
    """GPUs that one engine needs; none on a CPU."""
    return engine(model, None)["tensor_parallel"] if CONFIG["device"] == "gpu" else 0


def base_model(wildcards):
    """Name of the model that a generator starts from."""
    return CONFIG["generators"][wildcards.generator]["model"]


def generator_gpus(wildcards):
    """GPUs that a generator's engine needs."""
    return engine_gpus(base_model(wildcards))


def training_gpus():
    """GPUs that a training job needs; none on a CPU."""
    return CONFIG["training"]["processes"] if CONFIG["device"] == "gpu" else 0


def training_nodes():
    """What a training job of several nodes asks SLURM for: a task on each, started by the script itself and not by
    Snakemake's executor (`mpi`), and not as many as there are GPUs."""
    nodes = CONFIG["training"]["nodes"]
    if nodes == 1:
        return {}
    return {"nodes": nodes, "tasks": nodes, "tasks_per_gpu": 0, "mpi": "srun"}


def training():
    """The settings that every trainer takes."""
    return {"training": CONFIG["training"], "device": CONFIG["device"]}


def shards(pattern):
    """A path for each shard of the run, in a fixed order: seed first."""
    return [
        pattern.format(generator=generator, seed=seed, gpu=gpu)
        for seed in SEEDS
        for generator in GENERATORS
        for gpu in SHARDS
    ]


def active_filters(before=None):
    """Names of the enabled filters in the config's order, up to one of them."""
    order = [
        name
        for name in CONFIG["filters"]["order"]
        if CONFIG["filters"][name]["enabled"] or name == before
    ]
    return order[: order.index(before)] if before else order


def filters_before(name):
    """The settings by which the filters before one of them (or all, for None) decide: no model, no prompt."""
    order = active_filters(name)
    keys = {"solvability": ["enabled", "action", "min_probability"]}
    return {"order": order} | {
        f: pick(CONFIG["filters"][f], *keys.get(f, ["enabled", "action"]))
        for f in order
    }


def evidence_before(name):
    """A function from wildcards to the files in which the filters before one of them (or all, for None) speak."""
    active = active_filters(name)

    def files(wildcards):
        place = f"{wildcards.generator}/seed{wildcards.seed}"
        text = (
            [f"results/filters/text/{place}/gpu{wildcards.gpu}.parquet"]
            if set(active) & set(TEXT_FILTERS)
            else []
        )
        duplicates = (
            [f"results/filters/duplicates/seed{wildcards.seed}.parquet"]
            if "duplicates" in active
            else []
        )
        found = {"verdicts": text + duplicates} if text or duplicates else {}
        if "difficulty" in active:
            found["scores"] = (
                f"results/filters/difficulty/{place}/gpu{wildcards.gpu}.parquet"
            )
            found["cut"] = f"results/filters/difficulty/{place}/cut.json"
        if "solvability" in active:
            found["judgements"] = (
                f"results/filters/solvability/{place}/gpu{wildcards.gpu}.parquet"
            )
        return found

    return files


def evidence_arguments(wildcards, input):
    """The command line's part that passes on what `evidence_before` found. Paths are made of names without spaces."""
    names = [
        name
        for name in ("verdicts", "scores", "cut", "judgements")
        if name in input.keys()
    ]
    return " ".join(f"--{name} {input[name]}" for name in names)


def forbidden_benchmarks():
    """The benchmarks that questions must not repeat; none where the filter is off."""
    enabled = CONFIG["filters"]["contamination"]["enabled"]
    return CONFIG["use"]["benchmarks"] if enabled else []


def text_settings():
    """The settings of the text filters: what each looks for, not what is done with what it finds."""
    filters = CONFIG["filters"]
    parts = {
        name: {key: value for key, value in filters[name].items() if key != "action"}
        for name in TEXT_FILTERS
    }
    signature = pick(filters["duplicates"], "enabled", "shingle", "permutations")
    return settings(
        wanted=CONFIG["dataset"]["language"],
        duplicates=signature,
        # Of items that a question covers equally, the first is named.
        benchmarks=forbidden_benchmarks(),
        **parts,
    )


def duplicate_settings():
    return {
        key: value
        for key, value in CONFIG["filters"]["duplicates"].items()
        if key != "action"
    }


def dropping_text_filters():
    """The text filters that drop rows before duplicates are sought: what is dropped cannot be the original of a copy."""
    before = active_filters("duplicates")
    return [
        name
        for name in TEXT_FILTERS
        if name in before and CONFIG["filters"][name]["action"] == "drop"
    ]


def seed_shards(pattern, wildcards):
    """A path for each shard of one seed, over the generators (or the one generator) that the path is of."""
    generators = (
        [wildcards.generator] if "generator" in wildcards.keys() else GENERATORS
    )
    return [
        pattern.format(generator=generator, seed=wildcards.seed, gpu=gpu)
        for generator in generators
        for gpu in SHARDS
    ]


def seed_verdicts(wildcards):
    return seed_shards(
        "results/filters/text/{generator}/seed{seed}/gpu{gpu}.parquet", wildcards
    )


def seed_signatures(wildcards):
    return seed_shards(
        "results/filters/text/{generator}/seed{seed}/gpu{gpu}.signatures.parquet",
        wildcards,
    )


def seed_scores(wildcards):
    return seed_shards(
        "results/filters/difficulty/{generator}/seed{seed}/gpu{gpu}.parquet", wildcards
    )


def earlier_kept(wildcards):
    """What the seeds before this one kept."""
    before = SEEDS[: SEEDS.index(int(wildcards.seed))]
    return [f"results/filters/duplicates/seed{seed}.kept.parquet" for seed in before]


# ---------------------------------------------------------------- staging
def data_files_of(wildcards):
    """The files that a data set's `path:` source names, by their names within it."""
    source = CONFIG["datasets"][wildcards.dataset]["source"]
    if not source.startswith("path:"):
        return {}
    path = find_path(source.removeprefix("path:"))
    files = filter(Path.is_file, path.glob("**/*.*")) if path.is_dir() else [path]
    return {str(file.relative_to(path)): file for file in files}


def known_by_content(file):
    """The checkout's own files, as a moved checkout reruns nothing, and those in whose path Snakemake would see a
    wildcard; all others are inputs."""
    return file.is_relative_to(CHECKOUT) or "{" in str(file)


def data_source(wildcards):
    """The files of a data set as inputs, so that an edited one is noticed."""
    files = data_files_of(wildcards).values()
    return sorted(str(file) for file in files if not known_by_content(file))


def data_hash(wildcards):
    """Hash of a data set's files that are no inputs, if there are any."""
    hashes = {
        name: file_sha256(file)
        for name, file in data_files_of(wildcards).items()
        if known_by_content(file) and file.is_file()
    }
    return digest(hashes) if hashes else ""


def model_settings(wildcards):
    return settings(
        **pick(
            CONFIG["models"][wildcards.model], "source", "sha256", "trust_remote_code"
        )
    )


def staged_folder(wildcards):
    """Folder of a staged model's weights: another source under the same name is another one."""
    source = digest(CONFIG["models"][wildcards.model]["source"])[:8]
    return f"{wildcards.model}-{source}"


def data_settings(wildcards):
    dataset = CONFIG["datasets"][wildcards.dataset]
    return settings(
        **pick(dataset, "source", "fields", "facts", "where", "max_rows", "on_bad_row")
    )


# ---------------------------------------------------------------- preference_tuning
PAIRS = CONFIG["preference_tuning"]["pairs"]


REWRITE = CONFIG["preference_tuning"]["rewrite"]


def rewriter_manifest(wildcards):
    """The rewriter's manifest, where it is a model of ours and not a server's."""
    return model_manifest(REWRITE["model"]) if REWRITE["backend"] == "engine" else []


def rewriter_argument(wildcards, input):
    return f"--model {input.model}" if input.model else ""


def rewrite_settings():
    """What a rewrite rests on; a server has no engine, and an engine no name on a server."""
    ours = REWRITE["backend"] == "engine"
    idle = "server_model" if ours else "model"
    return settings(
        rewrite={key: value for key, value in REWRITE.items() if key != idle},
        engine=engine(REWRITE["model"], "rewrite_questions") if ours else None,
        seed=CONFIG["preference_tuning"]["seed"],
    )


def pair_questions_settings(wildcards):
    return settings(
        purpose="pairs",
        sampling=CONFIG["preference_tuning"]["sampling"],
        engine=engine(base_model(wildcards), "sample_questions"),
    )


def pair_question_rows():
    """Which rows of the pairs' questions are sampled: all of them."""
    tuning = CONFIG["preference_tuning"]
    return f"--seed {tuning['seed']} --start 0 --count {tuning['questions']}"


def pair_settings():
    """What pairs rest on: the ranking's rule, where there is one, and how few are too few."""
    rank = (
        {"rank": pick(CONFIG["preference_tuning"]["rank"], "group", "min_margin")}
        if PAIRS == "rank"
        else {}
    )
    return settings(min_pairs=CONFIG["preference_tuning"]["min_pairs"], **rank)


def pair_sources(wildcards):
    """What pairs are made from, by the way that the config names."""
    folder = f"results/preference_tuning/{wildcards.generator}"
    if PAIRS == "rewrite":
        return {"rewrites": f"{folder}/rewrites.parquet"}
    return {
        "questions": f"{folder}/questions.parquet",
        "judgements": f"{folder}/judgements.parquet",
    }


def pair_arguments(wildcards, input):
    return " ".join(f"--{name} {path}" for name, path in input.items())


# ---------------------------------------------------------------- questions
def questions_settings(wildcards):
    return settings(
        purpose="questions",
        sampling=CONFIG["questions"]["sampling"],
        engine=engine(base_model(wildcards), "sample_questions"),
    )


def first_index(wildcards):
    return int(wildcards.gpu) * CONFIG["questions"]["questions_per_shard"]


# ---------------------------------------------------------------- difficulty
DIFFICULTY = CONFIG["difficulty"]


def scorer_settings():
    """What the scorer's training rests on; what its data rest on is in the fail rates."""
    solving = ("solver", "problems", "samples", "sampling", "base")
    return settings(
        difficulty={k: v for k, v in DIFFICULTY.items() if k not in solving},
        **training(),
    )


def cut_settings():
    return settings(
        **pick(CONFIG["filters"]["difficulty"], "generators", "below", "below_quantile")
    )


# ---------------------------------------------------------------- responses
REWARD = CONFIG["reward"]


def rewards(wildcards):
    """The shard's rewards, where responses are scored at all."""
    if REWARD["kind"] == "none":
        return []
    return f"results/rewards/{wildcards.generator}/seed{wildcards.seed}/gpu{wildcards.gpu}.parquet"


def rewards_argument(wildcards, input):
    return f"--rewards {input.rewards}" if input.rewards else ""


# ---------------------------------------------------------------- students, evaluation
def student_base(wildcards):
    """Manifest of the model that a student starts from."""
    return model_manifest(CONFIG["students"][wildcards.student]["model"])


def student_data(wildcards):
    """A student's training set: the shards of ours that it asks for, or a staged dataset."""
    student = CONFIG["students"][wildcards.student]
    if student["data"] != OURS:
        return {"problems": f"results/datasets/{student['data']}.parquet"}
    place = "{generator}/seed{seed}/gpu{gpu}.parquet"
    return {
        kind: [
            f"results/{kind}/{place}".format(generator=generator, seed=seed, gpu=gpu)
            for seed in student["seeds"] or SEEDS
            for generator in student["generators"] or GENERATORS
            for gpu in SHARDS
        ]
        for kind in ("filtered", "candidates")
    }


def student_arguments(wildcards, input):
    names = ("filtered", "candidates") if "filtered" in input.keys() else ("problems",)
    return " ".join(f"--{name} {input[name]}" for name in names)


def student_tuning(wildcards):
    """What a student's training rests on."""
    return settings(
        student_tuning=student_settings(CONFIG, wildcards.student),
        data=student_slice(wildcards),
        **training(),
    )


def student_slice(wildcards):
    """Which rows of its training set a student gets."""
    student = CONFIG["students"][wildcards.student]
    return pick(student, "data", "rows", "generators", "seeds")


def overlap_settings(wildcards):
    """The rows of a student and when one holds a problem, whether or not our own questions are filtered by that."""
    return settings(
        data=student_slice(wildcards),
        contamination=pick(CONFIG["filters"]["contamination"], "ngram", "min_overlap"),
    )


def measured_manifest(wildcards):
    """Manifest of what is measured: a student, or a model as it is."""
    if wildcards.measured in CONFIG["students"]:
        return f"results/students/{wildcards.measured}/model.json"
    return model_manifest(wildcards.measured)


def measured_base(wildcards):
    """Name of the model by whose settings what is measured runs: of a student the one that it started from."""
    student = CONFIG["students"].get(wildcards.measured)
    return wildcards.measured if student is None else student["model"]


def measured_gpus(wildcards):
    """GPUs that the engine of what is measured needs."""
    return engine_gpus(measured_base(wildcards))


def answer_settings(wildcards):
    """How what is measured is asked: a student as it was trained."""
    asking = pick(CONFIG["evaluation"], "prompt", "format", "samples", "sampling")
    if wildcards.measured in CONFIG["students"]:
        asking |= pick(student_settings(CONFIG, wildcards.measured), "prompt", "format")
    return settings(
        evaluation=asking, engine=engine(measured_base(wildcards), "sample_answers")
    )


def evaluated(file):
    """A file for each model that is measured and each benchmark, in a fixed order."""
    return [
        f"results/evaluation/{name}/{benchmark}/{file}"
        for name in measured(CONFIG)
        for benchmark in CONFIG["use"]["benchmarks"]
    ]


def table_settings():
    """What the table shows, and how it was measured."""
    return settings(
        benchmarks=CONFIG["use"]["benchmarks"],
        # The order of the lines.
        measured=measured(CONFIG),
        **pick(CONFIG["evaluation"], "columns", "compare", "sampling"),
    )


# ---------------------------------------------------------------- dataset
# Which rules' time is which stage's time.


STAGE_RULES = {
    "question_tuning": ["tune_questions"],
    "pairs": [
        "sample_pair_questions",
        "judge_pair_questions",
        "rewrite_questions",
        "make_pairs",
    ],
    "preference_tuning": ["tune_preferences"],
    "questions": ["sample_questions"],
    "language": ["filter_text"],
    "duplicates": ["filter_duplicates"],
    "difficulty_scorer": ["measure_fail_rates", "train_scorer"],
    "difficulty": ["score_difficulty", "cut_difficulty"],
    "solvability": ["judge_questions"],
    "responses": ["sample_responses"],
    "reward": ["score_responses"],
    "selection": ["select_responses"],
    "dataset": ["build_dataset"],
}


def tunings(*stages):
    """Names of the active generators whose tuning is one of these."""
    return [
        name for name in GENERATORS if CONFIG["generators"][name]["tuning"] in stages
    ]


def question_models(wildcards, input):
    return " ".join(
        f"{generator}={path}" for generator, path in zip(GENERATORS, input.generators)
    )


def reward_model(wildcards, input):
    return f"--reward-model {input.reward}" if input.reward else ""


def optional(wildcards, input):
    """The summary's inputs that not every config has."""
    names = [name for name in ("tuned", "pairs", "scorer") if input.get(name)]
    return " ".join(f"--{name} {input[name]}" for name in names)


def summary_settings():
    """The filters as the funnel shows them; a filter that is off is no stage, nor is its rule."""
    active = active_filters()
    rules = {
        stage: names
        for stage, names in STAGE_RULES.items()
        if stage not in CONFIG["filters"]["order"] or stage in active
    }
    return settings(filters=filters_before(None), rules=rules)


# ---------------------------------------------------------------- verification
def tuning_files():
    """What the tuning of the generators leaves."""
    rank = PAIRS == "rank"
    made = {
        "question_tuning": ["model.json", "loss.jsonl"],
        "preference_tuning": [
            "questions.parquet",
            "judgements.parquet" if rank else "rewrites.parquet",
            *("pairs.parquet", "pairs.json", "model.json", "loss.jsonl"),
        ],
    }
    tuned = {
        "question_tuning": tunings("question", "preference"),
        "preference_tuning": tunings("preference"),
    }
    return [
        f"{stage}/{name}/{file}"
        for stage, names in tuned.items()
        for name in names
        for file in made[stage]
    ]


def filter_files(place):
    """What the filters leave of one generator and seed; `gpu*` stands for a shard's number."""
    active = active_filters()
    files = []
    if set(active) & {*TEXT_FILTERS, "duplicates"}:
        kinds = ("parquet", "signatures.parquet", "matches.jsonl")
        files += [f"filters/text/{place}/gpu*.{kind}" for kind in kinds]
    if "difficulty" in active:
        files += [
            f"filters/difficulty/{place}/{file}"
            for file in ("gpu*.parquet", "cut.json")
        ]
    if "solvability" in active:
        files.append(f"filters/solvability/{place}/gpu*.parquet")
    return [*files, f"filtered/{place}/gpu*.parquet"]


def data_files():
    """Every data file of the finished run, `gpu*` standing for the shards; the summary, which shows times, is none."""
    active = active_filters()
    files = [f"models/{name}.json" for name in model_in_use(CONFIG)]
    files += [
        f"datasets/{name}.{kind}"
        for name in datasets_in_use(CONFIG)
        for kind in ("parquet", "json")
    ]
    files += ["seeds/seeds.parquet", "seeds/counts.json", *tuning_files()]
    if "difficulty" in active:
        made = ("attempts.parquet", "fail_rates.parquet", "model.json", "metrics.json")
        files += [f"difficulty/{file}" for file in made]
    if "duplicates" in active:
        files += [
            f"filters/duplicates/seed{seed}.{kind}"
            for seed in SEEDS
            for kind in ("parquet", "kept.parquet")
        ]
    for place in [f"{name}/seed{seed}" for name in GENERATORS for seed in SEEDS]:
        files += [f"questions/{place}/gpu*.parquet", *filter_files(place)]
        files += [f"responses/{place}/gpu*.parquet"]
        files += [f"rewards/{place}/gpu*.parquet"] if REWARD["kind"] != "none" else []
        files += [f"candidates/{place}/gpu*.{kind}" for kind in ("parquet", "json")]
    made = ("train.parquet", "train.jsonl", "chat.jsonl", "README.md", "manifest.json")
    files += [f"dataset/{file}" for file in made]
    files += [
        f"students/{name}/{file}"
        for name in CONFIG["use"]["students"]
        for file in ("model.json", "loss.jsonl", "overlap.json")
    ]
    files += [
        path.removeprefix("results/")
        for file in (
            *[
                f"answers{part}.parquet"
                for part in range(CONFIG["evaluation"]["shards"])
            ],
            *("grades.parquet", "measures.json", "disagreements.jsonl"),
        )
        for path in evaluated(file)
    ]
    if measured(CONFIG):
        made = ("table1.csv", "table1.md", "table1.html", "parts.csv")
        files += [f"evaluation/{file}" for file in made]
    return [f"results/{file}" for file in [*files, "config.json"]]


def dealt_out(patterns):
    """The files that patterns with `gpu*` stand for."""
    return [
        path.replace("*", str(gpu))
        for path in patterns
        for gpu in (SHARDS if "*" in path else [0])
    ]
