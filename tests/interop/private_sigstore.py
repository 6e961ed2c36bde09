"""A private Sigstore on loopback: the real servers, and around them what they need of the world.

    private_sigstore.py FOLDER TOOLS -- COMMAND...

Starts fulcio (certificates), rekor-server-posix (the log, version 2) and timestamp-server (RFC 3161)
out of TOOLS, and in this process an OIDC issuer and a log of certificates, each on a free port of
127.0.0.1. Writes into FOLDER:

    trusted_root.json  signing_config.json  client_trust_config.json    what clients are given
    signing_config_NAME.json                                            those with one thing changed:
      v1 (the log of version 1), tls (fulcio behind TLS), down (nothing listens), refusing (the log takes
      nothing), fails (the timestamp authority), cleartext (fulcio on another host, without TLS), redirects
      (fulcio says to post elsewhere, and who does leaves the file `elsewhere`), echoes (fulcio says what it heard)
    tls.pem                                                             whom to believe about that TLS
    other_root.json                                                     the root of another instance
    token  other-token  expired-token  audience-token                   identity tokens
    identity  other-identity  issuer                                    what they say
    ci                                                                  where a CI system gives tokens

and runs COMMAND with those. A log of version 1 takes a database server and more, so this process is one: it
has no duty but to answer in its protocol what clients then verify for themselves. Everything ends with the command, whose exit code is ours. Keys are made
afresh and are worth nothing.

Sources: rekor, openapi.yaml and pkg/types/dsse; fulcio, rekor-tiles, timestamp-authority (their flags); RFC 6962, section 3.2 (SCT);
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
import ssl
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
METRICS_PORT = 2112
CI_SECRET = "a-secret-of-the-job"


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

    def token(self, email, audience=AUDIENCE, lasts=3600):
        now = int(time.time())
        header = {"alg": "RS256", "kid": "1", "typ": "JWT"}
        claims = {
            "iss": self.url,
            "sub": email,
            "aud": audience,
            "email": email,
            "email_verified": True,
            "iat": now - 5,
            "exp": now + lasts,
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


class Rekor1:
    """A log of version 1, as far as a client that adds an entry sees it."""

    origin = "log1.kiln.example"

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = hashlib.sha256(spki(self.key.public_key())).digest()
        self.leaves, self.lock = [], threading.Lock()

    def add(self, proposed):
        if (proposed["kind"], proposed["apiVersion"]) != ("dsse", "0.0.1"):
            raise ValueError("not the kind that is tested here")
        envelope = proposed["spec"]["proposedContent"]["envelope"]
        [verifier] = proposed["spec"]["proposedContent"]["verifiers"]
        read = json.loads(envelope)
        payload = base64.b64decode(read["payload"])
        [signature] = read["signatures"]
        certificate = x509.load_pem_x509_certificate(base64.b64decode(verifier))
        # In the log's own spelling: clients end lines in more than one way.
        written = b64(certificate.public_bytes(serialization.Encoding.PEM))
        kind = read["payloadType"].encode()
        pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
        certificate.public_key().verify(
            base64.b64decode(signature["sig"]), pae, ec.ECDSA(hashes.SHA256())
        )
        sha256 = lambda raw: {"algorithm": "sha256", "value": hashlib.sha256(raw).hexdigest()}
        body = canonical({
            "apiVersion": "0.0.1", "kind": "dsse",
            "spec": {
                "envelopeHash": sha256(envelope.encode()),
                "payloadHash": sha256(payload),
                "signatures": [{"signature": signature["sig"], "verifier": written}],
            },
        })
        with self.lock:
            index = len(self.leaves)
            self.leaves.append(hashlib.sha256(b"\0" + body).digest())
            leaves = list(self.leaves)
        entry = {"body": b64(body), "integratedTime": int(time.time()), "logID": self.id.hex(),
                 "logIndex": index}
        root = merkle_root(leaves)
        text = f"{self.origin} - 1\n{len(leaves)}\n{b64(root)}\n"
        signed = b64(self.id[:4] + self.sign(text.encode()))
        proof = {
            "checkpoint": f"{text}\n\u2014 {self.origin} {signed}\n",
            "hashes": [one.hex() for one in merkle_path(index, leaves)],
            "logIndex": index, "rootHash": root.hex(), "treeSize": len(leaves),
        }
        promise = b64(self.sign(canonical(entry)))
        entry["verification"] = {"inclusionProof": proof, "signedEntryTimestamp": promise}
        return {self.leaves[index].hex(): entry}

    def sign(self, raw):
        return self.key.sign(raw, ec.ECDSA(hashes.SHA256()))


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def merkle_split(leaves):
    """RFC 6962, 2.1: the largest power of two below the count."""
    return 1 << (len(leaves) - 1).bit_length() - 1


def merkle_root(leaves):
    if len(leaves) == 1:
        return leaves[0]
    at = merkle_split(leaves)
    left, right = merkle_root(leaves[:at]), merkle_root(leaves[at:])
    return hashlib.sha256(b"\1" + left + right).digest()


def merkle_path(index, leaves):
    if len(leaves) == 1:
        return []
    at = merkle_split(leaves)
    if index < at:
        return merkle_path(index, leaves[:at]) + [merkle_root(leaves[at:])]
    return merkle_path(index - at, leaves[at:]) + [merkle_root(leaves[:at])]


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


def serve(port, issuer, log, rekor1, folder):
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, value, status=200):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if self.path == "/.well-known/openid-configuration":
                self.answer(issuer.discovery)
            elif self.path == "/keys":
                self.answer(issuer.jwks)
            elif self.path.startswith("/github?api-version=2.0&audience="):
                self.give("bearer", self.path.rsplit("=", 1)[1], "value")
            else:
                self.send_error(404)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/ct/v1/add-pre-chain"):
                self.answer(log.add_pre_chain(json.loads(body)["chain"]))
            elif self.path == "/v1/api/v1/log/entries":
                self.answer(rekor1.add(json.loads(body)), 201)
            elif self.path == "/buildkite/jobs/0192-ab/oidc/tokens":
                self.give("Token", json.loads(body)["audience"], "token")
            elif self.path.startswith("/redirects/"):
                self.send_response(307)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif self.path == "/elsewhere":
                (folder / "elsewhere").write_bytes(body)
                self.answer({})
            elif self.path.startswith("/echoes/"):
                self.answer({"code": 3, "message": "no: " + body.decode()}, 400)
            elif self.path.startswith("/fails/"):
                self.answer({"code": 13, "message": "out of order"}, 500)
            else:
                self.send_error(404)

        def give(self, scheme, audience, member):
            """A token for the job that shows the secret it was started with, as CI systems do."""
            if self.headers["Authorization"] in (f"{scheme} {CI_SECRET}", f"{scheme.title()} {CI_SECRET}"):
                self.answer({member: issuer.token(IDENTITY, audience)})
            else:
                self.answer({"message": "no such job: " + self.headers["Authorization"]}, 401)

        def log_message(self, *_):
            pass

    listen(port, Handler)


def listen(port, handler, tls=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    # A client that hangs up is what some cases are about.
    server.handle_error = lambda *_: None
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def serve_tls(port, upstream, chain):
    """Passes on to fulcio what comes by TLS."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {"Content-Type": self.headers["Content-Type"]}
            asked = urllib.request.Request(upstream + self.path, body, headers)
            with urllib.request.urlopen(asked) as answer:
                body = answer.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain)
    listen(port, Handler, tls)


