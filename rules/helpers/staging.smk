"""Which files and settings a staged model or data set is made from."""

from scalequest.hashing import digest
from scalequest.llm.sources import source_files
from scalequest.runtime.files import find_path


def data_files_of(name):
    """The files that a data set's `path:` source names, by their names within it."""
    source = CONFIG["datasets"][name]["source"]
    if not source.startswith("path:"):
        return {}
    path = find_path(source.removeprefix("path:"))
    files = source_files(path) if path.exists() else [path]
    return {str(file.relative_to(path)): file for file in files}


# An error here is one sentence; in an input function it would be a traceback.
if workflow.is_main_process:
    for name in datasets_in_use(CONFIG):
        try:
            data_files_of(name)
        except ScaleQuestError as error:
            raise WorkflowError(printable(f"datasets.{name}.source: {error}")) from None


def known_by_content(file):
    """Whether a file counts by its hash in params. Others are inputs. So a moved checkout reruns nothing, and a brace in a
    path is no wildcard."""
    return file.is_relative_to(CHECKOUT) or "{" in str(file)


def data_source(wildcards):
    """The files of a data set that are inputs."""
    files = data_files_of(wildcards.dataset).values()
    return sorted(str(file) for file in files if not known_by_content(file))


def data_hash(wildcards):
    """Hash of a data set's files that are no inputs; empty without such files."""
    hashes = {
        name: file_sha256(file)
        for name, file in data_files_of(wildcards.dataset).items()
        if known_by_content(file) and file.is_file()
    }
    return digest(hashes) if hashes else ""


def model_settings(wildcards):
    return settings(
        **pick(
            CONFIG["models"][wildcards.model], "source", "sha256", "trust_remote_code"
        )
    )


def staged_folder(wildcards):
    """Folder of a staged model's weights: another source under the same name is another one."""
    source = digest(CONFIG["models"][wildcards.model]["source"])[:8]
    return f"{wildcards.model}-{source}"


def data_settings(wildcards):
    dataset = CONFIG["datasets"][wildcards.dataset]
    return settings(
        **pick(dataset, "source", "fields", "facts", "where", "max_rows", "on_bad_row"),
        domain=DOMAIN,
    )
