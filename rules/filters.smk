"""Filters: cheap before dear, each marking every row that it sees with verdict and reason.

In: shards of questions, benchmarks, judge. Out: verdicts, matches as evidence, the judge's raw judgements, and
results/filtered/..., every question with everything that was found about it. The order is the config's `filters.order`.
"""


rule filter_text:
    """Language, length and contamination of every question, and its signature for the search of near-duplicates."""
    input:
        questions="results/questions/{generator}/seed{seed}/gpu{gpu}.parquet",
        benchmarks=[
            f"results/datasets/{name}.parquet" for name in forbidden_benchmarks()
        ],
    output:
        verdicts="results/filters/text/{generator}/seed{seed}/gpu{gpu}.parquet",
        signatures="results/filters/text/{generator}/seed{seed}/gpu{gpu}.signatures.parquet",
        matches="results/filters/text/{generator}/seed{seed}/gpu{gpu}.matches.jsonl",
    log:
        "logs/filter_text/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/filter_text/{generator}.seed{seed}.gpu{gpu}.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=text_settings(),
        code=code("filter_text"),
    shell:
        'python "$scripts"/filter_text.py --settings {params.settings:q} --log {log:q}'
        " --questions {input.questions:q} --benchmarks {input.benchmarks:q} --out {output.verdicts:q}"
        " --signatures {output.signatures:q} --matches {output.matches:q}"


rule filter_duplicates:
    """Exact and near-duplicates within a seed and against what earlier seeds kept; a later seed changes no verdict."""
    input:
        text=seed_verdicts,
        signatures=seed_signatures,
        earlier=earlier_kept,
    output:
        verdicts="results/filters/duplicates/seed{seed}.parquet",
        kept="results/filters/duplicates/seed{seed}.kept.parquet",
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
        settings=settings(
            judge=pick(
                CONFIG["filters"]["solvability"], "verdict", "reasoning_tokens"
            ),
            filters=filters_before("solvability"),
            engine=engine(
                CONFIG["filters"]["solvability"]["model"], "judge_questions"
            ),
        ),
        prompts=judge_prompts(),
        evidence=evidence_arguments,
        code=code("judge_questions"),
    shell:
        'python "$scripts"/judge_questions.py --settings {params.settings:q} --log {log:q}'
        " --model {input.model:q} --questions {input.questions:q} {params.evidence}"
        ' --progress "$progress" --out {output:q}'


rule apply_filters:
    """Thresholds and order applied, late: every question with every verdict."""
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
