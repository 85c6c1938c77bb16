"""Publishing to a server that speaks the hub's API: what is sent, what is not sent again, what stops it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fake_hub import TOKEN, FakeHub, Repo, fake_hub
from programs import command
from scalequest.publishing import leaks
from scalequest.rows.published import DATASET
from scalequest.rows.tables import write_table
from scalequest.runtime.files import write_json

CARD = "---\npretty_name: demo\n---\n\n# demo\n"
WANTED = {"repo": "someone/demo", "private": True, "dry_run": False, "allowed": []}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as server:
        yield server


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run's folder, as far as it is published."""
    results = tmp_path / "results"
    dataset = results / "dataset"
    dataset.mkdir(parents=True)
    (dataset / "README.md").write_text(CARD, encoding="utf-8")
    write_json(dataset / "manifest.json", {"rows": 1})
    row: dict[str, Any] = {c.name: None if c.null else "x" for c in DATASET.columns}
    row |= {"sample": 0, "seed": 0, "index": 0, "votes": 1, "samples": 1, "query": "A bus goes to /home/ann/x?"}
    write_table(dataset / "train.parquet", [row], DATASET)
    (dataset / "train.jsonl").write_text("{}\n" * 10_000, encoding="utf-8")
    (results / "report.html").write_text("<!doctype html>", encoding="utf-8")
    write_json(results / "profile.json", {})
    (results / "browser/data").mkdir(parents=True)
    (results / "browser/index.html").write_text("<!doctype html>", encoding="utf-8")
    for name in ("0", "1"):
        (results / f"browser/data/{name}.js").write_text(f"// {name}", encoding="utf-8")
    return tmp_path


