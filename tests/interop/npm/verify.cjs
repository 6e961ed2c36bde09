// Asks npm's @sigstore/verify about bundles, as a program that uses the library would.
//
// Reads a JSON list of questions from standard input, writes a list of answers to standard output:
//   {"bundle": FILE, "key": PEM FILE}                                  by a plain key, no log, no timestamp
//   {"bundle": FILE, "root": FILE, "identity": ID, "issuer": URL}      by a certificate
//   {"accepted": true, "payload": base64} or {"accepted": false, "why": "…"}
//
// The library checks who signed, not what: it never sees the file. Who asks compares the digest with the
// payload of what was accepted, as each user of the library has to.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");
// The packages lie in target/tools/npm, and this file does not.
const need = createRequire(path.join(process.argv[2], "package.json"));
const { createPublicKey } = require("node:crypto");
const { bundleFromJSON } = need("@sigstore/bundle");
const { TrustedRoot } = need("@sigstore/protobuf-specs");
const { Verifier, toSignedEntity, toTrustMaterial } = need("@sigstore/verify");

const json = (file) => JSON.parse(fs.readFileSync(file, "utf8"));
// The policy's identity is a regular expression; an exact one is asked for.
const exactly = (text) => `^${text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`;

// What the library and JSON.parse refuse with; any other error is a fault of this file.
const REFUSALS = ["VerificationError", "PolicyError", "ValidationError", "SyntaxError"];

function judge({ bundle, key, root, identity, issuer }) {
  const read = bundleFromJSON(json(bundle));
  if (key) {
    const pem = createPublicKey(fs.readFileSync(key));
    const always = { publicKey: pem, validFor: () => true };
    const nobody = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
    // Whatever the hint says, only this key counts.
    const trust = { ...nobody, publicKey: () => always };
    new Verifier(trust, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 }).verify(toSignedEntity(read));
  } else {
    const trust = toTrustMaterial(TrustedRoot.fromJSON(json(root)));
    const policy = { subjectAlternativeName: exactly(identity), extensions: { issuer } };
    new Verifier(trust).verify(toSignedEntity(read), policy);
  }
  return Buffer.from(read.content.dsseEnvelope.payload).toString("base64");
}

const answers = JSON.parse(fs.readFileSync(0, "utf8")).map((question) => {
  try {
    return { accepted: true, payload: judge(question) };
  } catch (error) {
    if (!REFUSALS.includes(error.constructor.name)) throw error;
    return { accepted: false, why: `${error.constructor.name}: ${error.message}` };
  }
});
process.stdout.write(JSON.stringify(answers));
