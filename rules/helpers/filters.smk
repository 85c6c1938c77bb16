"""What each filter looks for, and what the filters before it found."""

# Filters that are a rule of their own; all others see texts alone and share one.
TEXT_FILTERS = [
    name
    for name in CONFIG["filters"]
    if name not in ("order", "duplicates", "difficulty", "solvability")
]
# Fail rates of the questions: predicted, or measured by the solvers.
FAIL_RATES = (
    "results/filters/pass_rates"
    if difficulty_by(CONFIG) == "pass_rate"
    else "results/filters/difficulty"
)


def filters_before(name):
    """By what the filters before one of them (or all, for None) decide, in their order: no model, no prompt."""
    keys = {"solvability": ["action", "min_probability"]}
    return [
        {"name": f} | pick(CONFIG["filters"][f], *keys.get(f, ["action"]))
        for f in active_filters(name)
    ]


def evidence_before(name):
    """A function from wildcards to the files with the findings of the filters before one of them (or all, for None)."""
    active = active_filters(name)

    def files(wildcards):
        place = f"{wildcards.generator}/seed{wildcards.seed}"
        text = (
            [f"results/filters/text/{place}/gpu{wildcards.gpu}.parquet"]
            if set(active) & set(TEXT_FILTERS)
            else []
        )
        duplicates = (
            [f"results/filters/duplicates/seed{wildcards.seed}.parquet"]
            if "duplicates" in active
            else []
        )
        found = {"verdicts": text + duplicates} if text or duplicates else {}
        if "difficulty" in active:
            found["scores"] = f"{FAIL_RATES}/{place}/gpu{wildcards.gpu}.parquet"
            found["cut"] = f"results/filters/cuts/{place}.json"
        if "solvability" in active:
            found["judgements"] = (
                f"results/filters/solvability/{place}/gpu{wildcards.gpu}.parquet"
            )
        return found

    return files


def evidence_arguments(wildcards, input):
    """The files of `evidence_before` as command-line options. Paths are made of names without spaces."""
    names = [
        name
        for name in ("verdicts", "scores", "cut", "judgements")
        if name in input.keys()
    ]
    return " ".join(f"--{name} {input[name]}" for name in names)


def forbidden_benchmarks():
    """The benchmarks that questions must not repeat; none where the filter is off."""
    enabled = CONFIG["filters"]["contamination"]["enabled"]
    return CONFIG["use"]["benchmarks"] if enabled else []


def text_settings():
    """The settings of the text filters: what each looks for, without the action that follows."""
    filters = CONFIG["filters"]
    parts = {
        name: {key: value for key, value in filters[name].items() if key != "action"}
        for name in TEXT_FILTERS
    }
    contamination = parts.pop("contamination")
    signature = pick(filters["duplicates"], "enabled", "shingle", "permutations")
    return settings(
        wanted=CONFIG["dataset"]["language"],
        duplicates=signature,
        # Of items that a question covers equally, the first is named.
        benchmarks=forbidden_benchmarks(),
        contamination=contamination,
        texts={name: parts[name] for name in parts if name in active_filters()},
    )


def text_code():
    """Hash of the code of the filters of texts, of which each is a module found by its name."""
    names = [name for name in active_filters() if name in TEXT_FILTERS]
    return code("filter_text", *(f"scalequest/filters/{name}.py" for name in names))


def duplicate_settings():
    return {
        key: value
        for key, value in CONFIG["filters"]["duplicates"].items()
        if key != "action"
    }


def dropping_text_filters():
    """The text filters that drop rows before duplicates are searched: a dropped row is nobody's original."""
    before = active_filters("duplicates")
    return [
        name
        for name in TEXT_FILTERS
        if name in before and CONFIG["filters"][name]["action"] == "drop"
    ]


def seed_shards(pattern, wildcards):
    """A path for each shard of one sampling seed: of the wildcards' generator, or of all generators."""
    generators = (
        [wildcards.generator] if "generator" in wildcards.keys() else GENERATORS
    )
    return [
        pattern.format(generator=generator, seed=wildcards.seed, gpu=gpu)
        for generator in generators
        for gpu in SHARDS
    ]


def seed_verdicts(wildcards):
    return seed_shards(
        "results/filters/text/{generator}/seed{seed}/gpu{gpu}.parquet", wildcards
    )


def seed_signatures(wildcards):
    return seed_shards(
        "results/filters/signatures/{generator}/seed{seed}/gpu{gpu}.parquet", wildcards
    )


def seed_scores(wildcards):
    place = f"{wildcards.generator}/seed{wildcards.seed}"
    return [f"{FAIL_RATES}/{place}/gpu{gpu}.parquet" for gpu in SHARDS]


def earlier_kept(wildcards):
    """What the sampling seeds before this one kept."""
    before = SEEDS[: SEEDS.index(int(wildcards.seed))]
    return [f"results/filters/kept/seed{seed}.parquet" for seed in before]


def judge_settings(filters):
    """The settings of the solvability filter's judge; `filters` decide which questions it sees."""
    judge = CONFIG["filters"]["solvability"]
    return settings(
        judge=pick(judge, "verdict", "reasoning_tokens"),
        filters=filters,
        engine=engine(judge["model"], "judge_questions"),
        domain=DOMAIN,
        max_unparsed=judge["max_unparsed"],
    )


def judge_prompts():
    """The prompts that the judge of the solvability filter uses, as `prompt`."""
    if CONFIG["filters"]["solvability"]["reasoning_tokens"]:
        return prompt("judge_solvability.txt", "judge_verdict.txt")
    return prompt("judge_solvability_direct.txt", "judge_examples.jsonl")
