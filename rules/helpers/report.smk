"""What profile and report read and show."""

# At the beginning of a line, `report` is a keyword.
from snakemake.io import report as in_report
from scalequest.publishing.figures import figures

FIGURES = figures(topics=CONFIG["topics"]["enabled"])
SUMMARY = "results/summary.json"
JUDGED_SEEDS = "results/calibration/judgements.parquet"


def profiled(wildcards):
    """The tables of the profile."""
    files = {
        "filtered": FILTERED,
        "candidates": shards(
            "results/candidates/{generator}/seed{seed}/gpu{gpu}.parquet"
        ),
        "seeds": "results/seeds/seeds.parquet",
        "benchmarks": [
            f"results/datasets/{name}.parquet" for name in CONFIG["use"]["benchmarks"]
        ],
    }
    if "duplicates" in active_filters():
        files["duplicates"] = [
            f"results/filters/duplicates/seed{seed}.parquet" for seed in SEEDS
        ]
    if tables := topic_tables():
        files["topics"] = tables
    return files


def reported(wildcards):
    """What the report rests on: the summary comes last of all that it shows."""
    files = {
        "summary": SUMMARY,
        "profile": "results/profile.json",
        "config": "results/config.json",
        # The page names it.
        "browser": "results/browser.json",
    }
    if measured(CONFIG):
        files["table"] = "results/evaluation/table1.csv"
    # Only `snakemake calibrate` makes it.
    if Path(in_place(JUDGED_SEEDS)).is_file():
        files["calibration"] = JUDGED_SEEDS
    return files


def figure_files(end, category=None):
    """The figures' files of one kind, as `snakemake --report` shows them: by section, or all in one category."""
    return [
        in_report(
            f"results/report/{name}.{end}",
            caption=f"../report/{name}.rst",
            category=category or section,
            labels={"figure": title},
        )
        for name, (title, section) in FIGURES.items()
    ]


def report_settings():
    """What the report says of the run."""
    return settings(
        name=CONFIG["dataset"]["name"],
        generators=GENERATORS,
        students=CONFIG["use"]["students"],
        filters=shown_filters(),
        gpu_hour_usd=CONFIG["report"]["gpu_hour_usd"],
        **if_topics(topics=True),
        **({"verified": True} if SOLVERS else {}),
    )
