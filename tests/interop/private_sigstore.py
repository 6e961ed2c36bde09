"""A private Sigstore on loopback: the real servers, and around them what they need of the world.

    private_sigstore.py FOLDER TOOLS -- COMMAND...

Starts fulcio (certificates), rekor-server-posix (the log, version 2) and timestamp-server (RFC 3161)
out of TOOLS, and in this process an OIDC issuer and a log of certificates, each on a free port of
127.0.0.1. Writes into FOLDER:

    trusted_root.json  signing_config.json  client_trust_config.json    what clients are given
    token  other-token                                                  identity tokens, one an identity
    identity  other-identity  issuer                                    what they say

and runs COMMAND with those. Everything ends with the command, whose exit code is ours. Keys are made
afresh and are worth nothing.

Sources: fulcio, rekor-tiles, timestamp-authority (their flags); RFC 6962, section 3.2 (SCT);
C2SP signed-note (key id of the log); protobuf-specs, sigstore_trustroot.proto.
"""

import base64
import datetime
import hashlib
import http.server
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

IDENTITY = "builder@kiln.example"
OTHER = "somebody@else.example"
AUDIENCE = "sigstore"
PASSWORD = b"on loopback only"
ORIGIN = "log.kiln.example"


def b64(raw):
    return base64.b64encode(raw).decode()


def b64url(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def spki(key):
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def pem(key, password=None):
    locked = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)