@pytest.fixture
def publish(run: Path, hub: FakeHub) -> Callable[..., subprocess.CompletedProcess[str]]:
    def ask(token: str | None = TOKEN, **settings: Any) -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if not key.endswith("_OFFLINE") and key != "HF_TOKEN"}
        # Xet is another protocol, which is not tried.
        env |= {"HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(run / "hf")}
        env |= {"HF_TOKEN": token} if token else {}
        line = command("publish_dataset", {**WANTED, **settings}, results="results", log="publish.log")
        # A process of its own: a forked one has read the environment of the tests, which are offline.
        return subprocess.run(line, env=env, cwd=run, capture_output=True, text=True, check=False)  # noqa: S603

    return ask


def done(result: subprocess.CompletedProcess[str], run: Path) -> str:
    """What was said, after checking that it ended well."""
    said = (run / "publish.log").read_text(encoding="utf-8")
    assert result.returncode == 0, said + result.stderr
    return said


def stopped(result: subprocess.CompletedProcess[str]) -> str:
    """The sentence that it ended with."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.split("error: ", 1)[1]


def test_all_is_sent_in_one_commit_and_again_only_what_changed(run, hub, publish) -> None:
    said = done(publish(), run)
    repo = hub.repos["someone/demo"]
    assert repo.private
    assert len(hub.commits) == 1
    assert set(repo.files) == {
        *("README.md", "manifest.json", "train.parquet", "train.jsonl", "report.html", "profile.json"),
        *("browser/index.html", "browser/data/0.js", "browser/data/1.js"),
    }
    assert repo.large == {"train.parquet", "train.jsonl"}
    assert repo.files["train.parquet"] == (run / "results/dataset/train.parquet").read_bytes()
    assert "To the private dataset someone/demo: 9 files, 0 are there already." in said

    said = done(publish(), run)
    assert "Nothing has changed since the last time." in said
    assert len(hub.commits) == 1

    (run / "results/dataset/README.md").write_text(CARD + "More.\n", encoding="utf-8")
    (run / "results/browser/data/1.js").unlink()
    # What others have put there stays.
    repo.files["notes.md"] = b"mine"
    said = done(publish(), run)
    assert hub.commits[1] == {"sent": ["README.md"], "deleted": ["browser/data/1.js"]}
    assert "  +More." in said
    assert "notes.md" in repo.files


def test_a_dry_run_sends_nothing(run, hub, publish) -> None:
    said = done(publish(dry_run=True, token=None), run)
    assert "9 files, 0 are there already" in said
    assert "  +# demo" in said
    assert "Nothing was sent" in said
    assert hub.repos == {}
    assert [asked for asked in hub.asked if not asked.startswith("GET")] == []


def test_the_token_is_in_no_file(run, hub, publish) -> None:
    done(publish(), run)
    for path in run.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path


def test_a_repository_that_is_seen_by_others_is_refused(run, hub, publish) -> None:
    hub.repos["someone/demo"] = Repo(private=False)
    assert "someone/demo is public on the hub" in stopped(publish())
    assert hub.commits == []
    done(publish(private=False), run)
    assert len(hub.commits) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"repo": None}, "publish.repo is not set"),
        ({"token": None}, "set HF_TOKEN in the environment"),
        ({"token": "hf_wrong"}, "the hub refuses the token in HF_TOKEN"),
    ],
    ids=["no repo", "no token", "a wrong token"],
)
def test_what_is_missing_is_a_sentence(run, hub, publish, settings, said) -> None:
    assert said in stopped(publish(**settings))
    assert hub.commits == []


def test_a_hub_that_fails_is_a_sentence(run, hub, publish) -> None:
    hub.refuses = 403
    assert "the hub refuses the token" in stopped(publish())


def test_an_unfinished_run_is_not_published(run, hub, publish) -> None:
    (run / "results/report.html").unlink()
    assert "there is no results/report.html: make the run first" in stopped(publish())


# ---------------------------------------------------------------- what must stay here


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("dataset/README.md", "hf_" + "A1" * 20, "a token of the Hugging Face hub"),
        ("dataset/manifest.json", "sk-" + "a1" * 20, "an API key"),
        ("dataset/train.jsonl", "-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        ("report.html", "AKIA" + "A1" * 8, "a key of AWS"),
        ("dataset/manifest.json", "/scratch/project/models/x", "a path of a machine"),
    ],
)
def test_what_must_not_be_published_stops_it(run, hub, publish, file, text, said) -> None:
    path = run / "results" / file
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    message = stopped(publish())
    assert said in message
    assert Path(file).name in message
    # No secret is shown in full.
    assert text[:6] in message
    assert text not in message or len(text) < 32
    assert hub.asked == []


def test_names_of_this_machine_and_user_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-node-17")
    monkeypatch.setattr(socket, "getfqdn", lambda: "gpu-node-17.example.org")
    monkeypatch.setattr(leaks, "_user", lambda: "mmustermann")
    monkeypatch.setenv("HOME", "/data/people/mmustermann")
    monkeypatch.setenv("MY_API_KEY", "abcdefgh12345")
    monkeypatch.chdir(tmp_path)
    texts = {
        **{"a.md": "made on gpu-node-17", "b.md": "by mmustermann", "c.md": "in /data/people/mmustermann/x"},
        **{"d.jsonl": "with abcdefgh12345", "e.md": f"in {tmp_path}", "f.md": "gpu-node-171 and mmustermann2"},
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = list(leaks.leaks([(name, tmp_path / name) for name in texts]))
    assert {sentence.split()[0] for sentence in found} == {"a.md", "b.md", "c.md", "d.jsonl", "e.md"}
    assert any("the value of MY_API_KEY" in sentence for sentence in found)
    assert not any("abcdefgh12345" in sentence for sentence in found)


def test_common_names_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    monkeypatch.setattr(leaks, "_user", lambda: "root")
    names = leaks.own_names()
    assert "your user name" not in names
    assert "this machine's name" not in names


def test_a_name_that_is_a_word_is_not_looked_for_in_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "theta")
    monkeypatch.setattr(leaks, "_user", lambda: "theta01")
    for name in ("train.jsonl", "README.md"):
        (tmp_path / name).write_text(r"$\theta$ by theta01", encoding="utf-8")
    found = "; ".join(leaks.leaks([(name, tmp_path / name) for name in ("train.jsonl", "README.md")]))
    assert "train.jsonl has this machine's name" not in found
    assert "README.md has this machine's name" in found
    assert "train.jsonl has your user name" in found


@pytest.mark.parametrize(
    "path",
    ["path:/data/alice/models/x", "/gpfs01/u/x", '"/nfs/home/x/y"', "/fs/ess/P1/x", "in /cluster/home/u.", "(/a/b/c)"],
)
def test_paths_of_clusters_are_found_outside_of_rows(tmp_path: Path, path: str) -> None:
    (tmp_path / "manifest.json").write_text(path, encoding="utf-8")
    for name in ("manifest.json", leaks.REPORT):
        (found,) = leaks.leaks([(name, tmp_path / "manifest.json")])
        assert f"{name} has a path of a machine" in found
    assert list(leaks.leaks([("train.jsonl", tmp_path / "manifest.json")])) == []


@pytest.mark.parametrize(
    "text", ["https://a.org/b/c/d", "models/staged/a/b", "km/h/s/m", "</a></b>", "1/2/3/4", "//a/b"]
)
def test_what_is_no_path_of_a_machine(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert list(leaks.leaks([("README.md", tmp_path / "README.md")])) == []


def test_what_is_allowed_is_sent_and_a_secret_never(run, hub, publish, monkeypatch: pytest.MonkeyPatch) -> None:
    value = 'p"ss\\w0rd&x'
    monkeypatch.setenv("MY_SECRET", value)
    manifest = run / "results/dataset/manifest.json"
    manifest.write_text(json.dumps({"source": "path:/data/of/all"}), encoding="utf-8")
    assert "has a path of a machine: " in stopped(publish())
    assert "Published" in done(publish(allowed=["/data/of/all"]), run)
    manifest.write_text(json.dumps({"source": value}), encoding="utf-8")
    assert "has the value of MY_SECRET" in stopped(publish(allowed=[value, json.dumps(value)[1:-1]]))


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.large_list(pa.string())]
)
def test_secrets_are_found_in_columns_of_every_kind(tmp_path: Path, kind: pa.DataType) -> None:
    secret = "glpat-" + "a1" * 12
    value = [secret] if pa.types.is_large_list(kind) else secret
    pq.write_table(pa.table({"text": pa.array([value], kind)}), tmp_path / "chat.parquet")
    (found,) = leaks.leaks([("chat.parquet", tmp_path / "chat.parquet")])
    assert "a token of GitLab" in found


def test_blocks_of_the_browser_are_unpacked(tmp_path: Path) -> None:
    from scalequest.publishing.browser_data import Writer

    Writer(tmp_path).block("questions/0", [["hf_" + "A1" * 20]])
    [found] = leaks.leaks([("browser/data/questions/0.js", tmp_path / "questions/0.js")])
    assert "a token of the Hugging Face hub" in found


def test_the_finished_files_of_a_real_run_may_be_published(run: Path) -> None:
    """Our own pages and licences have nothing that is looked for."""
    from conftest import ROOT

    shutil.copytree(ROOT / "resources/browser", run / "page")
    files = [(f"browser/{path.name}", path) for path in (run / "page").rglob("*") if path.is_file()]
    assert list(leaks.leaks(files)) == []


def test_secrets_are_found_in_the_messages_of_a_table(tmp_path: Path) -> None:
    secret = "hf_" + "a" * 40
    rows = [{"messages": [{"role": "user", "content": text}]} for text in ("Hello", secret)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "chat.parquet")
    (found,) = leaks.leaks([("chat.parquet", tmp_path / "chat.parquet")])
    assert "a token of the Hugging Face hub" in found
