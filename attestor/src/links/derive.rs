//! From a Record to a classic link, for `STEP.KEYID.link` beside a layout.
//!
//! Name, command, materials and product are those of the link v0.3 statement of the same Record. A link
//! has no place for what a digest is of: a tree's stands under `sha256` like a file's, and the name of
//! its material, `ROLE:NAME`, is none that a file has.
//!
//! The `in-toto` crate writes the metadata and nothing else. It never sees a key, so the signature is
//! over the DSSE encoding like every other of ours, made by the attestor's own signer; what the crate
//! would sign itself is refused elsewhere (an absent environment, a backslash before an `n`).
//!
//! Pure. Source: in-toto specification 0.9, 4.2 to 4.4; ITE-5.

use std::collections::{BTreeMap, HashMap};

use in_toto::crypto::{HashAlgorithm, HashValue};
use in_toto::models::byproducts::ByProducts;
use in_toto::models::step::Command;
use in_toto::models::{LinkMetadataBuilder, TargetDescription, VirtualTargetPath};
use model::Digest;
use model::record::Record;

use crate::order::{self, Refused};
use crate::predicate::link;
use crate::public_key::{Algorithm, PublicKey};

/// Derives the link of one artifact: the bytes that are signed.
///
/// # Errors
/// As a statement's; and a key that is not Ed25519, whose name elsewhere is not settled.
pub(crate) fn link(record: &Record, key: &PublicKey) -> Result<Vec<u8>, Refused> {
    if key.algorithm() != Algorithm::Ed25519 {
        return Err(Refused::LinkKey);
    }
    order::check(record)?;
    let link = link::link(record)?;
    let write = |error: in_toto::Error| Refused::Link(error.to_string());
    let mut materials = BTreeMap::new();
    for one in &link.materials {
        let hex = one.digest.get("sha256").map(String::as_str).unwrap_or_default();
        let digest = Digest::from_hex(hex).map_err(|_| Refused::Link("a digest".to_owned()))?;
        let path = VirtualTargetPath::new(one.name.clone()).map_err(write)?;
        materials.insert(path, hashes(&digest));
    }
    let subject = &record.observed.subject;
    let product = VirtualTargetPath::new(subject.name.clone()).map_err(write)?;
    let products = BTreeMap::from([(product, hashes(&subject.blob.digest))]);
    // Output stays out: it is what a step wrote. An absent environment is no link that others read.
    let metadata = LinkMetadataBuilder::new()
        .name(link.name)
        .command(Command::from(link.command))
        .materials(materials)
        .products(products)
        .env(Some(BTreeMap::new()))
        .byproducts(ByProducts::new().set_return_value(0))
        .build()
        .map_err(write)?;
    let bytes = serde_json::to_vec(&metadata).map_err(Refused::Write)?;
    crate::statement::refuse_credentials(&bytes)?;
    Ok(bytes)
}

fn hashes(digest: &Digest) -> TargetDescription {
    HashMap::from([(HashAlgorithm::Sha256, HashValue::new(digest.as_bytes().to_vec()))])
}
