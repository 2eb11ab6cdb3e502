"""``driver FILE ARGUMENT…``: ``llmclf``, and in a file how its containers were at their end."""

import json
import sys
from pathlib import Path

from pipelines import containers
from pipelines.cli import main

file = Path(sys.argv.pop(1))
seen = []
remove = containers._remove


def look_and_remove(container):
    container.reload()
    seen.append(container.attrs)
    remove(container)


containers._remove = look_and_remove
try:
    main()
finally:
    file.write_text(json.dumps(seen))
