"""The domain: its module, whose code counts, and its prompts."""

DOMAIN = CONFIG["domain"]
DOMAIN_CODE = f"scalequest/domains/{DOMAIN}.py"
PROMPTS = ROOT / "resources" / "domains" / DOMAIN / "prompts"


def prompt(*names):
    """A function that hashes prompt files for a rule's params, once a job needs them: not every domain has all."""

    def hashes(wildcards):
        missing = [name for name in names if not (PROMPTS / name).is_file()]
        if missing:
            raise WorkflowError(
                f"the domain '{DOMAIN}' has no prompt {missing[0]}: write {PROMPTS / missing[0]}, or choose another domain."
            )
        return [file_sha256(PROMPTS / name) for name in names]

    return hashes
