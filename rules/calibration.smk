"""Calibration: what the run's filters, judge, reward and selection do with seed problems whose answers are known.

In: seed problems, the solver's attempts at them, the judge, the verifier or reward model. Out: results/calibration/, with
tables of what is dropped and of what is right, and a page. Not part of `all`: `snakemake calibrate`.
"""


include: "helpers/calibration.smk"


rule make_calibration:
    """Seed problems as texts to be filtered, and the solver's attempts at them as responses."""
    input:
        seeds="results/seeds/seeds.parquet",
        attempts="results/difficulty/attempts.parquet",
    output:
        problems="results/calibration/problems.parquet",
        texts="results/calibration/texts.parquet",
        questions="results/calibration/questions.parquet",
        responses="results/calibration/responses.parquet",
    log:
        "logs/make_calibration.log",
    benchmark:
        "benchmarks/make_calibration.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(**CONFIG["calibration"]),
        code=code("make_calibration", DOMAIN_CODE),
    shell:
        'python "$scripts"/make_calibration.py --settings {params.settings:q} --log {log:q}'
        " --seeds {input.seeds:q} --attempts {input.attempts:q} --problems {output.problems:q}"
        " --texts {output.texts:q} --questions {output.questions:q} --responses {output.responses:q}"


use rule filter_text as filter_calibration with:
    input:
        questions="results/calibration/texts.parquet",
        benchmarks=[
            f"results/datasets/{name}.parquet" for name in forbidden_benchmarks()
        ],
    output:
        verdicts="results/calibration/verdicts.parquet",
        signatures="results/calibration/signatures.parquet",
        matches="results/calibration/matches.jsonl",
    log:
        "logs/filter_calibration.log",
    benchmark:
        "benchmarks/filter_calibration.tsv"


use rule judge_questions as judge_calibration with:
    input:
        model=model_manifest(CONFIG["filters"]["solvability"]["model"]),
        questions="results/calibration/texts.parquet",
    output:
        "results/calibration/judgements.parquet",
    log:
        "logs/judge_calibration.log",
    benchmark:
        "benchmarks/judge_calibration.tsv"
    params:
        # All texts are judged, whatever other filters would drop.
        settings=judge_settings(filters=[]),


use rule score_responses as score_calibration with:
    input:
        model=reward_manifest(),
        questions="results/calibration/questions.parquet",
        attempts="results/calibration/responses.parquet",
    output:
        "results/calibration/rewards.parquet",
    log:
        "logs/score_calibration.log",
    benchmark:
        "benchmarks/score_calibration.tsv"


rule calibrate:
    """What each filter drops, what the judge keeps by threshold, and what is right by each rule of selection."""
    input:
        unpack(calibration_inputs),
        problems="results/calibration/problems.parquet",
        verdicts="results/calibration/verdicts.parquet",
        responses="results/calibration/responses.parquet",
    output:
        multiext(
            "results/calibration/",
            "filters.csv",
            "judge.csv",
            "selection.csv",
            "calibration.txt",
        ),
    log:
        "logs/calibrate.log",
    benchmark:
        "benchmarks/calibrate.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=calibration_settings(),
        optional=calibration_arguments,
        folder=lambda wildcards, output: Path(output[0]).parent,
        code=code("calibrate", DOMAIN_CODE),
    shell:
        'python "$scripts"/calibrate.py --settings {params.settings:q} --log {log:q}'
        " --problems {input.problems:q} --verdicts {input.verdicts:q} --responses {input.responses:q}"
        ' {params.optional} --progress "$progress" --out {params.folder:q}'
