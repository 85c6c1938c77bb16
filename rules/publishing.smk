"""Publishing: the dataset with card, manifest, report and browser to the Hugging Face hub. Never part of `all`.

In: a finished run. Out: one commit on the hub; without `publish.dry_run: false`, only what it would be.
"""


rule publish:
    """Send what has changed. Without an output, so that it runs whenever it is asked for, and on this machine."""
    input:
        "results/dataset/manifest.json",
        "results/browser.json",
        "results/report.html",
        "results/profile.json",
    log:
        "logs/publish.log",
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(**CONFIG["publish"]),
        code=code("publish_dataset"),
    shell:
        'python "$scripts"/publish_dataset.py --settings {params.settings:q} --log {log:q}'
        f" --results {in_place('results')}"
