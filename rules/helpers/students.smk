"""Students: what each is trained on, and how."""

from scalequest.config.selectors import OURS, student_settings


def student_base(wildcards):
    """Manifest of the model that a student starts from."""
    return model_manifest(CONFIG["students"][wildcards.student]["model"])


def student_data(wildcards):
    """A student's training set: the shards of ours that it asks for, or a staged dataset."""
    student = CONFIG["students"][wildcards.student]
    if student["data"] != OURS:
        return {"problems": f"results/datasets/{student['data']}.parquet"}
    place = "{generator}/seed{seed}/gpu{gpu}.parquet"
    return {
        kind: [
            f"results/{kind}/{place}".format(generator=generator, seed=seed, gpu=gpu)
            for seed in student["seeds"] or SEEDS
            for generator in student["generators"] or GENERATORS
            for gpu in SHARDS
        ]
        for kind in ("filtered", "candidates")
    }


def student_arguments(wildcards, input):
    names = ("filtered", "candidates") if "filtered" in input.keys() else ("problems",)
    return " ".join(f"--{name} {input[name]}" for name in names)


# Keys of a student's settings that shape its samples and not how they are learned.
ASKING = ("prompt", "format", "thinking")


def student_asking(wildcards):
    """The settings of a student's samples."""
    return settings(
        student_tuning=pick(
            student_settings(CONFIG, wildcards.student), *ASKING, "max_length"
        ),
        data=student_slice(wildcards),
    )


def student_tuning(wildcards):
    """The settings of a student's training."""
    own = student_settings(CONFIG, wildcards.student)
    return settings(
        student_tuning={key: own[key] for key in own if key not in ASKING}, **training()
    )


def student_slice(wildcards):
    """Which rows of its training set a student gets."""
    student = CONFIG["students"][wildcards.student]
    return pick(student, "data", "rows", "generators", "seeds")


def overlap_settings(wildcards):
    """A student's rows, and when a row counts as containing a problem, even where that filter is off."""
    return settings(
        data=student_slice(wildcards),
        contamination=pick(CONFIG["filters"]["contamination"], "ngram", "min_overlap"),
    )
