"""Superset's REST API as its own pages use it."""

import json
import os
import pathlib
import subprocess
import urllib.error
import urllib.request
import uuid

from processes import REPOSITORY

SERVICE = REPOSITORY / "tests/services/superset.sh"


class Superset:
    def __init__(self, address):
        self.address = address
        log_in = {"username": "admin", "password": "admin", "provider": "db"}
        self.headers = {"Content-Type": "application/json"}
        self.headers["Authorization"] = "Bearer " + self.post("security/login", log_in)["access_token"]
        # What the page that adds a database asks first; it loads the drivers that there are.
        self.get("database/available/")

    def get(self, path):
        return self._call("GET", path)

    def post(self, path, body):
        return self._call("POST", path, json.dumps(body).encode())

    def upload(self, path, name, content, fields):
        """A multipart form with one file."""
        boundary = uuid.uuid4().hex
        parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode() for key, value in fields.items()]
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}.zip"\r\n\r\n'.encode())
        body = b"".join([*parts, content, f"\r\n--{boundary}--\r\n".encode()])
        return self._call("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def delete(self, path):
        return self._call("DELETE", path)

    def _call(self, method, path, body=None, headers=None):
        request = urllib.request.Request(f"{self.address}/api/v1/{path}", body, self.headers | (headers or {}), method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()[:2000]}") from None

    def create_database(self, uri):
        name = f"lake {uuid.uuid4()}"
        self.post("database/test_connection/", {"sqlalchemy_uri": uri, "database_name": name})
        return self.post("database/", {"database_name": name, "sqlalchemy_uri": uri, "expose_in_sqllab": True})["id"]

    def create_dataset(self, database, table, schema="gold"):
        return self.post("dataset/", {"database": database, "schema": schema, "table_name": table})["id"]

    def sql_lab(self, database, sql, schema="gold"):
        body = {"database_id": database, "sql": sql, "schema": schema, "client_id": uuid.uuid4().hex[:11], "runAsync": False, "queryLimit": 1000}
        return self.post("sqllab/execute/", body)

    def chart_data(self, dataset, query):
        body = {"datasource": {"id": dataset, "type": "table"}, "force": True, "queries": [query], "result_format": "json", "result_type": "full"}
        (result,) = self.post("chart/data", body)["result"]
        return result


def start(folder, package_path=None):
    """Superset on a folder of its own, with a package under test before its own ones if told."""
    env = os.environ | ({"SUPERSET_PATH": str(package_path)} if package_path else {})
    done = subprocess.run([SERVICE, "start", folder], capture_output=True, text=True, env=env, timeout=900)
    assert done.returncode == 0, done.stderr
    return Superset(done.stdout.strip())


def stop(folder):
    subprocess.run([SERVICE, "stop", pathlib.Path(folder)], check=True, timeout=60)
