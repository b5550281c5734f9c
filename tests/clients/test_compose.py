"""docker-compose.yml without containers: every role's command and settings, as processes against the real Kafka and S3.

Only addresses are replaced: the service names by where the two really listen, the published port by a free one, the lake's
prefix by a fresh one.
"""

import os
import pathlib
import re
import subprocess
import uuid

import adbc_driver_flightsql.dbapi
import deltalake
import pytest
import yaml

from processes import BINARY, REPOSITORY, Role, clean_env, free_port, run, wait_for

ROLES = ["produce", "ingest", "run", "serve"]
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]


LOGIN = COMPOSE["users"]["environment"]


@pytest.fixture
def addresses(tmp_path):
    """Compose's names -> the test's; fails, and never skips, where the services are missing."""
    return {
        "http://s3:8333": os.environ["TICKLAKE_TEST_S3_ENDPOINT"],
        "kafka:9092": os.environ["TICKLAKE_TEST_KAFKA"],
        "0.0.0.0:50051": f"0.0.0.0:{free_port()}",
        "s3://ticklake/lake": f"s3://ticklake/{uuid.uuid4()}",
        "/var/lib/ticklake": str(tmp_path),
    }


def replaced(text, addresses):
    for old, new in addresses.items():
        text = text.replace(old, new)
    return text


def test_roles_make_bars_and_drain(tmp_path, addresses):
    roles = {}
    env = {}
    make_the_user(addresses)
    try:
        for name in ROLES:
            service = COMPOSE[name]
            env = {key: replaced(value, addresses) for key, value in service["environment"].items()}
            command = [replaced(word, addresses) for word in service["command"]]
            roles[name] = Role(command, tmp_path / f"{name}.log", env)
        bars_appear(addresses["0.0.0.0:50051"].replace("0.0.0.0", "127.0.0.1"), roles)
        for name, role in roles.items():
            assert role.drain(seconds(COMPOSE[name]["stop_grace_period"])) == 0, role.tail()
    finally:
        for role in roles.values():
            role.kill()

    # What the feed left in Kafka is brought through by the same commands, run once.
    run("ingest", "--until-latest", env=env)
    run("refresh", env=env)
    every_record_is_in_a_bar(addresses)


def make_the_user(addresses):
    service = COMPOSE["users"]
    script = replaced(service["command"][0].replace("$$", "$"), addresses)
    env = clean_env(service["environment"])
    env["PATH"] = f"{pathlib.Path(BINARY).resolve().parent}:{env['PATH']}"
    for _ in range(2):
        subprocess.run([*service["entrypoint"], script], check=True, env=env, timeout=60)


def bars_appear(address, roles):
    login = {"username": LOGIN["TICKLAKE_QUERY__USER"], "password": LOGIN["TICKLAKE_QUERY__PASSWORD"]}

    def trades():
        with adbc_driver_flightsql.dbapi.connect(f"grpc://{address}", login, autocommit=True) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SELECT sum(trade_count) FROM gold.ohlcv_1m")
                return cursor.fetchone()[0] or 0

    first = wait_for(trades, "bars", watch=roles.values())
    wait_for(lambda: trades() > first, "newer bars", watch=roles.values())


def every_record_is_in_a_bar(addresses):
    storage = {
        "aws_endpoint": addresses["http://s3:8333"],
        "aws_access_key_id": COMPOSE["s3"]["environment"]["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": COMPOSE["s3"]["environment"]["AWS_SECRET_ACCESS_KEY"],
        "aws_allow_http": "true",
        "aws_region": "us-east-1",
    }

    def column(table, name):
        uri = f"{addresses['s3://ticklake/lake']}/{table}"
        return deltalake.DeltaTable(uri, storage_options=storage).to_pyarrow_table(columns=[name])[name]

    records = len(column("bronze/trades", "offset"))
    assert records > 0
    assert len(column("silver/trades", "trade_id")) == records
    assert sum(column("gold/ohlcv_1m", "trade_count").to_pylist()) == records


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


def test_ports_are_published_on_loopback_only():
    published = [port for service in COMPOSE.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published), published


def test_images_are_pinned():
    for name, service in COMPOSE.items():
        assert "build" in service or re.search(r":\d+\.\d+", service["image"]), name
