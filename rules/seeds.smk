"""Seed problems: what question generators are tuned on.

In: the staged data sets of `use.seeds`. Out: one table, exact duplicates merged, with counts by source; the number of
questions that are in the staged benchmarks too.
"""

# How many questions of the benchmarks are among the seeds is counted where the benchmarks are staged.
SEED_OVERLAP = (
    ["results/seeds/overlap.json"]
    if CONFIG["use"]["benchmarks"]
    and set(CONFIG["use"]["benchmarks"]) <= set(datasets_in_use(CONFIG))
    else []
)
DATA_FILES += ["results/seeds/seeds.parquet", "results/seeds/counts.json"]
DATA_FILES += SEED_OVERLAP


rule make_seeds:
    """Merge the seed sources into one table."""
    input:
        problems=[f"results/datasets/{name}.parquet" for name in CONFIG["use"]["seeds"]],
    output:
        table="results/seeds/seeds.parquet",
        counts="results/seeds/counts.json",
    log:
        "logs/make_seeds.log",
    benchmark:
        "benchmarks/make_seeds.tsv"
    conda:
        "../envs/data.yaml"
    params:
        # In order: of equal problems the first source's is kept.
        settings=settings(
            seeds=CONFIG["use"]["seeds"], max_rows=CONFIG["seeds"]["max_rows"]
        ),
        code=code("make_seeds"),
    shell:
        'python "$scripts"/make_seeds.py --settings {params.settings:q} --log {log:q}'
        " --problems {input.problems:q} --out {output.table:q} --counts {output.counts:q}"


rule compare_seeds:
    """Count the benchmarks' questions among the seed problems. No other rule reads this: another benchmark retrains nothing."""
    input:
        seeds=[f"results/datasets/{name}.parquet" for name in CONFIG["use"]["seeds"]],
        benchmarks=[
            f"results/datasets/{name}.parquet" for name in CONFIG["use"]["benchmarks"]
        ],
    output:
        "results/seeds/overlap.json",
    log:
        "logs/compare_seeds.log",
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(),
        code=code("compare_seeds"),
    shell:
        'python "$scripts"/compare_seeds.py --settings {params.settings:q} --log {log:q}'
        " --seeds {input.seeds:q} --benchmarks {input.benchmarks:q} --out {output:q}"
