"""Which models answer known problems in a rehearsal, and how many."""

from scalequest.config.selectors import answering
from scalequest.workflow.rehearsal import ROWS
