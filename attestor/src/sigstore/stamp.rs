//! What a timestamp holds beside what its authority signed.
//!
//! The authority signs the time, what is timed and its own certificate's hash. Around that stands an answer
//! with a state, names of algorithms, and certificates, none of them signed. The crates take the first of
//! several signers and pass over the rest; here each byte is either signed, or what has to stand there.
//!
//! ```text
//! answer            "granted", and no text of it
//! signed data       its version, one digest algorithm, one signer, no revocation lists
//! certificates      byte for byte the authority's, as the root has them
//! signer            the version by how it is named; its algorithms; no attributes but signed ones
//! signed attributes content type, the digest of what is signed, the hash of the certificate: each once
//! ```
//!
//! Spec: RFC 3161, RFC 5652 section 5, RFC 5816, RFC 5754 section 3.2.

use sigstore_types::{SignatureBytes, TimestampToken, TsaAuthority};
use sigstore_verify::crypto;
use sigstore_verify::tsa::verify_timestamp_for_authority;

use super::der::{Element, tag};

/// `PKIStatusInfo` of an answer that was granted and says nothing else.
const GRANTED: &[u8] = &[0x30, 0x03, 0x02, 0x01, 0x00];
const NULL: &[u8] = &[0x05, 0x00];
/// 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// 1.2.840.113549.1.9.16.1.4.
const TST_INFO: &[u8] =
    &[0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
/// 1.2.840.113549.1.9.3.
const CONTENT_TYPE: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
/// 1.2.840.113549.1.9.4.
const MESSAGE_DIGEST: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// 1.2.840.113549.1.9.16.2.47.
const SIGNING_CERTIFICATE: &[u8] =
    &[0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x2f];
/// What version a `SignedData` with a timestamp is of.
const DATA_VERSION: &[u8] = &[0x02, 0x01, 0x03];

/// A digest algorithm, and the signature algorithm of an elliptic curve that goes with it.
#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// Reads an `AlgorithmIdentifier`: 2.16.840.1.101.3.4.2.1 to 3, without parameters or with none.
    fn read(algorithm: Element<'_>) -> Option<Hash> {
        const FAMILY: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
        let parts = algorithm.of(tag::SEQUENCE)?.parts()?;
        let (name, parameters) = parts.split_first()?;
        let plain = parameters.is_empty() || matches!(parameters, [one] if one.whole == NULL);
        match (plain, name.whole.strip_prefix(FAMILY)?) {
            (true, [1]) => Some(Hash::Sha256),
            (true, [2]) => Some(Hash::Sha384),
            (true, [3]) => Some(Hash::Sha512),
            _ => None,
        }
    }

    /// Decides whether this is `ecdsa-with-` it, 1.2.840.10045.4.3.2 to 4, which has no parameters.
    fn signs_as(self, algorithm: Element<'_>) -> bool {
        const FAMILY: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
        let member = match self {
            Hash::Sha256 => 2,
            Hash::Sha384 => 3,
            Hash::Sha512 => 4,
        };
        algorithm.whole.strip_prefix(FAMILY) == Some(&[member])
    }

    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => crypto::sha256(bytes).as_bytes().to_vec(),
            Hash::Sha384 => crypto::sha384(bytes).as_bytes().to_vec(),
            Hash::Sha512 => crypto::sha512(bytes).as_bytes().to_vec(),
        }
    }
}

/// A timestamp, taken apart.
struct Stamp<'a> {
    /// What was signed: `TSTInfo`.
    info: &'a [u8],
    /// Certificates that it holds.
    certificates: Vec<&'a [u8]>,
    /// How the signer's certificate is hashed, and to what.
    certificate: (Hash, &'a [u8]),
}

/// Decides whether timestamps hold nothing but what one of the root's authorities signed.
pub(super) fn check<'a>(
    tokens: impl Iterator<Item = &'a TimestampToken>,
    signature: &SignatureBytes,
    authorities: &[TsaAuthority],
) -> Result<(), &'static str> {
    let mut seen: Vec<&[u8]> = Vec::new();
    for token in tokens {
        let Some(stamp) = Stamp::read(token.as_bytes()) else {
            return Err("a timestamp holds something that nobody signed");
        };
        let mut vouching = authorities
            .iter()
            .filter(|one| verify_timestamp_for_authority(token, signature, one).is_ok());
        if !vouching.any(|authority| stamp.is_of(authority)) {
            return Err("a timestamp holds or names a certificate that is not its authority's");
        }
        if seen.contains(&stamp.info) {
            return Err("one timestamp is there twice");
        }
        seen.push(stamp.info);
    }
    Ok(())
}

