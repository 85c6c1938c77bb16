"""Dataset: the selected rows with their papers in order, and the run on one screen.

In: every shard's filtered questions and candidates, the manifests of the models that took part. Out: Parquet, JSONL, a
chat variant, a Hugging Face dataset card, a manifest; a summary of rows, time and tokens of each stage.
"""


rule write_config:
    """The merged, checked config, defaults included, as the manifest and the card quote it: all that shapes a result."""
    output:
        "results/config.json",
    log:
        "logs/write_config.log",
    conda:
        "../envs/data.yaml"
    params:
        config=param(shaping(CONFIG)),
    shell:
        "printf '%s\\n' {params.config:q} > {output:q} 2> {log:q}"


rule build_dataset:
    """Export the selected rows, with card and manifest."""
    input:
        filtered=shards("results/filtered/{generator}/seed{seed}/gpu{gpu}.parquet"),
        candidates=shards("results/candidates/{generator}/seed{seed}/gpu{gpu}.parquet"),
        generators=[asking_manifest(name) for name in GENERATORS],
        responses=model_manifest(CONFIG["responses"]["model"]),
        reward=model_manifest(REWARD["model"]) if REWARD["kind"] != "none" else [],
        models=[model_manifest(name) for name in model_in_use(CONFIG)],
        data=[f"results/datasets/{name}.json" for name in datasets_in_use(CONFIG)],
        config="results/config.json",
    output:
        parquet="results/dataset/train.parquet",
        jsonl="results/dataset/train.jsonl",
        chat="results/dataset/chat.jsonl",
        card="results/dataset/README.md",
        manifest="results/dataset/manifest.json",
    log:
        "logs/build_dataset.log",
    benchmark:
        "benchmarks/build_dataset.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(dataset=CONFIG["dataset"]),
        template=resource("dataset_card.md.jinja"),
        generators=question_models,
        reward=reward_model,
        code=code("build_dataset"),
    shell:
        'python "$scripts"/build_dataset.py --settings {params.settings:q} --log {log:q}'
        " --filtered {input.filtered:q} --candidates {input.candidates:q} --manifests {input.models:q} {input.data:q}"
        " --question-models {params.generators} --response-model {input.responses:q} {params.reward}"
        " --config-snapshot {input.config:q} --parquet {output.parquet:q} --jsonl {output.jsonl:q}"
        " --chat {output.chat:q} --card {output.card:q} --manifest {output.manifest:q}"


rule summarize_run:
    """Rows in and out of each stage, time and tokens, on one screen."""
    input:
        questions=shards("results/questions/{generator}/seed{seed}/gpu{gpu}.parquet"),
        filtered=shards("results/filtered/{generator}/seed{seed}/gpu{gpu}.parquet"),
        candidates=shards("results/candidates/{generator}/seed{seed}/gpu{gpu}.parquet"),
        dataset="results/dataset/train.parquet",
        seeds="results/seeds/seeds.parquet",
        tuned=[
            f"results/question_tuning/{name}/model.json"
            for name in tunings("question", "preference")
        ],
        pairs=[
            f"results/preference_tuning/{name}/pairs.json"
            for name in tunings("preference")
        ],
        scorer=(
            "results/difficulty/metrics.json"
            if "difficulty" in active_filters()
            else []
        ),
    output:
        data="results/summary.json",
        text="results/summary.txt",
    log:
        "logs/summarize_run.log",
    conda:
        "../envs/data.yaml"
    params:
        settings=summary_settings(),
        optional=optional,
        code=code("summarize_run"),
    shell:
        'python "$scripts"/summarize_run.py --settings {params.settings:q} --log {log:q}'
        " --questions {input.questions:q} --filtered {input.filtered:q} --candidates {input.candidates:q}"
        " --dataset {input.dataset:q} --benchmarks benchmarks --seeds {input.seeds:q} {params.optional}"
        ' --progress "$progress" --models "$models"'
        " --out {output.data:q} --text {output.text:q}"
