"""Models by their manifests, the files of all shards, and what rules read of topics, an option."""


def model_manifest(name):
    """The staged model's manifest."""
    return f"results/models/{name}.json"


def asking_manifest(name):
    """Manifest of the model that a generator samples from, by how far it is tuned."""
    generator = CONFIG["generators"][name]
    return {
        "none": model_manifest(generator["model"]),
        "question": f"results/question_tuning/{name}/model.json",
        "preference": f"results/preference_tuning/{name}/model.json",
    }[generator["tuning"]]


def base_model(wildcards):
    """Name of the model that a generator starts from."""
    return CONFIG["generators"][wildcards.generator]["model"]


def base_manifest(wildcards):
    """Manifest of the model that a generator starts from."""
    return model_manifest(base_model(wildcards))


def tunings(*stages):
    """Names of the active generators whose tuning is one of these."""
    return [
        name for name in GENERATORS if CONFIG["generators"][name]["tuning"] in stages
    ]


def shards(pattern):
    """A path for each shard of the run, in a fixed order: seed first."""
    return [
        pattern.format(generator=generator, seed=seed, gpu=gpu)
        for seed in SEEDS
        for generator in GENERATORS
        for gpu in SHARDS
    ]


def topic_tables():
    """The tables of topics, those of the seed problems last; none where topics are off."""
    if not CONFIG["topics"]["enabled"]:
        return []
    generators = [f"results/topics/questions/{name}.parquet" for name in GENERATORS]
    return [*generators, "results/topics/seeds.parquet"]


def if_topics(**settings):
    """These settings where topics are on, else none: an option that is off is no setting of other rules."""
    return settings if CONFIG["topics"]["enabled"] else {}


def if_thinking(section):
    """How a model thinks before it answers, as a setting of the section where it is to."""
    return {"thinking": section["thinking"]} if section.get("thinking") else {}


def active_filters(before=None):
    """Names of the enabled filters in the config's order, up to one of them."""
    order = [
        name
        for name in CONFIG["filters"]["order"]
        if CONFIG["filters"][name]["enabled"] or name == before
    ]
    return order[: order.index(before)] if before else order
