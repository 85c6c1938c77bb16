"""Rewards of responses, which not every config has."""

from scalequest.config.selectors import needs_model
from scalequest.tasks.rewards import KINDS

REWARD = CONFIG["reward"]
# Name of the model that scores; None where the kind of reward needs none.
REWARD_MODEL = REWARD["model"] if needs_model(REWARD["kind"]) else None
# How the scores of a response's steps become one; None where a response has one score.
AGGREGATE = REWARD["aggregate"] if REWARD["kind"] == "process" else None
# Scores of a reward model have no bounds, where the other kinds give probabilities.
SELECTION = {**CONFIG["selection"], "unbounded": REWARD["kind"] == "model"}


def rewards(wildcards):
    """The shard's rewards, where responses are scored at all."""
    if REWARD["kind"] == "none":
        return []
    return f"results/rewards/{wildcards.generator}/seed{wildcards.seed}/gpu{wildcards.gpu}.parquet"


def reward_manifest():
    """Manifest of the model that scores, where there is one."""
    return model_manifest(REWARD_MODEL) if REWARD_MODEL else []


def reward_prompts():
    """The prompts that the kind of reward uses, as `prompt`."""
    names = KINDS[REWARD["kind"]].prompts if REWARD["kind"] in KINDS else ()
    return prompt(*(f"{name}.txt" for name in names))


def reward_argument(wildcards, input):
    return f"--model {input.model}" if input.model else ""


def rewards_argument(wildcards, input):
    return f"--rewards {input.rewards}" if input.rewards else ""
