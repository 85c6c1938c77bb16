"""What is measured, and how it is asked."""


def measured_manifest(wildcards):
    """Manifest of what is measured: a student, or a model as it is."""
    if wildcards.measured in CONFIG["students"]:
        return f"results/students/{wildcards.measured}/model.json"
    return model_manifest(wildcards.measured)


def measured_base(wildcards):
    """Name of the model whose engine settings apply: of a student, the model that it started from."""
    student = CONFIG["students"].get(wildcards.measured)
    return wildcards.measured if student is None else student["model"]


def measured_gpus(wildcards):
    """GPUs that the engine of what is measured needs."""
    return engine_gpus(measured_base(wildcards))(wildcards)


def answer_settings(wildcards):
    """The prompt and sampling of what is measured. A student is asked as it was trained."""
    asking = pick(CONFIG["evaluation"], "prompt", "format", "samples", "sampling")
    asking |= if_thinking(CONFIG["evaluation"])
    if wildcards.measured in CONFIG["students"]:
        asking |= pick(student_settings(CONFIG, wildcards.measured), "prompt", "format")
    return settings(
        evaluation=asking, engine=engine(measured_base(wildcards), "sample_answers")
    )


def evaluated(file):
    """A file for each model that is measured and each benchmark, in a fixed order."""
    return [
        f"results/evaluation/{name}/{benchmark}/{file}"
        for name in measured(CONFIG)
        for benchmark in CONFIG["use"]["benchmarks"]
    ]


def table_settings():
    """What the table shows, and how it was measured."""
    return settings(
        benchmarks=CONFIG["use"]["benchmarks"],
        # The order of the lines.
        measured=measured(CONFIG),
        **pick(CONFIG["evaluation"], "columns", "compare", "sampling"),
        **if_thinking(CONFIG["evaluation"]),
    )
