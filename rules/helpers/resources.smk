"""What engines and trainings run with: settings, threads, GPUs, nodes, an environment of conda."""

from snakemake.exceptions import ResourceValidationError

# For the resources of a profile, whose expressions know nothing of the config: jobs without a GPU go to other partitions.
# And trainings ask for the host memory that they are computed to need.
os.environ.update(
    {
        f"SCALEQUEST_MB_{rule}": str(size)
        for rule, size in training_memory.host_mb(CONFIG).items()
    },
    SCALEQUEST_DEVICE=CONFIG["device"],
)
# The most that any model's engine takes, so that no machine is overbooked.
ENGINE_THREADS = max(
    engine_settings(CONFIG, name)["threads"] for name in model_in_use(CONFIG)
)

# The `priority` of jobs from question tuning to the questions: all later stages wait for these.
LONGEST_CHAIN = 1


def deploys(method):
    """Whether `--sdm` names a method: by conda, rules run in environments of their own, whose interpreter must win."""
    methods = workflow.deployment_settings.deployment_method
    return any(str(named).lower().endswith(method) for named in methods)


if deploys("apptainer") and not deploys("conda"):
    raise WorkflowError(
        "--sdm apptainer alone gives a container without the packages: say `--sdm conda apptainer`."
    )


def engine(model, stage=None):
    """The engine's settings for a model in a stage."""
    return engine_settings(CONFIG, model, stage)


def offered(gpus, key):
    """The GPUs that a job needs by a key of the config. Of a job that needs more than `--resources gpu=N` offers,
    Snakemake would silently lower the number, and the job would fail once it runs.
    """
    limit = workflow.global_resources.get("gpu").value
    if workflow.is_main_process and isinstance(limit, int) and gpus > limit:
        # Of the errors that a resource may raise, the one that Snakemake prints as a sentence.
        raise ResourceValidationError(
            f"{key} is {gpus}, but this run offers {limit} GPU{'s' if limit != 1 else ''} (--resources gpu={limit}). "
            f"Say --resources gpu={gpus} where the machine has them, or lower {key}."
        )
    return gpus


def engine_gpus(model):
    """GPUs that one engine needs, none on a CPU, as a function: Snakemake asks for jobs that are to run alone."""
    own = CONFIG["models"].get(model, {}).get("engine", {})
    key = f"models.{model}.engine" if "tensor_parallel" in own else "engine"

    def gpus(wildcards):
        if CONFIG["device"] == "cpu":
            return 0
        return offered(engine(model)["tensor_parallel"], f"{key}.tensor_parallel")

    return gpus


def generator_gpus(wildcards):
    """GPUs that a generator's engine needs."""
    return engine_gpus(base_model(wildcards))(wildcards)


def training_gpus(wildcards):
    """GPUs that a training job needs; none on a CPU."""
    if CONFIG["device"] == "cpu":
        return 0
    return offered(CONFIG["training"]["processes"], "training.processes")


def training_nodes():
    """What a training job of several nodes asks SLURM for: a task on each, started by the script itself and not by
    Snakemake's executor (`mpi`), and not as many as there are GPUs."""
    nodes = CONFIG["training"]["nodes"]
    if nodes == 1:
        return {}
    return {"nodes": nodes, "tasks": nodes, "tasks_per_gpu": 0, "mpi": "srun"}


def training():
    """The settings that every trainer takes."""
    return {"training": CONFIG["training"], "device": CONFIG["device"]}
