"""The verifiers that are asked about a vector, kiln's own and other people's.

Each says of a vector why it is not for it, or whether it accepts it. A verifier is called as those who use
it call it, with the options that make it as strict as it can be here: who must have signed is always said.
What a tool cannot see is no verdict of its: a check of a bare signature never sees the file.

A tool that does not start, or ends by a signal, is an error and no refusal. Each tool has vectors that it
must accept, so one that refuses everything fails.

    verifiers.py PEM BUILDER        prints the policy that ampel is given
"""

import json
import os
import pathlib
import subprocess
import sys

import check_openssl
import sigstore_js

HERE = pathlib.Path(__file__).resolve().parent
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILDER = "https://kiln.build/builders/local/v1"

# Why a vector is not for a tool. One sentence each: they are printed under the table.
SUMMARY = "it is not asked about summaries"
NOT_WHAT_IT_SAYS = "of a summary it checks signature, file and kind, and not what it says"
BARE_SUMMARIES = "it reads a summary as a bare envelope alone"
ONLY_SUMMARIES = "of third parties' statements it reads summaries alone"
CERTIFICATE = "it is given plain keys alone"
ONLY_CERTIFICATES = "it takes bundles with a certificate alone, never a plain key"
BARE = "it checks a bare signature: the file, and what is signed, are its caller's to look at"
NOT_THE_FILE = "it checks who signed a bundle: the file, and what is signed, are its caller's to look at"
NO_LINES = "it reads bundles, no bare envelopes"
ONE_ENVELOPE = "it reads one envelope, no file of several"
NO_LAYOUT = "it reads no layouts"
ONLY_LAYOUTS = "it reads layouts and links alone"
NOT_THE_PRODUCT = "it judges layout and links, and never sees the file"
KEYS_IN_LINES = "it reads a bundle with a certificate alone, and a bare envelope with a key"
PUBLIC_ROOTS = "it believes the certificates of the public instances alone"


def why_not(verifier, vector):
    """Says why a vector is not for a verifier, or nothing."""
    if "layout_key" in vector and verifier.name not in ("kiln", "in-toto-verify"):
        return NO_LAYOUT
    return verifier.why_not(vector)


def is_bundle(vector):
    return vector["file"].endswith(".sigstore.json")


def ran(command, accepted=(0,), refused=(1,), **more):
    """Runs a tool and says whether it accepts; a tool that breaks is no refusal."""
    done = subprocess.run([str(one) for one in command], capture_output=True, text=True, check=False, **more)
    if done.returncode in accepted:
        return True
    if done.returncode in refused:
        return False
    raise SystemExit(f"exit {done.returncode}: {command}\n{done.stdout}{done.stderr}")


def envelope(vector):
    """Reads the envelope of a vector as a caller does that leaves the rest to the tool."""
    text = vector["path"].read_text()
    whole = json.loads(text)
    return whole["dsseEnvelope"] if is_bundle(vector) else whole


class Asked:
    """What the verifiers share: where the tools are, and a folder to write to."""

    def __init__(self, scratch, kiln=None, tools=None):
        self.scratch, self.kiln, self.tools = scratch, kiln, tools
        self.environment = dict(os.environ, HOME=str(scratch))

    def write(self, name, content):
        path = self.scratch / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path


class Kiln:
    name = "kiln"

    def why_not(self, vector):
        return None

    def accepts(self, asked, vector):
        home = asked.scratch / "kiln"
        folder = home / "kiln"
        folder.mkdir(parents=True, exist_ok=True)
        trust = folder / "trust.toml"
        trust.unlink(missing_ok=True)
        command = [asked.kiln, "-q", "verify", vector["artifact_path"], "--bundle", vector["path"]]
        if "layout_key" in vector:
            command = [*command[:4], "--layout", vector["path"], "--layout-key", vector["layout_key_path"],
                       "--link-dir", vector["path"].parent]
        elif "verifier" in vector:
            # A summary is believed from a verifier of the list of trust, whose key stands there.
            key = vector["key_path"].read_text()
            trust.write_text(f'[[trust]]\nname = "t"\nkey = """\n{key}"""\n'
                             f'verifier-id = "{vector["verifier"]}"\nmax-level = 3\n')
            command += ["--resource-uri", vector["address"], "--level", vector["level"]]
        elif "identity" in vector:
            command += ["--trusted-root", vector["root_path"], "--identity", vector["identity"],
                        "--issuer", vector["issuer"]]
        else:
            command += ["--key", vector["key_path"]]
        environment = dict(asked.environment, XDG_CONFIG_HOME=str(home), XDG_CACHE_HOME=str(home))
        return ran(command, refused=(4,), env=environment)


class OpenSsl:
    name = "openssl"
    sees = (None, "signature", "key")

    def why_not(self, vector):
        if "identity" in vector:
            return CERTIFICATE
        if "lines" in vector:
            return ONE_ENVELOPE
        return None if vector.get("fault") in self.sees else BARE

    def accepts(self, asked, vector):
        one = envelope(vector)
        for text in ("payload", "sig"):
            place = one if text == "payload" else one["signatures"][0]
            place[text] = place[text].replace("-", "+").replace("_", "/")
        return check_openssl.accepts(vector["key_path"], one)


class SecureSystemsLib(OpenSsl):
    name = "securesystemslib"
    sees = (None, "signature", "key", "count")

    def accepts(self, asked, vector):
        import check_securesystemslib as check
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        return check.accepts(check.without_id(load_pem_public_key(vector["key_path"].read_bytes())), envelope(vector))


