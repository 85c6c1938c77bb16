"""What the sample browser shows."""

FILTERED = shards("results/filtered/{generator}/seed{seed}/gpu{gpu}.parquet")
# GENERATOR/seedSEED/gpuGPU of each shard.
SHARD_NAMES = [path[len("results/filtered/") : -len(".parquet")] for path in FILTERED]


def browser_settings():
    """What the browser says of the run, and its size."""
    return settings(
        max_mb=CONFIG["browser"]["max_mb"],
        filters=shown_filters(),
        **if_topics(topics=True),
        **({"verified": True} if SOLVERS else {}),
    )


def browsed(wildcards):
    """The tables that the browser reads. Those of text filters and of the judge are there where the filtered ones are."""
    files = {
        "filtered": FILTERED,
        "candidates": shards(
            "results/candidates/{generator}/seed{seed}/gpu{gpu}.parquet"
        ),
        "seeds": "results/seeds/seeds.parquet",
        "topics": topic_tables(),
        "verified": verified_tables(),
        "grades": evaluated("grades.parquet"),
        "problems": (
            [f"results/datasets/{name}.parquet" for name in CONFIG["use"]["benchmarks"]]
            if measured(CONFIG)
            else []
        ),
    }
    return {name: paths for name, paths in files.items() if paths}


def measured_places():
    """MODEL/BENCHMARK of all that is measured."""
    return [
        str(Path(path).parent.relative_to("results/evaluation"))
        for path in evaluated("grades.parquet")
    ]


def shown_filters():
    """The filters that are on, in their order, each with its section of the config."""
    return [{"name": name, **CONFIG["filters"][name]} for name in active_filters()]


def mark_files():
    """The readers' marks, which lie beside the results and are no part of the run."""
    found = sorted(Path(in_place("marks")).glob("*.jsonl"))
    return [f"marks/{path.name}" for path in found]


def page_files():
    """The files of the page itself, below resources/browser."""
    folder = ROOT / "resources" / "browser"
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    )
