"""What the summaries read and show."""

from scalequest.stages import rules_of_summary


def summarized(whole):
    """A function from wildcards to the files that the summary reads: of the whole run, or up to the dataset."""
    tuned, preferred = tunings("question", "preference"), tunings("preference")
    place = "{generator}/seed{seed}/gpu{gpu}.parquet"
    files = {
        "questions": shards(f"results/questions/{place}"),
        "filtered": shards(f"results/filtered/{place}"),
        "candidates": shards(f"results/candidates/{place}"),
        "dataset": "results/dataset/train.parquet",
        "seeds": "results/seeds/seeds.parquet",
        "tuned": [f"results/question_tuning/{name}/model.json" for name in tuned],
        "texts": [
            f"results/preference_tuning/{name}/{file}.parquet"
            for name in preferred
            for file in ("questions", PAIR_TEXTS[PAIRS])
        ],
        "pairs": [f"results/preference_tuning/{name}/pairs.json" for name in preferred],
        "preferred": [
            f"results/preference_tuning/{name}/model.json" for name in preferred
        ],
    }
    if difficulty_by(CONFIG) == "scorer":
        files["scorer"] = "results/difficulty/metrics.json"
        files["attempts"] = "results/difficulty/attempts.parquet"
    if "solvability" in active_filters():
        files["judgements"] = shards(f"results/filters/solvability/{place}")
    if tables := verified_tables():
        files["verified"] = tables
    if whole:
        files["topics"] = topic_tables()
        files["students"] = [
            f"results/students/{name}/model.json" for name in CONFIG["use"]["students"]
        ]
        files["measures"] = evaluated("measures.json")
        # Not read, but it must be there.
        files["table"] = "results/evaluation/table1.csv" if measured(CONFIG) else []
    return lambda wildcards: {name: paths for name, paths in files.items() if paths}


def optional(wildcards, input):
    """The summary's inputs that not every config has. All judgements are passed by their folder: a command line is limited."""
    names = (
        *("seeds", "tuned", "texts", "pairs", "preferred", "scorer", "attempts"),
        *("students", "measures", "verified", "topics"),
    )
    words = [f"--{name} {input[name]}" for name in names if name in input.keys()]
    if "judgements" in input.keys():
        words.append(f"--judgements {in_place('results/filters/solvability')}")
    return " ".join(words)


def summary_settings():
    """The filters as the funnel shows them. A filter or an option that is off is no stage, nor is its rule."""
    options = {*CONFIG["filters"]["order"], "topics", "verification"}
    active = {*active_filters(), *if_topics(topics=True), *verification_policy()}
    rules = {
        stage: names
        for stage, names in rules_of_summary().items()
        if stage not in options or stage in active
    }
    return settings(
        filters=filters_before(None), rules=rules, parts=CONFIG["evaluation"]["shards"]
    )
