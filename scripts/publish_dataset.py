"""Publish a run on the Hugging Face hub: dataset, card, manifest, report and browser, in one commit.

Without `dry_run: false` nothing is sent: it is shown what would be, and how the card changes. The token comes from the
environment (HF_TOKEN) and is written nowhere. Files that are there already, with the same content, are not sent again.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.hashing import file_sha256
from scalequest.publishing.leaks import leaks
from scalequest.runtime import job
from scalequest.runtime.printable import printable
from scalequest.settings import read_settings

CARD, BROWSER, TOKEN = "README.md", "browser", "HF_TOKEN"
_MOST = 20


@dataclass(frozen=True)
class Settings:
    """The config's `publish`. `repo` is ORGANISATION/NAME."""

    repo: str | None
    private: bool
    dry_run: bool
    allowed: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """What a commit would do: files to send, by name and path, names to delete, and how many stay as they are."""

    sent: tuple[tuple[str, Path], ...]
    deleted: tuple[str, ...]
    same: int


def files_of(results: Path) -> Iterator[tuple[str, Path]]:
    """Name in the repository and path of each file that is published. Raises ScaleQuestError where one is missing."""
    dataset = sorted(path for path in (results / "dataset").glob("*") if path.is_file() and path.name[0] != ".")
    others = [results / name for name in ("report.html", "profile.json")]
    browser = sorted(path for path in (results / BROWSER).rglob("*") if path.is_file() and path.name[0] != ".")
    if missing := [str(path) for path in [results / "dataset" / CARD, *others, *browser[:1]] if not path.is_file()]:
        raise ScaleQuestError(f"there is no {missing[0]}: make the run first.")
    yield from ((path.name, path) for path in [*dataset, *others])
    yield from ((f"{BROWSER}/{path.relative_to(results / BROWSER)}", path) for path in browser)


def hub(error: Exception, repo: str) -> ScaleQuestError:
    """An error of the hub as a sentence."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return ScaleQuestError(
            f"publish.repo {repo}: the hub refuses the token in {TOKEN} (status {status}). It needs the right to write "
            "to that repository."
        )
    reason = " ".join(str(error).split())[:300]
    return ScaleQuestError(f"publish.repo {repo}: the hub cannot be reached, or refused ({reason}).")


def remote(api: Any, repo: str) -> Any:
    """What the hub knows of the repository, its files included; None where there is none that this token sees."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.dataset_info(repo, files_metadata=True)
    except RepositoryNotFoundError:
        return None


def change(files: Sequence[tuple[str, Path]], there: Any) -> Change:
    """What a commit has to do so that the repository has these files. Other files of it stay, but for the browser's."""
    known = {entry.rfilename: entry for entry in (there.siblings or [] if there else [])}
    sent = tuple((name, path) for name, path in files if name not in known or not _equal(path, known[name]))
    names = {name for name, _ in files}
    deleted = tuple(name for name in sorted(known) if name.startswith(f"{BROWSER}/") and name not in names)
    return Change(sent, deleted, len(files) - len(sent))


def _equal(path: Path, entry: Any) -> bool:
    """Whether the hub has a file's content: by the SHA-256 of a large file, by git's name of a small one."""
    if entry.lfs:
        return bool(entry.lfs.sha256 == file_sha256(path))
    content = path.read_bytes()
    return bool(entry.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest())  # noqa: S324 - git's


def card_lines(api: Any, repo: str, there: Any, card: Path) -> list[str]:
    """How the card changes, as lines of a diff."""
    old = ""
    if there and any(entry.rfilename == CARD for entry in there.siblings or []):
        with tempfile.TemporaryDirectory() as folder:
            path = api.hf_hub_download(repo, CARD, repo_type="dataset", local_dir=folder)
            old = Path(path).read_text(encoding="utf-8")
    new = card.read_text(encoding="utf-8")
    return list(difflib.unified_diff(old.splitlines(), new.splitlines(), "on the hub", "here", lineterm="", n=1))


def say(found: Change, settings: Settings, lines: Sequence[str]) -> None:
    """Show what a commit would do."""
    kind = "private" if settings.private else "public"
    print(f"To the {kind} dataset {settings.repo}: {len(found.sent)} files, {found.same} are there already.")
    for name, path in found.sent[:_MOST]:
        print(f"  send    {path.stat().st_size:12,d}  {name}")
    if len(found.sent) > _MOST:
        print(f"  ... and {len(found.sent) - _MOST} more")
    for name in found.deleted[:_MOST]:
        print(f"  delete                {name}")
    print("The card does not change." if not lines else "The card changes:")
    for line in lines[:200]:
        print(printable(f"  {line}"))


def publish(settings: Settings, results: Path) -> None:
    """Publish, or show what would be. Raises ScaleQuestError as its sentence says."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if not settings.repo:
        raise ScaleQuestError("publish.repo is not set: give it as ORGANISATION/NAME.")
    repo = settings.repo
    files = list(files_of(results))
    if found := list(leaks(files, settings.allowed)):
        raise ScaleQuestError(
            f"nothing was sent, as it would publish what should stay here: {'; '.join(found[:5])}"
            + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
            + ". Remove it, or name a word or path that may be seen, as it stands there, in publish.allowed."
        )
    token = os.environ.get(TOKEN)
    if not token and not settings.dry_run:
        raise ScaleQuestError(f"publish: set {TOKEN} in the environment to a token of the hub that may write.")
    api = HfApi(token=token or False, library_name="scalequest")
    try:
        there = remote(api, repo)
        if there and there.private != settings.private:
            kind = "private" if there.private else "public"
            raise ScaleQuestError(
                f"publish.private is {str(settings.private).lower()}, and {repo} is {kind} on the hub: change either."
            )
        todo = change(files, there)
        say(todo, settings, card_lines(api, repo, there, results / "dataset" / CARD))
        if settings.dry_run:
            print("Nothing was sent. To publish, set publish.dry_run: false.")
            return
        if not todo.sent and not todo.deleted:
            print("Nothing has changed since the last time.")
            return
        if there is None:
            api.create_repo(repo, repo_type="dataset", private=settings.private)
        operations: list[Any] = [CommitOperationAdd(name, path) for name, path in todo.sent]
        operations += [CommitOperationDelete(name) for name in todo.deleted]
        done = api.create_commit(repo, operations, commit_message="Publish a run of ScaleQuest", repo_type="dataset")
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise hub(error, repo) from None
    print(f"Published: {done.commit_url}")


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--results", required=True, type=Path, help="folder of the run's results")
    args = parser.parse_args()
    publish(read_settings(Settings, args.settings), args.results)


if __name__ == "__main__":
    job.run(main, offline=False)
