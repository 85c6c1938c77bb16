"""Students: supervised fine-tuning of models on our dataset, on a slice of it, or on another one.

In: the dataset or a staged one, a base model. Out: each student's manifest and its loss curve, and how many questions of
the benchmarks are in its training set.
"""


include: "helpers/students.smk"


DATA_FILES += [
    f"results/students/{name}/{file}"
    for name in CONFIG["use"]["students"]
    for file in ("tokens.parquet", "model.json", "loss.jsonl", "overlap.json")
]


rule tokenize_student:
    """Token ids of a student's training set, without a GPU."""
    input:
        unpack(student_data),
        base=student_base,
    output:
        "results/students/{student}/tokens.parquet",
    log:
        "logs/tokenize_student/{student}.log",
    benchmark:
        "benchmarks/tokenize_student/{student}.tsv"
    conda:
        "../envs/train.yaml"
    params:
        settings=student_asking,
        data=student_arguments,
        code=code("tokenize_student"),
    shell:
        'python "$scripts"/tokenize_student.py --settings {params.settings:q} --log {log:q}'
        " {params.data} --model {input.base:q} --out {output:q}"


rule tune_student:
    """Fine-tune a model on questions with their responses."""
    input:
        tokens="results/students/{student}/tokens.parquet",
        model=student_base,
    output:
        model="results/students/{student}/model.json",
        history="results/students/{student}/loss.jsonl",
    log:
        "logs/tune_student/{student}.log",
    benchmark:
        "benchmarks/tune_student/{student}.tsv"
    conda:
        "../envs/train.yaml"
    threads: CONFIG["training"]["threads"]
    resources:
        **training_nodes(),
        gpu=training_gpus,
    params:
        settings=student_tuning,
        code=code("tune_student"),
    shell:
        'python "$scripts"/tune_student.py --settings {params.settings:q} --log {log:q}'
        ' --tokens {input.tokens:q} --model {input.model:q} --weights "$models"/students'
        " --name {wildcards.student:q} --out {output.model:q} --history {output.history:q}"


rule count_overlap:
    """Count the questions of each benchmark in a student's training set."""
    input:
        unpack(student_data),
        benchmarks=[
            f"results/datasets/{name}.parquet" for name in CONFIG["use"]["benchmarks"]
        ],
    output:
        "results/students/{student}/overlap.json",
    log:
        "logs/count_overlap/{student}.log",
    benchmark:
        "benchmarks/count_overlap/{student}.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=overlap_settings,
        data=student_arguments,
        code=code("count_overlap"),
    shell:
        'python "$scripts"/count_overlap.py --settings {params.settings:q} --log {log:q}'
        " {params.data} --benchmarks {input.benchmarks:q} --out {output:q}"
