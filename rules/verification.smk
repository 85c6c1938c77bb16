"""Verified answers, an option: solvers answer the kept questions, and the answer that counts is that of most samples.

In: the questions that the filters kept (or, with filters.difficulty.by: pass_rate, that the filters before that one
kept), the models of verification.solvers. Out: results/solutions/{solver}/..., all
attempts; results/verified/..., for each question the answer, the share of samples that have it, each solver's pass rate.
"""


include: "helpers/verification.smk"


DATA_FILES += [
    f"results/solutions/{solver}/{place}/gpu*.parquet"
    for solver in SOLVERS
    for place in PLACES
]
DATA_FILES += [f"results/verified/{place}/gpu*.parquet" for place in PLACES if SOLVERS]


use rule apply_filters as filter_for_solvers with:
    input:
        unpack(evidence_before("difficulty")),
        questions="results/questions/{generator}/seed{seed}/gpu{gpu}.parquet",
    output:
        "results/filters/unsolved/{generator}/seed{seed}/gpu{gpu}.parquet",
    log:
        "logs/filter_for_solvers/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/filter_for_solvers/{generator}.seed{seed}.gpu{gpu}.tsv"
    params:
        settings=settings(filters=filters_before("difficulty")),


# Where model, prompt and sampling are those of the responses, these are found as the first samples.
use rule sample_responses as sample_solutions with:
    input:
        model=lambda wildcards: model_manifest(SOLVERS[wildcards.solver]["model"]),
        questions=asked_questions,
    output:
        "results/solutions/{solver}/{generator}/seed{seed}/gpu{gpu}.parquet",
    log:
        "logs/sample_solutions/{solver}.{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/sample_solutions/{solver}.{generator}.seed{seed}.gpu{gpu}.tsv"
    resources:
        gpu=lambda wildcards: engine_gpus(SOLVERS[wildcards.solver]["model"])(wildcards),
    params:
        settings=lambda wildcards: settings(
            responses=pick(SOLVERS[wildcards.solver], "samples", "sampling")
            | if_thinking(SOLVERS[wildcards.solver]),
            engine=engine(SOLVERS[wildcards.solver]["model"], "sample_responses"),
            domain=DOMAIN,
        ),


rule verify_answers:
    """The answer on which most samples of all solvers agree, and each solver's pass rate."""
    input:
        questions=asked_questions,
        solutions=[
            f"results/solutions/{solver}/{{generator}}/seed{{seed}}/gpu{{gpu}}.parquet"
            for solver in SOLVERS
        ],
    output:
        "results/verified/{generator}/seed{seed}/gpu{gpu}.parquet",
    log:
        "logs/verify_answers/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/verify_answers/{generator}.seed{seed}.gpu{gpu}.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(
            solvers=list(SOLVERS), domain=DOMAIN, grading=CONFIG["grading"]
        ),
        code=code("verify_answers", DOMAIN_CODE),
    shell:
        'python "$scripts"/verify_answers.py --settings {params.settings:q} --log {log:q}'
        ' --questions {input.questions:q} --solutions {input.solutions:q} --progress "$progress" --out {output:q}'


rule score_pass_rates:
    """The fail rate of each question by the solvers' samples, for the filter of difficulty."""
    input:
        "results/verified/{generator}/seed{seed}/gpu{gpu}.parquet",
    output:
        "results/filters/pass_rates/{generator}/seed{seed}/gpu{gpu}.parquet",
    log:
        "logs/score_pass_rates/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/score_pass_rates/{generator}.seed{seed}.gpu{gpu}.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(),
        code=code("score_pass_rates"),
    shell:
        'python "$scripts"/score_pass_rates.py --settings {params.settings:q} --log {log:q}'
        " --verified {input:q} --out {output:q}"
