"""A server that asks for a log-in over TLS, with an authority of its own."""

import pathlib
import socket
import ssl
import subprocess

from processes import Role, free_port, run, wait_for

EXTENSIONS = "subjectAltName={names}\nbasicConstraints=CA:false\n"


class Guarded:
    """`ticklake serve` over `lake`, for the user alice, who may read gold alone."""

    password = "correct-horse"

    def __init__(self, lake, folder):
        self.folder = pathlib.Path(folder)
        self.authority, self.authority_key = self._authority()
        self._certify("server", "IP:127.0.0.1,DNS:localhost")
        self.users = self.folder / "users.toml"
        file = ["--users-file", str(self.users)]
        self.users.touch(mode=0o600)
        self.users.write_text('[roles.analyst]\nschemas = ["gold"]\n')
        run("user", "add", "alice", "--role", "analyst", *file, stdin=f"{self.password}\n")
        self.token = run("token", "create", "alice", *file).decode().strip()
        self.address = f"127.0.0.1:{free_port()}"
        tls = ["--tls-cert", self._path("server.pem"), "--tls-key", self._path("server.key"), "--tls-client-ca", str(self.authority)]
        serve = ["serve", "--lake", str(lake), "--flight-addr", self.address, "--signing-key-file", self._signing_key(), *file, *tls]
        self.server = Role(serve, self.folder / "serve.log")
        wait_for(self.serial, "certificate of the server", watch=[self.server])

    def certificate(self, user):
        """Paths of a certificate that names `user`, and of its key."""
        return self._certify(user, f"DNS:{user}")

    def renew(self):
        self._certify("server", "IP:127.0.0.1,DNS:localhost")

    def serial(self):
        """Number of the certificate that the server shows."""
        context = ssl.create_default_context(cafile=str(self.authority))
        host, port = self.address.split(":")
        with socket.create_connection((host, int(port)), 5) as plain, context.wrap_socket(plain, server_hostname=host) as secured:
            return secured.getpeercert()["serialNumber"]

    def wait_for_serial(self, condition):
        wait_for(lambda: condition(self.serial()), "new certificate", watch=[self.server])

    def _path(self, name):
        return str(self.folder / name)

    def _signing_key(self):
        key = self.folder / "signing.key"
        key.touch(mode=0o600)
        key.write_text("5a" * 32)
        return str(key)

    def _authority(self):
        certificate, key = self._path("ca.pem"), self._path("ca.key")
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Test Authority", "-days", "2", "-keyout", key, "-out", certificate)
        return pathlib.Path(certificate), key

    def _certify(self, name, names):
        request, partial = self._path(f"{name}.csr"), self._path(f"{name}.partial")
        certificate, key = self._path(f"{name}.pem"), self._path(f"{name}.key")
        new_key = [] if pathlib.Path(key).exists() else ["-newkey", "rsa:2048", "-keyout", key]
        openssl("req", *(new_key or ["-new", "-key", key]), "-nodes", "-subj", f"/CN={name}", "-out", request)
        extensions = pathlib.Path(self._path(f"{name}.ext"))
        extensions.write_text(EXTENSIONS.format(names=names))
        signed = ["-CA", str(self.authority), "-CAkey", self.authority_key, "-days", "2", "-extfile", str(extensions)]
        openssl("x509", "-req", "-in", request, *signed, "-CAcreateserial", "-out", partial)
        # Replaced whole, as certificate tools do.
        return pathlib.Path(partial).replace(certificate), pathlib.Path(key)


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
