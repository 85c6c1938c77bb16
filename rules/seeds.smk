"""Seeds: the problems that question generators are tuned on.

In: the staged data sets of `use.seeds`. Out: one table, exact duplicates merged, with counts by source.
"""


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
