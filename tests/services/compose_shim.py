"""Stands in for `docker compose` in backup.sh and restore.sh: the very commands, but run here.

``python compose_shim.py STATE -f FILE exec|run|ps …``; STATE is what `shim` below wrote.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def shim(stack, root: Path) -> str:
    """A value of COMPOSE that leads to these services."""
    state = {
        "local": {"PGHOST": str(stack.database), "PGPORT": str(stack.postgres_port)},
        "bin": str(stack.postgres_bin),
        "running": list(stack.running),
        "commands": {name: stack.command(name, "--") for name in ("bucket", "mlflow")},
        "environments": {name: stack.environment(name) for name in ("bucket", "mlflow")},
    }
    path = root / "state.json"
    path.write_text(json.dumps(state))
    return f"{sys.executable} {__file__} {path}"


def main(path: str, _f: str, _file: str, action: str, *rest: str) -> int:
    state = json.loads(Path(path).read_text())
    if action == "ps":
        print("\n".join(set(state["running"]) & set(rest)))
        return 0
    service, *arguments = [r for r in rest if r not in ("-T", "--rm", "--no-deps")]
    if action == "exec":
        assert service == "postgres", service
        program, *own = arguments
        command = [f"{state['bin']}/{program}", *own]
        return subprocess.call(command, env=os.environ | state["local"])
    assert action == "run", action
    entrypoint = state["commands"][service][:-1]
    return subprocess.call([*entrypoint, *arguments], env=state["environments"][service])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
