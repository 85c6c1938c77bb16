"""What a calibration reads, by what the config has: a judge, rewards."""


def judge_is_on():
    return "solvability" in active_filters()


def calibration_inputs(wildcards):
    """The judgements and the rewards, where the run has them."""
    found = {}
    if judge_is_on():
        found["judgements"] = "results/calibration/judgements.parquet"
    if REWARD["kind"] != "none":
        found["rewards"] = "results/calibration/rewards.parquet"
    return found


def calibration_arguments(wildcards, input):
    """The same as options."""
    return " ".join(
        f"--{name} {input[name]}"
        for name in ("judgements", "rewards")
        if name in input.keys()
    )


def calibration_settings():
    judge = CONFIG["filters"]["solvability"]
    return settings(
        min_probability=(
            judge["min_probability"] if judge["verdict"] == "choice" else None
        ),
        grading=CONFIG["grading"],
        domain=DOMAIN,
        aggregate=AGGREGATE,
        selection=SELECTION,
    )
