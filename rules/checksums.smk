"""Checksums: whether this run equals another one, file by file and row by row.

In: every data file of the finished run. Out: results/checksums.txt; a comparison with the run that
`operation.verify_against` names. What is promised is in docs/explanation/reproducibility.md.
"""

FILES = sorted(DATA_FILES)


rule write_checksums:
    """Digests of every data file, and of each table's rows over all shards."""
    input:
        [
            path.replace("*", str(gpu))
            for path in FILES
            for gpu in (SHARDS if "*" in path else [0])
        ],
    output:
        "results/checksums.txt",
    log:
        "logs/write_checksums.log",
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(),
        files=[in_place(path) for path in FILES],
        shards=len(SHARDS),
        code=code("write_checksums"),
    shell:
        'python "$scripts"/write_checksums.py --settings {params.settings:q} --log {log:q}'
        " --files {params.files:q} --shards {params.shards} --out {output:q}"


rule checksums:
    input:
        "results/checksums.txt",
    localrule: True


rule verify:
    """Compare with another run. Without an output, so that it runs whenever it is asked for."""
    input:
        "results/checksums.txt",
    log:
        "logs/verify_run.log",
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(),
        code=code("verify_run"),
    shell:
        'python "$scripts"/verify_run.py --settings {params.settings:q} --log {log:q} --checksums {input:q}'
