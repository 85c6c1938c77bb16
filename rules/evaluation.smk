"""Evaluation: students and other models answer the benchmarks, graders grade, and a table compares with the paper's.

In: models, benchmarks. Out: all answers, all grades, measures, where graders disagree, results/evaluation/table1.*.
"""


include: "helpers/evaluation.smk"


for kind in ("grades.parquet", "measures.json", "disagreements.jsonl"):
    DATA_FILES += evaluated(kind)
for part in range(CONFIG["evaluation"]["shards"]):
    DATA_FILES += evaluated(f"answers{part}.parquet")
if measured(CONFIG):
    DATA_FILES += [
        f"results/evaluation/{file}"
        for file in ("table1.csv", "table1.md", "table1.html", "parts.csv")
    ]


rule sample_answers:
    """A model's answers to a shard of a benchmark."""
    input:
        model=measured_manifest,
        problems="results/datasets/{dataset}.parquet",
    output:
        "results/evaluation/{measured}/{dataset}/answers{part}.parquet",
    log:
        "logs/sample_answers/{measured}.{dataset}.{part}.log",
    benchmark:
        "benchmarks/sample_answers/{measured}.{dataset}.{part}.tsv"
    conda:
        "../envs/vllm.yaml"
    threads: ENGINE_THREADS
    resources:
        gpu=measured_gpus,
    params:
        settings=answer_settings,
        shards=CONFIG["evaluation"]["shards"],
        code=code("sample_answers"),
    shell:
        'python "$scripts"/sample_answers.py --settings {params.settings:q} --log {log:q}'
        " --model {input.model:q} --problems {input.problems:q} --shard {wildcards.part} --of {params.shards}"
        ' --progress "$progress" --out {output:q}'


rule grade_answers:
    """Grade a model's answers to a benchmark by every grader."""
    input:
        problems="results/datasets/{dataset}.parquet",
        answers=expand(
            "results/evaluation/{{measured}}/{{dataset}}/answers{part}.parquet",
            part=range(CONFIG["evaluation"]["shards"]),
        ),
    output:
        grades="results/evaluation/{measured}/{dataset}/grades.parquet",
        measures="results/evaluation/{measured}/{dataset}/measures.json",
        disagreements="results/evaluation/{measured}/{dataset}/disagreements.jsonl",
    log:
        "logs/grade_answers/{measured}.{dataset}.log",
    benchmark:
        "benchmarks/grade_answers/{measured}.{dataset}.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(
            grading=CONFIG["grading"], k=CONFIG["evaluation"]["k"], domain=DOMAIN
        ),
        code=code("grade_answers", DOMAIN_CODE),
    shell:
        'python "$scripts"/grade_answers.py --settings {params.settings:q} --log {log:q}'
        " --name {wildcards.measured:q} --problems {input.problems:q} --answers {input.answers:q}"
        ' --progress "$progress" --grades {output.grades:q} --measures {output.measures:q}'
        " --disagreements {output.disagreements:q}"


rule build_table:
    """The measured rows beside the paper's Table 1, and each part of the benchmarks."""
    input:
        grades=evaluated("grades.parquet"),
        measures=evaluated("measures.json"),
        staged=[f"results/datasets/{name}.json" for name in CONFIG["use"]["benchmarks"]],
        overlaps=[
            f"results/students/{name}/overlap.json"
            for name in CONFIG["use"]["students"]
        ],
    output:
        csv="results/evaluation/table1.csv",
        markdown="results/evaluation/table1.md",
        html="results/evaluation/table1.html",
        parts="results/evaluation/parts.csv",
    log:
        "logs/build_table.log",
    benchmark:
        "benchmarks/build_table.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=table_settings(),
        published=[resource(f"{name}.csv") for name in ("table1", "later_work")],
        templates=[resource(f"table1.{kind}.jinja") for kind in ("md", "html")],
        code=code("build_table"),
    shell:
        'python "$scripts"/build_table.py --settings {params.settings:q} --log {log:q}'
        " --grades {input.grades:q} --measures {input.measures:q}"
        " --staged {input.staged:q} --overlaps {input.overlaps:q}"
        " --csv {output.csv:q} --parts {output.parts:q} --markdown {output.markdown:q} --html {output.html:q}"
