"""Difficulty: a scorer learns how often a solver fails, and predicts it for every question.

In: seed problems with answers, a solver, the scorer's base model; questions. Out: the solver's fail rates, the scorer
with its held-out error, a raw score for each question that the filters before this one left, the cut of each seed.
"""


rule measure_fail_rates:
    """Let the solver try the seed problems several times, and grade it by answer."""
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
        ),
        prompts=prompt("respond.txt"),
        code=code("measure_fail_rates"),
    shell:
        'python "$scripts"/measure_fail_rates.py --settings {params.settings:q} --log {log:q}'
        ' --model {input.model:q} --seeds {input.seeds:q} --progress "$progress"'
        " --attempts {output.attempts:q} --out {output.rates:q}"


rule train_scorer:
    """Train the regression head on the fail rates, and measure it on held-out problems."""
    input:
        rates="results/difficulty/fail_rates.parquet",
        model=model_manifest(DIFFICULTY["base"]),
    output:
        model="results/difficulty/model.json",
        metrics="results/difficulty/metrics.json",
    log:
        "logs/train_scorer.log",
    benchmark:
        "benchmarks/train_scorer.tsv"
    conda:
        "../envs/train.yaml"
    threads: CONFIG["training"]["threads"]
    resources:
        **training_nodes(),
        gpu=training_gpus(),
    params:
        settings=scorer_settings(),
        code=code("train_scorer"),
    shell:
        'python "$scripts"/train_scorer.py --settings {params.settings:q} --log {log:q}'
        ' --fail-rates {input.rates:q} --model {input.model:q} --weights "$models"/difficulty'
        " --out {output.model:q} --metrics {output.metrics:q}"


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
    """The score below which a question of this generator and seed is too easy, a number or a quantile."""
    input:
        scores=seed_scores,
    output:
        "results/filters/difficulty/{generator}/seed{seed}/cut.json",
    log:
        "logs/cut_difficulty/{generator}.seed{seed}.log",
    benchmark:
        "benchmarks/cut_difficulty/{generator}.seed{seed}.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=cut_settings(),
        code=code("cut_difficulty"),
    shell:
        'python "$scripts"/cut_difficulty.py --settings {params.settings:q} --log {log:q}'
        " --scores {input.scores:q} --generator {wildcards.generator:q} --out {output:q}"
