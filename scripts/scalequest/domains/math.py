"""Mathematics: problems with one final answer, which is compared by value."""

from __future__ import annotations

from scalequest.domains.base import Domain
from scalequest.grading.graders import GRADERS

DOMAIN = Domain("math", tuple(GRADERS.values()), facts=("answer_type", "unit", "error"))
