"""Verification: is this run equal to another one, file by file and row by row?

In: every data file of the finished run. Out: results/checksums.txt; a comparison with the run that
`operation.verify_against` names. What is promised is in docs/reproducibility.md.
"""


rule write_checksums:
    """Digests of every data file, and of each table's rows over all shards."""
    input:
        dealt_out(data_files()),
    output:
        "results/checksums.txt",
    log:
        "logs/write_checksums.log",
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(),
        files=data_files(),
        shards=len(SHARDS),
        code=code("write_checksums"),
    shell:
        'python "$scripts"/write_checksums.py --settings {params.settings:q} --log {log:q}'
        " --files {params.files:q} --shards {params.shards} --out {output:q}"


rule checksums:
    input:
        "results/checksums.txt",


rule verify:
    """Compare with another run. Without an output, so that it runs whenever it is asked for."""
    input:
        "results/checksums.txt",
    log:
        "logs/verify_run.log",
    conda:
        "../envs/data.yaml"
    params:
        settings=settings(),
        code=code("verify_run"),
    shell:
        'python "$scripts"/verify_run.py --settings {params.settings:q} --log {log:q} --checksums {input:q}'
