"""Questions: sampled from the bare prefix, or one with a system prompt before it, in shards.

In: a generator's model. Out: results/questions/{generator}/seed{seed}/gpu{gpu}.parquet, one GPU job's work each: a fixed
block of indices. To make a dataset larger, add a sampling seed.
"""


include: "helpers/questions.smk"


QUESTIONS_PER_SHARD = CONFIG["questions"]["questions_per_shard"]
DATA_FILES += [f"results/questions/{place}/gpu*.parquet" for place in PLACES]


rule sample_questions:
    """Sample one shard of questions."""
    input:
        model=lambda wildcards: asking_manifest(wildcards.generator),
    output:
        "results/questions/{generator}/seed{seed}/gpu{gpu}.parquet",
    log:
        "logs/sample_questions/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/sample_questions/{generator}.seed{seed}.gpu{gpu}.tsv"
    priority: LONGEST_CHAIN
    conda:
        "../envs/vllm.yaml"
    threads: ENGINE_THREADS
    resources:
        gpu=generator_gpus,
    params:
        settings=lambda wildcards: settings(
            purpose="questions",
            sampling=CONFIG["questions"]["sampling"],
            engine=engine(base_model(wildcards), "sample_questions"),
            **system_prompt(wildcards),
        ),
        start=lambda wildcards: int(wildcards.gpu) * QUESTIONS_PER_SHARD,
        size=QUESTIONS_PER_SHARD,
        code=code("sample_questions"),
    shell:
        'python "$scripts"/sample_questions.py --settings {params.settings:q} --log {log:q}'
        " --model {input.model:q} --generator {wildcards.generator:q} --seed {wildcards.seed}"
        ' --start {params.start} --count {params.size} --progress "$progress" --out {output:q}'
