"""Add an ordinary user to MLflow, with a random password that is printed once.

``docker compose -f infra/compose.yaml exec mlflow python /add_user.py NAME``. Users read everything
and change what they made themselves; see MLflow's documentation for more rights.
"""

import os
import secrets
import sys

import requests


def main(name: str, server: str = "http://127.0.0.1:5000") -> None:
    """Ask the server for it, as the administrator of this container's environment.

    Args:
        name: of the user.
        server: its address.
    """
    password = secrets.token_hex(16)
    answer = requests.post(
        f"{server}/api/2.0/mlflow/users/create",
        json={"username": name, "password": password},
        auth=(os.environ["MLFLOW_AUTH_ADMIN_USERNAME"], os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"]),
        timeout=60,
    )
    if answer.status_code != 200:
        sys.exit(f"error: {name} was not added: {answer.text}")
    print(f"MLFLOW_TRACKING_USERNAME={name}\nMLFLOW_TRACKING_PASSWORD={password}")


if __name__ == "__main__":
    main(*sys.argv[1:])
