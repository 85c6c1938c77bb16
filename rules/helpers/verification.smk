"""The solvers whose answers are compared; none where the option is off."""

VERIFICATION = CONFIG["verification"]
SOLVERS = VERIFICATION["solvers"]


wildcard_constraints:
    # A name that none has, where there is no solver.
    solver="|".join(SOLVERS) or "-",
