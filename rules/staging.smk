"""Staging: what must be fetched, by local rules on a node that has internet. All other rules run offline.

In: `models` and `datasets` of the config. Out: a manifest of hashes for each model, a table of problems for each data set.
"""


include: "helpers/staging.smk"


DATA_FILES += [model_manifest(name) for name in model_in_use(CONFIG)]
DATA_FILES += [
    f"results/datasets/{name}.{kind}"
    for name in datasets_in_use(CONFIG)
    for kind in ("parquet", "json")
]


rule stage_model:
    """Fetch or convert one model, and write the manifest that stands for it."""
    output:
        "results/models/{model}.json",
    log:
        "logs/stage_model/{model}.log",
    benchmark:
        "benchmarks/stage_model/{model}.tsv"
    localrule: True
    conda:
        "../envs/vllm.yaml"
    params:
        settings=model_settings,
        folder=staged_folder,
        code=code("stage_model"),
    shell:
        'python "$scripts"/stage_model.py --settings {params.settings:q} --log {log:q}'
        ' --name {wildcards.model:q} --folder "$models"/staged/{params.folder}'
        ' --roles "$roles" --out {output:q}'


rule stage_data:
    """Fetch one data set and write it as a table of problems."""
    input:
        source=data_source,
    output:
        table="results/datasets/{dataset}.parquet",
        manifest="results/datasets/{dataset}.json",
    log:
        "logs/stage_data/{dataset}.log",
    benchmark:
        "benchmarks/stage_data/{dataset}.tsv"
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        settings=data_settings,
        own=data_hash,
        code=code("stage_data", DOMAIN_CODE),
    shell:
        'python "$scripts"/stage_data.py --settings {params.settings:q} --log {log:q}'
        " --name {wildcards.dataset:q} --out {output.table:q} --manifest {output.manifest:q}"
