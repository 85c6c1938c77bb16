"""Filters: cheap ones before expensive ones. Each marks every row that it sees with a verdict and a reason.

In: shards of questions, benchmarks, the difficulty scorer, a judge. Out: verdicts, the matches that prove them, raw
scores and judgements, the cut of each seed, and results/filtered/..., every question with all that was found about it.
The order is the config's `filters.order`.
"""


include: "helpers/filters.smk"


ACTIVE = set(active_filters())
DATA_FILES += [f"results/filtered/{place}/gpu*.parquet" for place in PLACES]
if ACTIVE & {*TEXT_FILTERS, "duplicates"}:
    DATA_FILES += [
        f"results/filters/{folder}/{place}/gpu*.{kind}"
        for place in PLACES
        for folder, kind in (
            *(("text", "parquet"), ("signatures", "parquet")),
            ("matches", "jsonl"),
        )
    ]
if "duplicates" in ACTIVE:
    DATA_FILES += [
        f"results/filters/{folder}/seed{seed}.parquet"
        for seed in SEEDS
        for folder in ("duplicates", "kept")
    ]
if "difficulty" in ACTIVE:
    DATA_FILES += [f"{FAIL_RATES}/{place}/gpu*.parquet" for place in PLACES]
    DATA_FILES += [f"results/filters/cuts/{place}.json" for place in PLACES]
if "solvability" in ACTIVE:
    DATA_FILES += [
        f"results/filters/solvability/{place}/gpu*.parquet" for place in PLACES
    ]


rule filter_text:
    """Language, length and contamination of every question, and its signature for finding near-duplicates."""
    input:
        questions="results/questions/{generator}/seed{seed}/gpu{gpu}.parquet",
        benchmarks=[
            f"results/datasets/{name}.parquet" for name in forbidden_benchmarks()
        ],
    output:
        verdicts="results/filters/text/{generator}/seed{seed}/gpu{gpu}.parquet",
        signatures="results/filters/signatures/{generator}/seed{seed}/gpu{gpu}.parquet",
        matches="results/filters/matches/{generator}/seed{seed}/gpu{gpu}.jsonl",
    log:
        "logs/filter_text/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/filter_text/{generator}.seed{seed}.gpu{gpu}.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=text_settings(),
        code=text_code(),
    shell:
        'python "$scripts"/filter_text.py --settings {params.settings:q} --log {log:q}'
        " --questions {input.questions:q} --benchmarks {input.benchmarks:q} --out {output.verdicts:q}"
        " --signatures {output.signatures:q} --matches {output.matches:q}"


rule filter_duplicates:
    """Exact and near-duplicates within a sampling seed and against what earlier seeds kept; a later seed changes no verdict."""
    input:
        text=seed_verdicts,
        signatures=seed_signatures,
        earlier=earlier_kept,
    output:
        verdicts="results/filters/duplicates/seed{seed}.parquet",
        kept="results/filters/kept/seed{seed}.parquet",
    log:
        "logs/filter_duplicates/seed{seed}.log",
    benchmark:
        "benchmarks/filter_duplicates/seed{seed}.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(
            duplicates=duplicate_settings(), dropping=dropping_text_filters()
        ),
        code=code("filter_duplicates"),
    shell:
        'python "$scripts"/filter_duplicates.py --settings {params.settings:q} --log {log:q}'
        " --text {input.text:q} --signatures {input.signatures:q} --earlier {input.earlier:q}"
        " --out {output.verdicts:q} --kept {output.kept:q}"


rule score_difficulty:
    """Score the questions of a shard that the filters before this one left."""
    input:
        unpack(evidence_before("difficulty")),
        model="results/difficulty/model.json",
        questions="results/questions/{generator}/seed{seed}/gpu{gpu}.parquet",
    output:
        "results/filters/difficulty/{generator}/seed{seed}/gpu{gpu}.parquet",
    log:
        "logs/score_difficulty/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/score_difficulty/{generator}.seed{seed}.gpu{gpu}.tsv"
    conda:
        "../envs/vllm.yaml"
    threads: ENGINE_THREADS
    resources:
        gpu=engine_gpus(DIFFICULTY["base"]),
    params:
        settings=settings(
            max_length=DIFFICULTY["max_length"],
            filters=filters_before("difficulty"),
            engine=engine(DIFFICULTY["base"], "score_difficulty"),
        ),
        evidence=evidence_arguments,
        code=code("score_difficulty"),
    shell:
        'python "$scripts"/score_difficulty.py --settings {params.settings:q} --log {log:q}'
        " --model {input.model:q} --questions {input.questions:q} {params.evidence}"
        ' --progress "$progress" --out {output:q}'


rule cut_difficulty:
    """The score below which a question of this generator and sampling seed is too easy: a number or a quantile."""
    input:
        scores=seed_scores,
    output:
        "results/filters/cuts/{generator}/seed{seed}.json",
    log:
        "logs/cut_difficulty/{generator}.seed{seed}.log",
    benchmark:
        "benchmarks/cut_difficulty/{generator}.seed{seed}.tsv"
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(
            **pick(
                CONFIG["filters"]["difficulty"],
                "generators",
                "below",
                "below_quantile",
            )
        ),
        code=code("cut_difficulty"),
    shell:
        'python "$scripts"/cut_difficulty.py --settings {params.settings:q} --log {log:q}'
        " --scores {input.scores:q} --generator {wildcards.generator:q} --out {output:q}"


rule judge_questions:
    """A judge's raw judgement of each question that the filters before this one left."""
    input:
        unpack(evidence_before("solvability")),
        model=model_manifest(CONFIG["filters"]["solvability"]["model"]),
        questions="results/questions/{generator}/seed{seed}/gpu{gpu}.parquet",
    output:
        "results/filters/solvability/{generator}/seed{seed}/gpu{gpu}.parquet",
    log:
        "logs/judge_questions/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/judge_questions/{generator}.seed{seed}.gpu{gpu}.tsv"
    conda:
        "../envs/vllm.yaml"
    threads: ENGINE_THREADS
    resources:
        gpu=engine_gpus(CONFIG["filters"]["solvability"]["model"]),
    params:
        settings=judge_settings(filters=filters_before("solvability")),
        prompts=judge_prompts(),
        evidence=evidence_arguments,
        code=code("judge_questions", DOMAIN_CODE),
    shell:
        'python "$scripts"/judge_questions.py --settings {params.settings:q} --log {log:q}'
        " --model {input.model:q} --questions {input.questions:q} {params.evidence}"
        ' --progress "$progress" --out {output:q}'


rule apply_filters:
    """Apply thresholds and order: every question with every verdict. A new threshold needs no new score."""
    input:
        unpack(evidence_before(None)),
        questions="results/questions/{generator}/seed{seed}/gpu{gpu}.parquet",
    output:
        "results/filtered/{generator}/seed{seed}/gpu{gpu}.parquet",
    log:
        "logs/apply_filters/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/apply_filters/{generator}.seed{seed}.gpu{gpu}.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(filters=filters_before(None)),
        evidence=evidence_arguments,
        code=code("apply_filters"),
    shell:
        'python "$scripts"/apply_filters.py --settings {params.settings:q} --log {log:q}'
        " --questions {input.questions:q} {params.evidence} --out {output:q}"
