"""Question preference optimisation (QPO): the generator learns to prefer the better one of two questions.

In: a generator after QFT. Out: the pairs, the outcome of every question, the tuned model's manifest, its loss curve.
Pairs come from a rewriter (`pairs: rewrite`, the paper) or from a judge's ranking (`pairs: rank`).
"""


include: "helpers/preference_tuning.smk"


DATA_FILES += [
    f"results/preference_tuning/{name}/{file}"
    for name in tunings("preference")
    for file in (
        *("questions.parquet", f"{PAIR_TEXTS[PAIRS]}.parquet", "pairs.parquet"),
        *("pairs.json", "model.json", "loss.jsonl"),
    )
]


rule sample_pair_questions:
    """Sample questions from the model after QFT, to make pairs of."""
    input:
        model="results/question_tuning/{generator}/model.json",
    output:
        "results/preference_tuning/{generator}/questions.parquet",
    log:
        "logs/sample_pair_questions/{generator}.log",
    benchmark:
        "benchmarks/sample_pair_questions/{generator}.tsv"
    priority: LONGEST_CHAIN
    conda:
        "../envs/vllm.yaml"
    threads: ENGINE_THREADS
    resources:
        gpu=generator_gpus,
    params:
        settings=pair_questions_settings,
        # One param: Snakemake compares params as a set of values and would not notice two swapped numbers.
        rows=pair_question_rows(),
        code=code("sample_questions"),
    shell:
        'python "$scripts"/sample_questions.py --settings {params.settings:q} --log {log:q}'
        " --model {input.model:q} --generator {wildcards.generator:q} {params.rows}"
        ' --progress "$progress" --out {output:q}'


rule judge_pair_questions:
    """A judge's probability that each question is a solvable mathematics problem."""
    input:
        model=model_manifest(CONFIG["preference_tuning"]["rank"]["model"]),
        questions="results/preference_tuning/{generator}/questions.parquet",
    output:
        "results/preference_tuning/{generator}/judgements.parquet",
    log:
        "logs/judge_pair_questions/{generator}.log",
    benchmark:
        "benchmarks/judge_pair_questions/{generator}.tsv"
    priority: LONGEST_CHAIN
    conda:
        "../envs/vllm.yaml"
    threads: ENGINE_THREADS
    resources:
        gpu=engine_gpus(CONFIG["preference_tuning"]["rank"]["model"]),
    params:
        settings=settings(
            judge={"verdict": "choice", "reasoning_tokens": 0},
            engine=engine(
                CONFIG["preference_tuning"]["rank"]["model"], "judge_questions"
            ),
            domain=DOMAIN,
        ),
        prompts=prompt("judge_solvability_direct.txt", "judge_examples.jsonl"),
        code=code("judge_questions", DOMAIN_CODE),
    shell:
        'python "$scripts"/judge_questions.py --settings {params.settings:q} --log {log:q}'
        ' --model {input.model:q} --questions {input.questions:q} --progress "$progress" --out {output:q}'


rule rewrite_questions:
    """Rewrite each question to be solvable, or to be harder: on a GPU, or by a server that the login node can reach."""
    input:
        questions="results/preference_tuning/{generator}/questions.parquet",
        model=rewriter_manifest,
    output:
        "results/preference_tuning/{generator}/rewrites.parquet",
    log:
        "logs/rewrite_questions/{generator}.log",
    benchmark:
        "benchmarks/rewrite_questions/{generator}.tsv"
    priority: LONGEST_CHAIN
    localrule: REWRITE["backend"] == "server"
    conda:
        "../envs/vllm.yaml"
    threads: ENGINE_THREADS if REWRITE["backend"] == "engine" else 1
    resources:
        gpu=engine_gpus(REWRITE["model"]) if REWRITE["backend"] == "engine" else 0,
    params:
        settings=rewrite_settings(),
        model=rewriter_argument,
        prompts=prompt("rewrite_solvability.txt", "rewrite_difficulty.txt"),
        code=code("rewrite_questions", DOMAIN_CODE),
    shell:
        'python "$scripts"/rewrite_questions.py --settings {params.settings:q} --log {log:q}'
        ' --questions {input.questions:q} {params.model} --progress "$progress" --out {output:q}'


rule make_pairs:
    """Pairs of a chosen and a rejected question, and the outcome of every other question."""
    input:
        unpack(pair_sources),
    output:
        pairs="results/preference_tuning/{generator}/pairs.parquet",
        summary="results/preference_tuning/{generator}/pairs.json",
    log:
        "logs/make_pairs/{generator}.log",
    benchmark:
        "benchmarks/make_pairs/{generator}.tsv"
    priority: LONGEST_CHAIN
    conda:
        "../envs/data.yaml"
    params:
        settings=pair_settings(),
        method=PAIRS,
        sources=pair_arguments,
        code=code("make_pairs"),
    shell:
        'python "$scripts"/make_pairs.py --settings {params.settings:q} --log {log:q} --method {params.method}'
        " {params.sources} --out {output.pairs:q} --summary {output.summary:q}"


rule tune_preferences:
    """DPO on the pairs."""
    input:
        pairs="results/preference_tuning/{generator}/pairs.parquet",
        model="results/question_tuning/{generator}/model.json",
    output:
        model="results/preference_tuning/{generator}/model.json",
        history="results/preference_tuning/{generator}/loss.jsonl",
    log:
        "logs/tune_preferences/{generator}.log",
    benchmark:
        "benchmarks/tune_preferences/{generator}.tsv"
    priority: LONGEST_CHAIN
    conda:
        "../envs/train.yaml"
    threads: CONFIG["training"]["threads"]
    resources:
        **training_nodes(),
        gpu=training_gpus,
    params:
        settings=settings(
            preference_tuning=pick(CONFIG["preference_tuning"], "dpo", "seed"),
            **training(),
        ),
        code=code("tune_preferences"),
    shell:
        'python "$scripts"/tune_preferences.py --settings {params.settings:q} --log {log:q}'
        ' --pairs {input.pairs:q} --model {input.model:q} --weights "$models"/preference_tuning'
        " --name {wildcards.generator:q} --out {output.model:q} --history {output.history:q}"