def server_certificate(authority, authority_key, key):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )


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
                       "rekor-metrics", "tsa", "tls")}
        self.url = lambda name: f"http://127.0.0.1:{self.ports[name]}"
        self.issuer, self.log = Issuer(self.url("own")), CertificateLog()
        self.rekor1 = Rekor1()
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
        serve(self.ports["own"], self.issuer, self.log, self.rekor1, self.folder)
        self.start_fulcio()
        self.start_tls()
        self.start_rekor()
        self.await_metrics_port()
        self.start("timestamp-server", "serve", "--host", "127.0.0.1",
                   "--port", str(self.ports["tsa"]), "--timestamp-signer", "memory",
                   "--disable-ntp-monitoring")
        for name, path in (("fulcio", "/healthz"), ("rekor", "/healthz"), ("tsa", "/ping")):
            self.wait(name, path)
        self.write_trust()
        for name, email in (("", IDENTITY), ("other-", OTHER)):
            self.write(f"{name}token", self.issuer.token(email))
            self.write(f"{name}identity", email)
        self.write("expired-token", self.issuer.token(IDENTITY, lasts=-1))
        self.write("audience-token", self.issuer.token(IDENTITY, "somebody else"))
        self.write("issuer", self.issuer.url)
        self.write("ci", self.url("own"))

    def await_metrics_port(self):
        """timestamp-server has one port that nobody can choose, for its metrics: another one may hold it."""
        for _ in range(600):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if probe.connect_ex(("127.0.0.1", METRICS_PORT)):
                    return
            time.sleep(1)
        raise SystemExit(f"port {METRICS_PORT} is taken, which timestamp-server needs: end who holds it")

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

    def start_tls(self):
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        ca = authority("a TLS authority", ca_key)
        pem_of = lambda one: one.public_bytes(serialization.Encoding.PEM)
        chain = self.write("tls.chain", pem(key) + pem_of(server_certificate(ca, ca_key, key)), "wb")
        self.write("tls.pem", pem_of(ca), "wb")
        serve_tls(self.ports["tls"], self.url("fulcio"), chain)

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
                },
                {
                    "baseUrl": f"https://{self.rekor1.origin}",
                    "hashAlgorithm": "SHA2_256",
                    "publicKey": {
                        "rawBytes": b64(spki(self.rekor1.key.public_key())),
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                        "validFor": valid,
                    },
                    "logId": {"keyId": b64(self.rekor1.id)},
                },
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
        files = {"trusted_root": root, "signing_config": config, "client_trust_config": both}
        own = self.url("own")
        for name, member, url, version in (
            ("v1", "rekorTlogUrls", f"{own}/v1", 1),
            ("tls", "caUrls", f"https://localhost:{self.ports['tls']}", 1),
            ("down", "caUrls", f"http://127.0.0.1:{free_port()}", 1),
            ("redirects", "caUrls", f"{own}/redirects", 1),
            ("echoes", "caUrls", f"{own}/echoes", 1),
            ("refusing", "rekorTlogUrls", f"{own}/nothing", 2),
            ("fails", "tsaUrls", f"{own}/fails/timestamp", 1),
            ("cleartext", "caUrls", "http://ca.kiln.example", 1),
        ):
            files[f"signing_config_{name}"] = config | {member: service(url, version)}
        other = authority("another authority", ec.generate_private_key(ec.SECP256R1()))
        [ca] = root["certificateAuthorities"]
        other = ca | {"certChain": {"certificates": [der(other)]}}
        files["other_root"] = root | {"certificateAuthorities": [other]}
        for name, value in files.items():
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