class InTotoVerify:
    name = "in-toto-verify"

    def why_not(self, vector):
        if "layout_key" not in vector:
            return ONLY_LAYOUTS
        return NOT_THE_PRODUCT if vector.get("fault") == "file" else None

    def accepts(self, asked, vector):
        return ran([asked.tools / "venv/bin/in-toto-verify", "--layout", vector["path"], "--verification-keys",
                    vector["layout_key_path"], "--link-dir", vector["path"].parent], cwd=asked.scratch,
                   env=asked.environment)


class SigstorePython:
    name = "sigstore-python"

    def why_not(self, vector):
        return None if "identity" in vector else ONLY_CERTIFICATES

    def accepts(self, asked, vector):
        trust = asked.write("trust.json", client_trust_config(vector["root_path"]))
        return ran([asked.tools / "venv/bin/sigstore", "--trust-config", trust, "verify", "identity", "--offline",
                    "--bundle", vector["path"], "--cert-identity", vector["identity"],
                    "--cert-oidc-issuer", vector["issuer"], vector["artifact_path"]], env=asked.environment)


def client_trust_config(root):
    """What sigstore-python is given: a trusted root, and services to sign with, which verifying never asks."""
    nobody = {"url": "http://127.0.0.1:1", "majorApiVersion": 1, "validFor": {"start": "2020-01-01T00:00:00Z"},
              "operator": "nobody"}
    lists = {name: [nobody] for name in ("caUrls", "oidcUrls", "rekorTlogUrls", "tsaUrls")}
    signing = {"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json", **lists,
               "rekorTlogConfig": {"selector": "ANY"}, "tsaConfig": {"selector": "ANY"}}
    return {"mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": json.loads(pathlib.Path(root).read_text()), "signingConfig": signing}


class SigstoreJs:
    name = "@sigstore/verify"

    def why_not(self, vector):
        if not is_bundle(vector):
            return NO_LINES
        return NOT_THE_FILE if vector.get("fault") in ("file", "statement") else None

    def accepts(self, asked, vector):
        if "identity" in vector:
            who = {"root": vector["root_path"], "identity": vector["identity"], "issuer": vector["issuer"]}
        else:
            who = {"key": vector["key_path"]}
        return sigstore_js.answer(vector["path"], **who)["accepted"]


class Cosign:
    name = "cosign"

    def why_not(self, vector):
        if not is_bundle(vector):
            return NO_LINES
        return NOT_WHAT_IT_SAYS if "verifier" in vector and vector.get("fault") == "statement" else None

    def accepts(self, asked, vector):
        kind = "https://slsa.dev/verification_summary/v1" if "verifier" in vector else "slsaprovenance1"
        command = [asked.tools / "bin/cosign", "verify-blob-attestation", "--bundle", vector["path"], "--type", kind]
        if "identity" in vector:
            command += ["--trusted-root", vector["root_path"], "--certificate-identity", vector["identity"],
                        "--certificate-oidc-issuer", vector["issuer"]]
        else:
            command += ["--key", vector["key_path"], "--insecure-ignore-tlog"]
        return ran([*command, vector["artifact_path"]], env=asked.environment)


class SlsaVerifier:
    name = "slsa-verifier"

    def why_not(self, vector):
        if "verifier" not in vector:
            return ONLY_SUMMARIES
        return BARE_SUMMARIES if is_bundle(vector) else None

    def accepts(self, asked, vector):
        return ran([asked.tools / "bin/slsa-verifier", "verify-vsa", "--attestation-path", vector["path"],
                    "--public-key-path", vector["key_path"], "--verifier-id", vector["verifier"],
                    "--resource-uri", vector["address"], "--verified-level", f"SLSA_BUILD_LEVEL_{vector['level']}",
                    "--subject-digest", f"sha256:{vector['digest']}"], env=asked.environment)


class Ampel:
    name = "ampel"

    def why_not(self, vector):
        if "verifier" in vector:
            return SUMMARY
        if "identity" in vector:
            return PUBLIC_ROOTS
        return KEYS_IN_LINES if is_bundle(vector) else None

    def accepts(self, asked, vector):
        policy = asked.write("policy.json", ampel_policy(vector["key_path"], BUILDER))
        return ran([asked.tools / "bin/ampel", "verify", vector["artifact_path"], "--policy", policy,
                    "--collector", f"jsonl:{vector['path']}", "--key", vector["key_path"]], env=asked.environment)


def ampel_policy(key, builder):
    """A policy over kiln's provenance. Without its signer ampel takes whatever anybody signed, or nobody."""
    return {
        "id": "kiln",
        "meta": {"runtime": "cel@v0", "assert_mode": "AND"},
        "identities": [{"key": {"data": pathlib.Path(key).read_text()}}],
        "predicates": {"types": [PROVENANCE]},
        "tenets": [{
            "id": "builder",
            "code": f'predicates.size() > 0 && predicates.all(p, p.data.runDetails.builder.id == "{builder}")',
        }],
    }


# By the target that has the tools.
ALL = [Kiln(), OpenSsl(), SecureSystemsLib(), InTotoVerify(), SigstorePython(), SigstoreJs(), Cosign(), SlsaVerifier(),
       Ampel()]
GROUPS = {
    "interop": ["kiln", "openssl", "securesystemslib", "in-toto-verify", "sigstore-python", "@sigstore/verify"],
    "interop-go": ["cosign", "slsa-verifier", "ampel"],
}


if __name__ == "__main__":
    print(json.dumps(ampel_policy(*sys.argv[1:])))
