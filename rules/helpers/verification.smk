"""The solvers whose answers are compared; none where the option is off."""

VERIFICATION = CONFIG["verification"]
SOLVERS = VERIFICATION["solvers"]


wildcard_constraints:
    # A name that none has, where there is no solver.
    solver="|".join(SOLVERS) or "-",


def asked_questions(wildcards):
    """What solvers answer: the kept questions, or, where the filter of difficulty goes by them, what the filters before
    that one kept."""
    by_them = difficulty_by(CONFIG) == "pass_rate"
    folder = "results/filters/unsolved" if by_them else "results/filtered"
    return f"{folder}/{wildcards.generator}/seed{wildcards.seed}/gpu{wildcards.gpu}.parquet"
