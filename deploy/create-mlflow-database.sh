#!/bin/sh
# Run once by the postgres image, on an empty volume: MLflow gets its own database and cannot read the studies' ledger.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set password="$(cat /run/secrets/mlflow_db_password)" <<'SQL'
CREATE ROLE mlflow LOGIN PASSWORD :'password';
CREATE DATABASE mlflow OWNER mlflow;
REVOKE CONNECT ON DATABASE study FROM PUBLIC;
SQL