class Issuer:
    """An OIDC issuer: its discovery document, its key, and tokens for whoever holds this object."""

    def __init__(self, url):
        self.url = url
        self.key = rsa.generate_private_key(65537, 2048)
        numbers = self.key.public_key().public_numbers()
        size = lambda number: number.to_bytes((number.bit_length() + 7) // 8, "big")
        self.jwks = {
            "keys": [
                {
                    "kty": "RSA",
                    "alg": "RS256",
                    "use": "sig",
                    "kid": "1",
                    "n": b64url(size(numbers.n)),
                    "e": b64url(size(numbers.e)),
                }
            ]
        }
        self.discovery = {
            "issuer": url,
            "jwks_uri": f"{url}/keys",
            "authorization_endpoint": f"{url}/auth",
            "token_endpoint": f"{url}/token",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def token(self, email):
        now = int(time.time())
        header = {"alg": "RS256", "kid": "1", "typ": "JWT"}
        claims = {
            "iss": self.url,
            "sub": email,
            "aud": AUDIENCE,
            "email": email,
            "email_verified": True,
            "iat": now - 5,
            "exp": now + 3600,
        }
        signed = ".".join(b64url(json.dumps(part).encode()) for part in (header, claims))
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{b64url(signature)}"


class CertificateLog:
    """A log of certificates, as far as a certificate authority sees it: it signs what it is shown."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = hashlib.sha256(spki(self.key.public_key())).digest()

    def add_pre_chain(self, chain):
        leaf, issuer = (x509.load_der_x509_certificate(base64.b64decode(one)) for one in chain[:2])
        tbs = without_poison(leaf)
        now = int(time.time() * 1000)
        issuer_hash = hashlib.sha256(spki(issuer.public_key())).digest()
        # digitally-signed struct of RFC 6962, 3.2: version, type, time, precert_entry, issuer, TBS.
        signed = struct.pack(">BBQH", 0, 0, now, 1) + issuer_hash
        signed += len(tbs).to_bytes(3, "big") + tbs + struct.pack(">H", 0)
        signature = self.key.sign(signed, ec.ECDSA(hashes.SHA256()))
        # SHA-256 with ECDSA, as TLS numbers them.
        framed = struct.pack(">BBH", 4, 3, len(signature)) + signature
        return {
            "sct_version": 0,
            "id": b64(self.id),
            "timestamp": now,
            "extensions": "",
            "signature": b64(framed),
        }


def without_poison(leaf):
    """Returns the to-be-signed part without the poison extension, which marks a pre-certificate."""
    poison = bytes.fromhex("060a2b06010401d6790204030101ff04020500")
    whole = bytes([0x30, len(poison)]) + poison
    tbs = leaf.tbs_certificate_bytes
    at = tbs.index(whole)
    # The lengths of the extension list, of its explicit tag and of the whole shrink with it.
    return shrink(tbs, at, len(whole))


def shrink(der, at, gone):
    """Cuts `gone` bytes at `at` out of nested DER and corrects every length around them."""
    tag = der[0]
    length, body = read_length(der, 1)
    inner = der[body : body + length]
    at -= body
    if at < 0:
        raise ValueError("outside")
    position = 0
    pieces = b""
    cut = False
    while position < len(inner):
        size, start = read_length(inner, position + 1)
        end = start + size
        piece = inner[position:end]
        if position == at and end - position == gone:
            piece, cut = b"", True
        elif position < at < end and not cut:
            piece, cut = shrink(piece, at - position, gone), True
        pieces += piece
        position = end
    return bytes([tag]) + write_length(len(pieces)) + pieces


def read_length(der, at):
    first = der[at]
    if first < 0x80:
        return first, at + 1
    count = first & 0x7F
    return int.from_bytes(der[at + 1 : at + 1 + count], "big"), at + 1 + count


def write_length(length):
    if length < 0x80:
        return bytes([length])
    raw = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(raw)]) + raw


def serve(port, issuer, log):
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, value):
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if self.path == "/.well-known/openid-configuration":
                self.answer(issuer.discovery)
            elif self.path == "/keys":
                self.answer(issuer.jwks)
            else:
                self.send_error(404)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/ct/v1/add-pre-chain"):
                self.answer(log.add_pre_chain(json.loads(body)["chain"]))
            else:
                self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def authority(name, key):
    """A certificate that signs itself: the root under which leaves are issued."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "kiln.example"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False, content_commitment=False, key_encipherment=False,
                data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
                encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


class Instance:
    def __init__(self, folder, tools):
        self.folder, self.tools, self.started = folder, tools, []
        self.ports = {name: free_port() for name in
                      ("own", "fulcio", "fulcio-grpc", "fulcio-metrics", "rekor", "rekor-grpc",
                       "rekor-metrics", "tsa")}
        self.url = lambda name: f"http://127.0.0.1:{self.ports[name]}"
        self.issuer, self.log = Issuer(self.url("own")), CertificateLog()
        self.ca_key = ec.generate_private_key(ec.SECP256R1())
        self.ca = authority("kiln test authority", self.ca_key)
        self.rekor_key = ed25519.Ed25519PrivateKey.generate()

    def write(self, name, content, mode="w"):
        path = self.folder / name
        with open(path, mode) as out:
            out.write(content)
        return str(path)

    def start(self, name, *args):
        log = open(self.folder / f"{name}.log", "wb")
        command = [str(self.tools / name), *args]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        self.started.append(
            subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=self.folder)
        )

    def run(self):
        serve(self.ports["own"], self.issuer, self.log)
        self.start_fulcio()
        self.start_rekor()
        self.start("timestamp-server", "serve", "--host", "127.0.0.1",
                   "--port", str(self.ports["tsa"]), "--timestamp-signer", "memory",
                   "--disable-ntp-monitoring")
        for name, path in (("fulcio", "/healthz"), ("rekor", "/healthz"), ("tsa", "/ping")):
            self.wait(name, path)
        self.write_trust()
        for name, email in (("", IDENTITY), ("other-", OTHER)):
            self.write(f"{name}token", self.issuer.token(email))
            self.write(f"{name}identity", email)
        self.write("issuer", self.issuer.url)

    def start_fulcio(self):
        config = self.write(
            "fulcio.yaml",
            f"oidc-issuers:\n"
            f"  {self.issuer.url}:\n"
            f"    issuer-url: {self.issuer.url}\n"
            f"    client-id: {AUDIENCE}\n"
            f"    type: email\n",
        )
        certificate = self.write(
            "ca.pem", self.ca.public_bytes(serialization.Encoding.PEM), "wb"
        )
        key = self.write("ca.key", pem(self.ca_key, PASSWORD), "wb")
        self.start("fulcio", "serve", "--host", "127.0.0.1", "--port", str(self.ports["fulcio"]),
                   "--grpc-host", "127.0.0.1", "--grpc-port", str(self.ports["fulcio-grpc"]),
                   "--metrics-port", str(self.ports["fulcio-metrics"]),
                   "--legacy-unix-domain-socket", f"{self.folder}/fulcio.sock",
                   "--ca", "fileca", "--fileca-cert", certificate, "--fileca-key", key,
                   "--fileca-key-passwd", PASSWORD.decode(), "--fileca-watch=false",
                   "--config-path", config, "--ct-log-url", f"{self.url('own')}/log")

    def start_rekor(self):
        key = self.write("rekor.key", pem(self.rekor_key), "wb")
        storage = self.folder / "rekor"
        storage.mkdir()
        self.start("rekor-server-posix", "serve", "--http-address", "127.0.0.1",
                   "--http-port", str(self.ports["rekor"]), "--grpc-address", "127.0.0.1",
                   "--grpc-port", str(self.ports["rekor-grpc"]),
                   "--http-metrics-port", str(self.ports["rekor-metrics"]),
                   "--hostname", ORIGIN, "--storage-dir", str(storage),
                   "--signer-filepath", key, "--checkpoint-interval", "1s",
                   "--batch-max-age", "100ms")

    def wait(self, name, path):
        for _ in range(600):
            try:
                with urllib.request.urlopen(self.url(name) + path, timeout=5):
                    return
            except OSError:
                if any(one.poll() is not None for one in self.started):
                    break
                time.sleep(0.1)
        logs = "\n".join(
            path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log")
        )
        raise SystemExit(f"{name} does not answer at {self.url(name)}{path}\n{logs}")

    def write_trust(self):
        with urllib.request.urlopen(self.url("tsa") + "/api/v1/timestamp/certchain") as answer:
            chain = x509.load_pem_x509_certificates(answer.read())
        start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
        start = start.strftime("%Y-%m-%dT%H:%M:%SZ")
        valid = {"start": start}
        der = lambda certificate: {
            "rawBytes": b64(certificate.public_bytes(serialization.Encoding.DER))
        }
        subject = {"organization": "kiln.example", "commonName": "kiln test authority"}
        rekor = self.rekor_key.public_key()
        raw = rekor.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        # C2SP signed-note, Ed25519: name, newline, 0x01, key.
        note_id = hashlib.sha256(ORIGIN.encode() + b"\n\x01" + raw).digest()
        root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [
                {
                    "baseUrl": f"https://{ORIGIN}",
                    "hashAlgorithm": "SHA2_256",
                    "publicKey": {
                        "rawBytes": b64(spki(rekor)),
                        "keyDetails": "PKIX_ED25519",
                        "validFor": valid,
                    },
                    "logId": {"keyId": b64(note_id)},
                }
            ],
            "certificateAuthorities": [
                {
                    "subject": subject,
                    "uri": self.url("fulcio"),
                    "certChain": {"certificates": [der(self.ca)]},
                    "validFor": valid,
                }
            ],
            "ctlogs": [
                {
                    "baseUrl": f"{self.url('own')}/log",
                    "hashAlgorithm": "SHA2_256",
                    "publicKey": {
                        "rawBytes": b64(spki(self.log.key.public_key())),
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                        "validFor": valid,
                    },
                    "logId": {"keyId": b64(self.log.id)},
                }
            ],
            "timestampAuthorities": [
                {
                    "subject": subject,
                    "uri": self.url("tsa"),
                    "certChain": {"certificates": [der(one) for one in chain]},
                    "validFor": valid,
                }
            ],
        }
        service = lambda url, version: [
            {"url": url, "majorApiVersion": version, "validFor": valid, "operator": "kiln.example"}
        ]
        config = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": service(self.url("fulcio"), 1),
            "oidcUrls": service(self.issuer.url, 1),
            "rekorTlogUrls": service(self.url("rekor"), 2),
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaUrls": service(f"{self.url('tsa')}/api/v1/timestamp", 1),
            "tsaConfig": {"selector": "ANY"},
        }
        both = {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": root,
            "signingConfig": config,
        }
        for name, value in (("trusted_root", root), ("signing_config", config),
                            ("client_trust_config", both)):
            self.write(f"{name}.json", json.dumps(value, indent=1))

    def stop(self):
        for one in self.started:
            one.terminate()
        for one in self.started:
            try:
                one.wait(timeout=20)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()


def main():
    folder, tools = (pathlib.Path(one).resolve() for one in sys.argv[1:3])
    command = sys.argv[4:]
    if sys.argv[3] != "--" or not command:
        raise SystemExit(__doc__)
    instance = Instance(folder, tools)
    try:
        instance.run()
        return subprocess.call(command)
    finally:
        instance.stop()


if __name__ == "__main__":
    sys.exit(main())
