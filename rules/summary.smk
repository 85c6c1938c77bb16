"""Summary: the run on one screen, with rows, time and tokens of each stage.

In: the tables and manifests of all stages, the benchmark files of all jobs. Out: a summary of the whole run
(results/summary.*), or of the run up to the dataset (results/dataset_summary.*).
"""


include: "helpers/summary.smk"


rule summarize_run:
    """Rows in and out of each stage, time and tokens, on one screen, once all files of the run are there."""
    input:
        unpack(summarized(whole=True)),
    output:
        data="results/summary.json",
        text="results/summary.txt",
    log:
        "logs/summarize_run.log",
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        settings=summary_settings(),
        optional=optional,
        code=code("summarize_run"),
    shell:
        'python "$scripts"/summarize_run.py --settings {params.settings:q} --log {log:q}'
        " --questions {input.questions:q} --filtered {input.filtered:q} --candidates {input.candidates:q}"
        f" --dataset {{input.dataset:q}} --benchmarks {in_place('benchmarks')} {{params.optional}}"
        ' --progress "$progress" --models "$models"'
        " --out {output.data:q} --text {output.text:q}"


use rule summarize_run as summarize_dataset with:
    # The same without students and evaluation, which the dataset does not need.
    input:
        unpack(summarized(whole=False)),
    output:
        data="results/dataset_summary.json",
        text="results/dataset_summary.txt",
    log:
        "logs/summarize_dataset.log",
    # Not inherited.
    localrule: True
