"""Difficulty scorer: it learns how often a solver fails, to predict that for every question (filters.smk).

In: seed problems with answers, a solver, the scorer's base model. Out: the solver's fail rates, the scorer with its
held-out error.
"""

# What the scorer's training does not depend on, except through the fail rates.
SOLVING = ("solver", "problems", "samples", "sampling", "base")
DIFFICULTY = CONFIG["difficulty"]
if difficulty_by(CONFIG) == "scorer":
    DATA_FILES += [
        f"results/difficulty/{file}"
        for file in (
            "attempts.parquet",
            "fail_rates.parquet",
            "model.json",
            "metrics.json",
            "loss.jsonl",
        )
    ]


rule measure_fail_rates:
    """Let the solver try each seed problem several times, and grade its answers."""
    input:
        model=model_manifest(DIFFICULTY["solver"]),
        seeds="results/seeds/seeds.parquet",
    output:
        attempts="results/difficulty/attempts.parquet",
        rates="results/difficulty/fail_rates.parquet",
    log:
        "logs/measure_fail_rates.log",
    benchmark:
        "benchmarks/measure_fail_rates.tsv"
    conda:
        "../envs/vllm.yaml"
    threads: ENGINE_THREADS
    resources:
        gpu=engine_gpus(DIFFICULTY["solver"]),
    params:
        settings=settings(
            difficulty=pick(DIFFICULTY, "problems", "samples", "sampling"),
            grading=CONFIG["grading"],
            engine=engine(DIFFICULTY["solver"], "measure_fail_rates"),
            domain=DOMAIN,
        ),
        prompts=prompt("respond.txt"),
        code=code("measure_fail_rates", DOMAIN_CODE),
    shell:
        'python "$scripts"/measure_fail_rates.py --settings {params.settings:q} --log {log:q}'
        ' --model {input.model:q} --seeds {input.seeds:q} --progress "$progress"'
        " --out {output.attempts:q} --rates {output.rates:q}"


rule train_scorer:
    """Train the regression head on the fail rates, and measure it on held-out problems."""
    input:
        rates="results/difficulty/fail_rates.parquet",
        model=model_manifest(DIFFICULTY["base"]),
    output:
        model="results/difficulty/model.json",
        metrics="results/difficulty/metrics.json",
        history="results/difficulty/loss.jsonl",
    log:
        "logs/train_scorer.log",
    benchmark:
        "benchmarks/train_scorer.tsv"
    conda:
        "../envs/train.yaml"
    threads: CONFIG["training"]["threads"]
    resources:
        **training_nodes(),
        gpu=training_gpus,
    params:
        settings=settings(
            difficulty={k: v for k, v in DIFFICULTY.items() if k not in SOLVING},
            **training(),
        ),
        code=code("train_scorer"),
    shell:
        'python "$scripts"/train_scorer.py --settings {params.settings:q} --log {log:q}'
        ' --fail-rates {input.rates:q} --model {input.model:q} --weights "$models"/difficulty'
        " --name difficulty --out {output.model:q} --metrics {output.metrics:q}"
        " --history {output.history:q}"
