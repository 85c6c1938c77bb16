"""Report: what a run made, cost and measured, on one page and for `snakemake --report`; a profile of the questions.

In: the tables of all stages, the summary, the readers' marks (marks/*.jsonl, beside results). Out:
results/profile.json, results/report.html, each figure with its data in results/report/.
"""


include: "helpers/report.smk"


DATA_FILES += ["results/profile.json"]


rule profile_data:
    """Lengths, answers, variety, copies and topics: each generator beside the seed problems and the benchmarks."""
    input:
        unpack(profiled),
    output:
        "results/profile.json",
    log:
        "logs/profile_data.log",
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(
            # In no order: the profile has none.
            generators=sorted(GENERATORS),
            # Their order is that in which duplicates are counted.
            seeds=SEEDS,
            duplicates=pick(
                CONFIG["filters"]["duplicates"], "shingle", "permutations"
            ),
            **if_topics(topics=topic_options(CONFIG)),
        ),
        optional=lambda wildcards, input: " ".join(
            f"--{name} {input[name]}"
            for name in ("duplicates", "topics")
            if name in input.keys()
        ),
        code=code("profile_data"),
    shell:
        'python "$scripts"/profile_data.py --settings {params.settings:q} --log {log:q}'
        " --filtered {input.filtered:q} --candidates {input.candidates:q} --seeds {input.seeds:q}"
        " --benchmarks {input.benchmarks:q} {params.optional} --out {output:q}"


rule build_report:
    """Draw the figures, and show them with tables on one page."""
    input:
        unpack(reported),
        marks=mark_files(),
    output:
        *figure_files("svg"),
        *figure_files("csv", "Numbers of the figures (CSV)"),
        page=report(
            "results/report.html",
            caption="../report/page.rst",
            category="Everything on one page",
        ),
    log:
        "logs/build_report.log",
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        settings=report_settings(),
        shards=SHARD_NAMES,
        page=resource("report.html.jinja"),
        captions=[file_sha256(ROOT / "report" / f"{name}.rst") for name in FIGURES],
        code=code("build_report"),
    shell:
        'python "$scripts"/build_report.py --settings {params.settings:q} --log {log:q}'
        f" --results {in_place('results')} --marks {in_place('marks')} --folder {in_place('results/report')}"
        " --shards {params.shards:q} --out {output.page:q}"
