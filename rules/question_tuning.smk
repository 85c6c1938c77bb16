"""Question fine-tuning (QFT): a problem solver learns to generate questions.

In: the seed problems' questions, a generator's base model. Out: the tuned model's manifest and its loss curve.
"""

DATA_FILES += [
    f"results/question_tuning/{name}/{file}"
    for name in tunings("question", "preference")
    for file in ("model.json", "loss.jsonl")
]


rule tune_questions:
    """Fine-tune a generator's model on questions alone."""
    input:
        seeds="results/seeds/seeds.parquet",
        model=base_manifest,
    output:
        model="results/question_tuning/{generator}/model.json",
        history="results/question_tuning/{generator}/loss.jsonl",
    log:
        "logs/tune_questions/{generator}.log",
    benchmark:
        "benchmarks/tune_questions/{generator}.tsv"
    priority: LONGEST_CHAIN
    conda:
        "../envs/train.yaml"
    threads: CONFIG["training"]["threads"]
    resources:
        **training_nodes(),
        gpu=training_gpus,
    params:
        settings=settings(question_tuning=CONFIG["question_tuning"], **training()),
        code=code("tune_questions"),
    shell:
        'python "$scripts"/tune_questions.py --settings {params.settings:q} --log {log:q}'
        ' --seeds {input.seeds:q} --model {input.model:q} --weights "$models"/question_tuning'
        " --name {wildcards.generator:q} --out {output.model:q} --history {output.history:q}"
