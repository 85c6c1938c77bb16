"""Renew resources/browser/katex from a release of KaTeX: `python scripts/tools/update_katex.py` (npm is needed).

Only what the sample browser loads is taken: the script, the style sheet, fonts as WOFF2, the licence. The package is
checked against SHA256 before anything of it is used. Another release: change VERSION and SHA256.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scalequest.hashing import file_sha256

VERSION = "0.19.1"
SHA256 = "24da5a599eb2fcede2e270b99a6ff48bca816beecc95feeb84e8cccbd1bb34fd"
FOLDER = Path(__file__).resolve().parents[2] / "resources/browser/katex"
WANTED = re.compile(r"package/(?:dist/)?(LICENSE|katex\.min\.(?:js|css)|fonts/[A-Za-z0-9_-]+\.woff2)")
# The style sheet also names fonts in older formats, which would be looked for where WOFF2 is not read.
OTHER_FONTS = re.compile(r",url\([^)]*\.(?:woff|ttf)\) format\(\"(?:woff|truetype)\"\)")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["npm", "pack", f"katex@{VERSION}"], cwd=name, check=True, stdout=subprocess.DEVNULL)  # noqa: S603, S607
        package = Path(name) / f"katex-{VERSION}.tgz"
        if (found := file_sha256(package)) != SHA256:
            sys.exit(f"katex {VERSION}: the package's SHA-256 is {found}, and not {SHA256}.")
        with tarfile.open(package) as tar:
            for member in tar:
                if not (wanted := WANTED.fullmatch(member.name)):
                    continue
                content = tar.extractfile(member).read()  # type: ignore[union-attr]
                if wanted[1].endswith(".css"):
                    content = OTHER_FONTS.sub("", content.decode()).encode()
                path = FOLDER / wanted[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    (FOLDER / "VERSION").write_text(f"katex {VERSION}, sha256 {SHA256}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
