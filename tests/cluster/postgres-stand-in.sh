#!/bin/sh
# The part of the official postgres image's entry point on which docker-compose.yml relies: a new data folder is set up
# with POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD_FILE, and the scripts of /docker-entrypoint-initdb.d run against a
# server that listens on its socket alone.
set -eu
export PGDATA=/var/lib/postgresql/data
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Docker may still count the volume as new if this is cut off, so nothing is left half done.
    rm -rf "$PGDATA"/*
    initdb --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" --auth-local trust --auth-host scram-sha-256 \
        --encoding UTF8 --locale C.UTF-8
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options "-c listen_addresses=''" start
    [ "$POSTGRES_DB" = postgres ] || createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
    for script in /docker-entrypoint-initdb.d/*; do
        sh "$script"
    done
    pg_ctl --wait --mode fast stop
fi
exec postgres -c listen_addresses='*'
