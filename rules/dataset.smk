"""Dataset: the selected rows, with card, manifest and licences.

In: every shard's filtered questions and candidates, the manifests of the models that took part. Out: what is known of
each answer, Parquet, JSONL, a chat variant, one Parquet file for each kind of trainer, a Hugging Face dataset card, a
manifest.
"""


include: "helpers/dataset.smk"


# The counts first.
FORMATS = [
    f"results/dataset/{file}"
    for file in (
        *("formats.json", "chat.parquet", "prompt_completion.parquet"),
        *("preference.parquet", "rl.parquet", "verl_reward.py"),
    )
]
DATA_FILES += FORMATS
DATA_FILES += [f"results/checks/{place}/gpu*.parquet" for place in PLACES]
DATA_FILES += [
    f"results/dataset/{file}"
    for file in (
        "train.parquet",
        "train.jsonl",
        "chat.jsonl",
        "README.md",
        "manifest.json",
        "funnel.svg",
        "pipeline.svg",
    )
]


rule write_config:
    """The merged, checked config with defaults, as manifest and card quote it: all settings that shape a result."""
    output:
        "results/config.json",
    log:
        "logs/write_config.log",
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        config=param(shaping(CONFIG)),
    shell:
        "printf '%s\\n' {params.config:q} > {output:q} 2> {log:q}"


rule check_answers:
    """Which responses of a shard agree, and whether a reward can check the selected answer."""
    input:
        "results/candidates/{generator}/seed{seed}/gpu{gpu}.parquet",
    output:
        "results/checks/{generator}/seed{seed}/gpu{gpu}.parquet",
    log:
        "logs/check_answers/{generator}.seed{seed}.gpu{gpu}.log",
    benchmark:
        "benchmarks/check_answers/{generator}.seed{seed}.gpu{gpu}.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(domain=DOMAIN, grading=CONFIG["grading"]),
        code=code("check_answers", DOMAIN_CODE),
    shell:
        'python "$scripts"/check_answers.py --settings {params.settings:q} --log {log:q}'
        ' --candidates {input:q} --progress "$progress" --out {output:q}'


rule build_formats:
    """The rows as trainers take them: conversations, preference pairs, problems with a reward."""
    input:
        filtered=shards("results/filtered/{generator}/seed{seed}/gpu{gpu}.parquet"),
        candidates=shards("results/candidates/{generator}/seed{seed}/gpu{gpu}.parquet"),
        checks=shards("results/checks/{generator}/seed{seed}/gpu{gpu}.parquet"),
        verified=verified_tables(),
    output:
        chat="results/dataset/chat.parquet",
        prompt_completion="results/dataset/prompt_completion.parquet",
        preference="results/dataset/preference.parquet",
        rl="results/dataset/rl.parquet",
        reward="results/dataset/verl_reward.py",
        counts="results/dataset/formats.json",
    log:
        "logs/build_formats.log",
    benchmark:
        "benchmarks/build_formats.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(
            name=CONFIG["dataset"]["name"], domain=DOMAIN, **verification_policy()
        ),
        prompts=prompt("respond.txt"),
        # Comments of it are published too.
        reward=file_sha256(SCRIPTS / "scalequest" / "grading" / "verl_reward.py"),
        code=code("build_formats", DOMAIN_CODE),
    shell:
        'python "$scripts"/build_formats.py --settings {params.settings:q} --log {log:q}'
        " --filtered {input.filtered:q} --candidates {input.candidates:q} --checks {input.checks:q}"
        " --verified {input.verified:q}"
        " --chat {output.chat:q} --prompt-completion {output.prompt_completion:q}"
        " --preference {output.preference:q} --rl {output.rl:q} --reward {output.reward:q} --counts {output.counts:q}"


rule build_dataset:
    """Export the selected rows, with card and manifest."""
    input:
        filtered=shards("results/filtered/{generator}/seed{seed}/gpu{gpu}.parquet"),
        candidates=shards("results/candidates/{generator}/seed{seed}/gpu{gpu}.parquet"),
        generators=[asking_manifest(name) for name in GENERATORS],
        responses=model_manifest(CONFIG["responses"]["model"]),
        reward=reward_manifest(),
        models=[model_manifest(name) for name in model_in_use(CONFIG)],
        data=[f"results/datasets/{name}.json" for name in datasets_in_use(CONFIG)],
        formats=FORMATS,
        config="results/config.json",
    output:
        parquet="results/dataset/train.parquet",
        jsonl="results/dataset/train.jsonl",
        chat="results/dataset/chat.jsonl",
        card="results/dataset/README.md",
        manifest="results/dataset/manifest.json",
        funnel="results/dataset/funnel.svg",
        pipeline="results/dataset/pipeline.svg",
    log:
        "logs/build_dataset.log",
    benchmark:
        "benchmarks/build_dataset.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(dataset=CONFIG["dataset"]),
        template=resource("dataset_card.md.jinja"),
        drawing=resource("pipeline.svg"),
        generators=lambda wildcards, input: " ".join(
            f"{name}={path}" for name, path in zip(GENERATORS, input.generators)
        ),
        reward=lambda wildcards, input: (
            f"--reward-model {input.reward}" if input.reward else ""
        ),
        code=code("build_dataset"),
    shell:
        'python "$scripts"/build_dataset.py --settings {params.settings:q} --log {log:q}'
        " --filtered {input.filtered:q} --candidates {input.candidates:q} --manifests {input.models:q} {input.data:q}"
        " --question-models {params.generators} --response-model {input.responses:q} {params.reward}"
        " --config-snapshot {input.config:q} --formats {input.formats:q}"
        " --parquet {output.parquet:q} --jsonl {output.jsonl:q}"
        " --chat {output.chat:q} --card {output.card:q} --manifest {output.manifest:q}"
        " --funnel {output.funnel:q} --pipeline {output.pipeline:q}"
