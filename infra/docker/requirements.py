"""Print what the image needs of other packages: ``requirements.py pyproject.toml [EXTRA ...]``."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text("utf-8"))["project"]
wanted = project["dependencies"]
for extra in sys.argv[2:]:
    wanted = wanted + project["optional-dependencies"][extra]
print("\n".join(wanted))
