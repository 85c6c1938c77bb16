"""Topics, an option: a model chooses the topic of each of some questions, and of seed problems to compare them with.

In: the questions that the filters kept, the seed problems, a model. Out: results/topics/..., a topic and the
probabilities of all topics for each that was asked about. Profile, report and browser show them.
"""

TOPICS = CONFIG["topics"]
DATA_FILES += topic_tables()


rule choose_topics:
    """The topics of a generator's questions, at most so many of them."""
    input:
        model=model_manifest(TOPICS["model"]),
        questions=lambda wildcards: [
            f"results/filtered/{wildcards.generator}/seed{seed}/gpu{gpu}.parquet"
            for seed in SEEDS
            for gpu in SHARDS
        ],
        problems=[],
    output:
        "results/topics/questions/{generator}.parquet",
    log:
        "logs/choose_topics/{generator}.log",
    benchmark:
        "benchmarks/choose_topics/{generator}.tsv"
    conda:
        "../envs/vllm.yaml"
    threads: ENGINE_THREADS
    resources:
        gpu=engine_gpus(TOPICS["model"]),
    params:
        settings=settings(
            options=topic_options(CONFIG),
            max_questions=TOPICS["max_questions"],
            engine=engine(TOPICS["model"], "choose_topics"),
            domain=DOMAIN,
        ),
        prompts=prompt("choose_topic.txt"),
        code=code("choose_topics", DOMAIN_CODE),
    shell:
        'python "$scripts"/choose_topics.py --settings {params.settings:q} --log {log:q} --model {input.model:q}'
        " --questions {input.questions:q} --problems {input.problems:q}"
        ' --progress "$progress" --out {output:q}'


use rule choose_topics as choose_seed_topics with:
    input:
        model=model_manifest(TOPICS["model"]),
        questions=[],
        problems="results/seeds/seeds.parquet",
    output:
        "results/topics/seeds.parquet",
    log:
        "logs/choose_seed_topics.log",
    benchmark:
        "benchmarks/choose_seed_topics.tsv"
