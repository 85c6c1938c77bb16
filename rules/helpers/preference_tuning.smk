"""How preference pairs are made: sampled questions, and what a judge or a rewriter says of them."""

PAIRS = CONFIG["preference_tuning"]["pairs"]
# The table of what a model says of the questions that pairs are made of.
PAIR_TEXTS = {"rank": "judgements", "rewrite": "rewrites"}
REWRITE = CONFIG["preference_tuning"]["rewrite"]


def rewriter_manifest(wildcards):
    """The rewriter's manifest, where it is a model of ours and not a server's."""
    return model_manifest(REWRITE["model"]) if REWRITE["backend"] == "engine" else []


def rewriter_argument(wildcards, input):
    return f"--model {input.model}" if input.model else ""


def rewrite_settings():
    """The settings of a rewrite. A server has no engine settings; an engine has no `server_model`."""
    ours = REWRITE["backend"] == "engine"
    idle = "server_model" if ours else "model"
    return settings(
        rewrite={key: value for key, value in REWRITE.items() if key != idle},
        engine=engine(REWRITE["model"], "rewrite_questions") if ours else None,
        seed=CONFIG["preference_tuning"]["seed"],
        domain=DOMAIN,
    )


def pair_questions_settings(wildcards):
    return settings(
        purpose="pairs",
        sampling=CONFIG["preference_tuning"]["sampling"],
        engine=engine(base_model(wildcards), "sample_questions"),
    )


def pair_question_rows():
    """Which rows of the pairs' questions are sampled: all of them."""
    tuning = CONFIG["preference_tuning"]
    return f"--seed {tuning['seed']} --start 0 --count {tuning['questions']}"


def pair_settings():
    """The settings of pairs: the ranking's rule, where there is one, and the least number of pairs."""
    rank = (
        {"rank": pick(CONFIG["preference_tuning"]["rank"], "group", "min_margin")}
        if PAIRS == "rank"
        else {}
    )
    return settings(min_pairs=CONFIG["preference_tuning"]["min_pairs"], **rank)


def pair_sources(wildcards):
    """The tables that pairs are made from, by `preference_tuning.pairs`."""
    folder = f"results/preference_tuning/{wildcards.generator}"
    if PAIRS == "rewrite":
        return {"rewrites": f"{folder}/rewrites.parquet"}
    return {
        "questions": f"{folder}/questions.parquet",
        "judgements": f"{folder}/judgements.parquet",
    }


def pair_arguments(wildcards, input):
    return " ".join(f"--{name} {path}" for name, path in input.items())
