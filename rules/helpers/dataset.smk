"""What the dataset has of verified answers, an option."""


def verified_tables():
    """The table of verified answers of each shard."""
    pattern = "results/verified/{generator}/seed{seed}/gpu{gpu}.parquet"
    return shards(pattern) if SOLVERS else []


def verification_policy():
    """Which verified answers are kept, as a setting where there are any."""
    policy = pick(VERIFICATION, "min_agreement", "pass_rate", "types")
    return {"verification": policy} if SOLVERS else {}
