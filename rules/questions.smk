"""Questions: sampled from the bare prefix, in shards.

In: a generator's model. Out: results/questions/{generator}/seed{seed}/gpu{gpu}.parquet, one GPU job's work each: a fixed
block of indices. To grow a dataset, add a seed.
"""


rule sample_questions:
    """Sample one shard of questions."""
    input:
        model=generator_manifest,
    output:
        "results/questions/{generator}/seed{seed}/gpu{gpu}.parquet",
    log:
        "logs/sample_questions/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/sample_questions/{generator}.seed{seed}.gpu{gpu}.tsv"
    conda:
        "../envs/vllm.yaml"
    threads: ENGINE_THREADS
    resources:
        gpu=generator_gpus,
    params:
        settings=questions_settings,
        start=first_index,
        size=CONFIG["questions"]["questions_per_shard"],
        code=code("sample_questions"),
    shell:
        'python "$scripts"/sample_questions.py --settings {params.settings:q} --log {log:q}'
        " --model {input.model:q} --generator {wildcards.generator:q} --seed {wildcards.seed}"
        ' --start {params.start} --count {params.size} --progress "$progress" --out {output:q}'
