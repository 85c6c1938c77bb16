"""What a generator is asked with."""


def system_prompt(wildcards):
    """The generator's system prompt as a setting, where it has one."""
    text = CONFIG["generators"][wildcards.generator]["system_prompt"]
    return {} if text is None else {"system_prompt": text}
