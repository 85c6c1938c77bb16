"""Settings are frozen for a run: a job that meets another config refuses."""

from __future__ import annotations

import pytest

from scalequest.errors import ScaleQuestError
from scalequest.freeze import freeze


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALEQUEST_FROZEN_CONFIG", "")
    freeze("as it was", main_process=True)


def test_a_job_of_the_same_config_goes_on():
    freeze("as it was", main_process=False)


def test_a_job_that_meets_an_edited_config_refuses():
    with pytest.raises(ScaleQuestError, match="the config was edited while this run was going on"):
        freeze("edited", main_process=False)


def test_a_new_run_takes_the_new_config():
    freeze("edited", main_process=True)
    freeze("edited", main_process=False)
