"""Browser: a page, opened from disk, with every question, kept or dropped, and every answer to a benchmark.

In: the tables of filters, candidates and grades; the readers' marks (marks/*.jsonl, beside results). Out:
results/browser/index.html with what it reads beside it, and a record of the rows that are shown.
"""


include: "helpers/browser.smk"


DATA_FILES += ["results/browser.json"]


rule build_browser:
    """Make the sample browser."""
    input:
        unpack(browsed),
        marks=mark_files(),
    output:
        folder=report(
            directory("results/browser"),
            htmlindex="index.html",
            caption="../report/browser.rst",
            category="Samples",
        ),
        record="results/browser.json",
    log:
        "logs/build_browser.log",
    conda:
        "../envs/data.yaml"
    params:
        settings=browser_settings(),
        shards=SHARD_NAMES,
        measured=measured_places(),
        page=[resource(f"browser/{name}") for name in page_files()],
        code=code("build_browser"),
    shell:
        'python "$scripts"/build_browser.py --settings {params.settings:q} --log {log:q}'
        f" --results {in_place('results')} --marks {in_place('marks')}"
        " --shards {params.shards:q} --measured {params.measured:q}"
        " --folder {output.folder:q} --out {output.record:q}"


rule browser:
    input:
        "results/browser.json",
    localrule: True
