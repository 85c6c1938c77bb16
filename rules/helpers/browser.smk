"""What the sample browser shows."""

FILTERED = shards("results/filtered/{generator}/seed{seed}/gpu{gpu}.parquet")


def browsed(wildcards):
    """The tables that the browser reads. Those of text filters and of the judge are there where the filtered ones are."""
    files = {
        "filtered": FILTERED,
        "candidates": shards(
            "results/candidates/{generator}/seed{seed}/gpu{gpu}.parquet"
        ),
        "seeds": "results/seeds/seeds.parquet",
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
        str(Path(path).parent)[len("results/evaluation/") :] for path in evaluated("")
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
