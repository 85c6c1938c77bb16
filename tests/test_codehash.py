"""The code hash sees what a script reaches, and not how it is written down."""

from __future__ import annotations

import pytest

from scalequest import codehash

SCRIPT = '"""Doc."""\nfrom lib import helper\n\ndef main():\n    """Say."""\n    return helper.f(1)\n'
HELPER = "def f(x):\n    return x + 1\n"


def hash_of(tmp_path, script=SCRIPT, helper=HELPER, unrelated="y = 1\n"):
    codehash._parse.cache_clear()
    (tmp_path / "lib").mkdir(exist_ok=True)
    (tmp_path / "lib" / "__init__.py").write_text("")
    (tmp_path / "lib" / "helper.py").write_text(helper)
    (tmp_path / "lib" / "unrelated.py").write_text(unrelated)
    (tmp_path / "stage.py").write_text(script)
    return codehash.code_hash(tmp_path / "stage.py")


@pytest.mark.parametrize(
    "change",
    [
        {"script": SCRIPT.replace("Say.", "Say more, at length.")},
        {"script": SCRIPT.replace("Doc.", "Another docstring.")},
        {"script": "# a comment\n" + SCRIPT},
        {"helper": "def f( x ):  # why\n\n    return x+1\n"},
        {"helper": 'def f(x):\n    """Now with words."""\n    return x + 1\n'},
        {"unrelated": "y = 2\n"},
    ],
)
def test_words_and_layout_change_nothing(tmp_path, change):
    assert hash_of(tmp_path) == hash_of(tmp_path, **change)


@pytest.mark.parametrize(
    "change", [{"script": SCRIPT.replace("f(1)", "f(2)")}, {"helper": HELPER.replace("+ 1", "+ 2")}]
)
def test_code_at_any_depth_counts(tmp_path, change):
    assert hash_of(tmp_path) != hash_of(tmp_path, **change)
