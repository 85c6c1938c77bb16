"""The solvers whose answers are compared; none where the option is off."""

VERIFICATION = CONFIG["verification"]
SOLVERS = VERIFICATION["solvers"]
# What solvers answer: the kept questions, or what the filters before that of difficulty left, where it goes by them.
ASKED = (
    "results/filters/unsolved"
    if difficulty_by(CONFIG) == "pass_rate"
    else "results/filtered"
)


wildcard_constraints:
    # A name that none has, where there is no solver.
    solver="|".join(SOLVERS) or "-",