impl<'a> Stamp<'a> {
    fn read(token: &'a [u8]) -> Option<Stamp<'a>> {
        let answer = Element::only(token)?.of(tag::SEQUENCE)?.parts()?;
        let [state, content] = answer.as_slice() else { return None };
        let content = content.of(tag::SEQUENCE)?.parts()?;
        let [kind, data] = content.as_slice() else { return None };
        if state.whole != GRANTED || kind.whole != SIGNED_DATA {
            return None;
        }
        let data = data.of(tag::FIRST)?.part()?.of(tag::SEQUENCE)?.parts()?;
        let (version, digests, content, certificates, signers) = match data.as_slice() {
            [version, digests, content, signers] => (version, digests, content, None, signers),
            [version, digests, content, certificates, signers] => {
                (version, digests, content, Some(certificates.of(tag::FIRST)?), signers)
            }
            _ => return None,
        };
        let strict = [digests, content, signers].into_iter().all(|part| part.is_strict());
        if version.whole != DATA_VERSION || !strict {
            return None;
        }
        let content = content.of(tag::SEQUENCE)?.parts()?;
        let [kind, info] = content.as_slice() else { return None };
        let info = info.of(tag::FIRST)?.part()?.of(tag::OCTETS)?.value;
        let signer = signers.of(tag::SET)?.part()?.of(tag::SEQUENCE)?;
        let (hash, certificate) = signed(signer, info)?;
        let digest = digests.of(tag::SET)?.part()?;
        let same = signer.parts()?.get(2).is_some_and(|named| named.whole == digest.whole);
        let certificates = certificates.map_or(Some(Vec::new()), Element::parts)?;
        (kind.whole == TST_INFO && same).then(|| Stamp {
            info,
            certificates: certificates.iter().map(|one| one.whole).collect(),
            certificate: (hash, certificate),
        })
    }

    /// Decides whether its certificates are an authority's, and the one that signed is its first.
    fn is_of(&self, authority: &TsaAuthority) -> bool {
        let (hash, wanted) = self.certificate;
        let mut known = vec![authority.leaf.as_bytes()];
        known.extend(authority.intermediates.iter().map(|one| one.as_bytes()));
        known.push(authority.root.as_bytes());
        let mut seen: Vec<&[u8]> = Vec::new();
        let held = self.certificates.iter().all(|one| {
            let again = seen.contains(one);
            seen.push(one);
            known.contains(one) && !again
        });
        held && hash.of(authority.leaf.as_bytes()) == wanted
    }
}

/// Reads a `SignerInfo` over these bytes, and returns what it says of its certificate.
fn signed<'a>(signer: Element<'a>, info: &[u8]) -> Option<(Hash, &'a [u8])> {
    let parts = signer.parts()?;
    let [version, name, digest, attributes, algorithm, signature] = parts.as_slice() else {
        return None;
    };
    let version_wanted = match name.tag {
        tag::SEQUENCE => 1,
        tag::FIRST_BYTES => 3,
        _ => return None,
    };
    let hash = Hash::read(*digest)?;
    let plain = version.whole == [tag::INTEGER, 1, version_wanted]
        && hash.signs_as(*algorithm)
        && signature.tag == tag::OCTETS;
    let attributes = attributes.of(tag::FIRST)?.parts()?;
    let ordered = attributes.windows(2).all(|pair| pair[0].whole < pair[1].whole);
    let kind = attribute(&attributes, CONTENT_TYPE)?;
    let over = attribute(&attributes, MESSAGE_DIGEST)?.of(tag::OCTETS)?;
    let whole = kind.whole == TST_INFO && over.value == hash.of(info);
    // `SigningCertificateV2`: the first of its certificates is the signer's.
    let certificates = attribute(&attributes, SIGNING_CERTIFICATE)?.of(tag::SEQUENCE)?.parts()?;
    let certificates = certificates.first()?.of(tag::SEQUENCE)?.parts()?.first()?.of(tag::SEQUENCE);
    let first = certificates?.parts()?;
    let certificate = match first.as_slice() {
        [hashed, ..] if hashed.tag == tag::OCTETS => (Hash::Sha256, hashed.value),
        [hash, hashed, ..] => (Hash::read(*hash)?, hashed.of(tag::OCTETS)?.value),
        [] | [_] => return None,
    };
    (plain && ordered && whole).then_some(certificate)
}

/// Returns the one value of the one attribute of this name.
fn attribute<'a>(attributes: &[Element<'a>], name: &[u8]) -> Option<Element<'a>> {
    let mut found = attributes.iter().filter_map(|one| {
        let parts = one.of(tag::SEQUENCE)?.parts()?;
        parts.first().is_some_and(|first| first.whole == name).then_some(parts)
    });
    let (parts, None) = (found.next()?, found.next()) else { return None };
    match parts.as_slice() {
        [_, values] => values.of(tag::SET)?.part(),
        _ => None,
    }
}
