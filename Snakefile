"""ScaleQuest: small open models generate mathematics questions and answers: a dataset with card, manifest and licences.

Targets: `all` (the default: the dataset, the table of measured students, summary, report and browser), `stage` (what must
be fetched, on a login node), `filtered` (every question with its verdicts, before any is answered), `dataset` (with a
summary of its own, without students and measurements), `browser` (a page with every question and answer), `publish`
(to the Hugging Face hub), `calibrate` (what filters, judge and selection do with known problems), `rehearsed` (by `make rehearse`), and any file of `results/`. The stages are in rules/, in the
order of the method. Another workflow can import this one as a module (docs/howto/module.md).
"""

from snakemake.utils import min_version

min_version("9.27")


report: "report/workflow.rst"


# The system below the conda environments, for `--sdm conda apptainer`.
container: "docker://condaforge/miniforge3:26.3.2-3"


# It loads and checks the config.
include: "rules/common.smk"
include: "rules/staging.smk"
include: "rules/seeds.smk"
include: "rules/question_tuning.smk"
include: "rules/preference_tuning.smk"
include: "rules/questions.smk"
include: "rules/difficulty.smk"
include: "rules/filters.smk"
include: "rules/responses.smk"
include: "rules/verification.smk"
include: "rules/topics.smk"
include: "rules/dataset.smk"
include: "rules/students.smk"
include: "rules/evaluation.smk"
include: "rules/summary.smk"
include: "rules/browser.smk"
include: "rules/report.smk"
include: "rules/publishing.smk"
include: "rules/checksums.smk"


from scalequest.llm.engine import check_build
from scalequest.workflow.clock import refuse_future
from scalequest.workflow.confirm import confirm
from scalequest.workflow.estimate import Estimator
from scalequest.workflow.planned_jobs import planned
from scalequest.workflow.schedule import too_long
from scalequest.workflow.freeze import begin_run
from scalequest.workflow import run_record, terminal


# Snakemake calls this when its plan is made (`workflow.dag`) and before the first job. Neither a dry run nor a job on a
# cluster (--no-hooks) calls it. Of a module it is not called: the importing workflow calls `MODULE.onstart()`.
onstart:
    if not workflow.touch:
        try:
            refuse_future(Path(in_place("results")))
            asked = {job.rule.name for job in workflow.dag.jobs}
            if "publish" in asked and CONFIG["publish"]["repo"] is None:
                raise WorkflowError(
                    "publish.repo is not set: give it as ORGANISATION/NAME."
                )
            # Evaluates the GPUs that each job asks for (rules/helpers/resources.smk), as a dry run does in its list.
            gpus = [job.resources.get("gpu") for job in workflow.dag.needrun_jobs()]
            limit = CONFIG["operation"]["confirm_above_gpu_hours"]
            # The estimate knows rules and results by their own names, which a module's prefixes change.
            jobs = [] if AS_MODULE else None
            if not AS_MODULE and (limit is not None or not workflow.local_exec):
                jobs = planned(workflow.dag, Estimator(CONFIG))
                for caution in too_long(jobs):
                    logger.warning(printable(caution))
                confirm(jobs, limit)
            if any(gpus) and not deploys("conda"):
                check_build(CONFIG["device"])
            # Of jobs on a cluster, Snakemake's own lines say which they are.
            terminal.begin(
                terminal.rules(workflow.dag) if workflow.local_exec else {}
            )
            begin_run()
            run_record.begin(workflow, CONFIG, jobs)
        except (ScaleQuestError, WorkflowError) as error:
            raise WorkflowError(printable(str(error))) from None


onsuccess:
    asked = {job.rule.name for job in workflow.dag.jobs}
    for rule, name in (
        ("build_report", "report.html"),
        ("build_browser", "browser/index.html"),
        ("calibrate", "calibration/calibration.txt"),
    ):
        if rule in asked and not AS_MODULE:
            logger.info(f"To look at it: {Path('results', name).absolute()}")


onerror:
    for line in terminal.last_words():
        logger.error(printable(line))


rule all:
    default_target: True
    input:
        SEED_OVERLAP,
        "results/dataset/manifest.json",
        "results/summary.txt",
        "results/report.html",
        "results/evaluation/table1.csv" if measured(CONFIG) else [],
    localrule: True


rule dataset:
    input:
        SEED_OVERLAP,
        "results/dataset/manifest.json",
        "results/dataset_summary.txt",
    localrule: True


rule stage:
    input:
        [model_manifest(name) for name in model_in_use(CONFIG)],
        [f"results/datasets/{name}.parquet" for name in datasets_in_use(CONFIG)],
        SEED_OVERLAP,
    localrule: True


rule filtered:
    input:
        shards("results/filtered/{generator}/seed{seed}/gpu{gpu}.parquet"),
    localrule: True


# Not part of `all`.
include: "rules/calibration.smk"
# Behind `all`, which it contains.
include: "rules/rehearsal.smk"
