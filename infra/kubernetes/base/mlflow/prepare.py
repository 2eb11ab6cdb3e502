"""Make the stores ready for the MLflow server: schema, accounts, bucket.

Runs before every start of the server and changes nothing that is as it should be. Replicas take
turns, by a lock in the database.
"""

import os

import sqlalchemy
from bucket import check_endpoint, make_bucket
from mlflow.db import commands as tracking
from mlflow.server.auth import auth_config, store
from mlflow.server.auth.db.cli import commands as accounts
from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry

DATABASE = os.environ["MLFLOW_BACKEND_STORE_URI"]
LOCK = 5_105_000_1  # any number that nobody else uses in this database


def upgrade_schema() -> None:
    """Create the tables, or bring those of an older MLflow up to date."""
    # `mlflow db upgrade` and `python -m mlflow.server.auth db upgrade`, for one import of MLflow.
    tracking.main(["upgrade", DATABASE], standalone_mode=False)
    accounts.main(["upgrade", "--url", auth_config.database_uri], standalone_mode=False)


def set_password(name: str, password: str, is_admin: bool) -> None:
    """Create the account, or give it the password that the Secret has now."""
    if not store.has_user(name):
        store.create_user(name, password, is_admin=is_admin)
        print(f"created the account {name}")
    elif not store.authenticate_user(name, password):
        store.update_user(name, password=password)
        print(f"changed the password of the account {name}")


def main() -> None:
    """Do all three."""
    check_endpoint()
    with create_sqlalchemy_engine_with_retry(DATABASE).connect() as connection:
        connection.execute(sqlalchemy.text(f"select pg_advisory_lock({LOCK})"))
        upgrade_schema()
        store.init_db(auth_config.database_uri)
        set_password(auth_config.admin_username, auth_config.admin_password, is_admin=True)
        set_password(os.environ["STEPS_USERNAME"], os.environ["STEPS_PASSWORD"], is_admin=False)
    make_bucket()


if __name__ == "__main__":
    main()
