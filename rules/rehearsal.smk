"""Rehearsal: what `make rehearse` makes beside a run of a few rows, with 16 seed problems whose answers are known.

In: seed problems, the models that answer, the verifier or reward model. Out: their answers and what is right of them;
the rewards of right and of wrong responses.
"""


include: "helpers/rehearsal.smk"


rule make_known_problems:
    """Seed problems with answers; as questions, with a right and a wrong response to each."""
    input:
        "results/seeds/seeds.parquet",
    output:
        problems="results/rehearsal/problems.parquet",
        questions="results/rehearsal/questions.parquet",
        attempts="results/rehearsal/attempts.parquet",
    log:
        "logs/make_known_problems.log",
    benchmark:
        "benchmarks/make_known_problems.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(problems=ROWS),
        code=code("make_known_problems"),
    shell:
        'python "$scripts"/make_known_problems.py --settings {params.settings:q} --log {log:q} --seeds {input:q}'
        " --problems {output.problems:q} --questions {output.questions:q} --attempts {output.attempts:q}"


use rule sample_answers as answer_known_problems with:
    input:
        model=measured_manifest,
        problems="results/rehearsal/problems.parquet",
    output:
        "results/rehearsal/{measured}/answers{part}.parquet",
    log:
        "logs/answer_known_problems/{measured}.{part}.log",
    benchmark:
        "benchmarks/answer_known_problems/{measured}.{part}.tsv"


use rule grade_answers as grade_known_problems with:
    input:
        problems="results/rehearsal/problems.parquet",
        answers=expand(
            "results/rehearsal/{{measured}}/answers{part}.parquet",
            part=range(CONFIG["evaluation"]["shards"]),
        ),
    output:
        grades="results/rehearsal/{measured}/grades.parquet",
        measures="results/rehearsal/{measured}/measures.json",
        disagreements="results/rehearsal/{measured}/disagreements.jsonl",
    log:
        "logs/grade_known_problems/{measured}.log",
    benchmark:
        "benchmarks/grade_known_problems/{measured}.tsv"


use rule score_responses as score_known_problems with:
    input:
        model=reward_manifest(),
        questions="results/rehearsal/questions.parquet",
        attempts="results/rehearsal/attempts.parquet",
    output:
        "results/rehearsal/rewards.parquet",
    log:
        "logs/score_known_problems.log",
    benchmark:
        "benchmarks/score_known_problems.tsv"


rule rehearsed:
    input:
        rules.all.input,
        known_results(),
    localrule: True
