#!/bin/sh
# Run once by the postgres image, on an empty volume: the ledger and MLflow each get a database, and a role that owns it
# and may do nothing else. The superuser `postgres` is for people: docker compose exec db psql --username postgres
set -eu
# psql reads the passwords itself, because command lines are seen by others.
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\set study `cat /run/secrets/study_db_password`
\set mlflow `cat /run/secrets/mlflow_db_password`
CREATE ROLE study LOGIN PASSWORD :'study';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE DATABASE study OWNER study;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE CONNECT ON DATABASE study, mlflow, postgres, template1 FROM PUBLIC;
SQL
