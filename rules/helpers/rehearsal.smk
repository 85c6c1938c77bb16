"""Which models answer known problems in a rehearsal, and how many; none where the seed problems have no answers."""

from scalequest.config.selectors import answering
from scalequest.workflow.rehearsal import ROWS


def known_results():
    """What a rehearsal makes of the known problems."""
    sources = [CONFIG["datasets"][name]["fields"] for name in CONFIG["use"]["seeds"]]
    if not any({"answer", "solution"} & set(fields) for fields in sources):
        return []
    scored = ["results/rehearsal/rewards.parquet"] if REWARD["kind"] != "none" else []
    return [
        f"results/rehearsal/{name}/measures.json" for name in answering(CONFIG)
    ] + scored
