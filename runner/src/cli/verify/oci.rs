//! Images in an OCI layout, with the bundles that refer to them.
//!
//! ```text
//! DIR/oci-layout
//! DIR/index.json             manifests: images, referrers, and fallback indexes tagged sha256-HEX
//! DIR/blobs/sha256/HEX       every blob is hashed when it is read
//! ```
//!
//! A referrer is a manifest whose `subject` is the image and whose `artifactType` is that of a bundle; the
//! bundle is its first layer. All images of the layout are decided about, and one without a bundle is
//! refused. Annotations are not looked at: they are not signed.
//!
//! Source: OCI image layout; distribution specification, "Listing Referrers"; cosign's bundle in OCI.

use std::path::Path;

use model::Digest;
use serde::Deserialize;

use super::super::files;
use super::{Found, Target};
use crate::diagnostic::{Code, Diagnostic};

/// The media type of a bundle, whatever its version.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// The media type of an index of manifests.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Most manifests of one layout, fallback indexes opened.
const MANIFESTS_MAX: usize = 1024;
/// What tells BuildKit's unsigned attestation manifests from images.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    artifact_type: Option<String>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    subject: Option<Descriptor>,
}

/// Says whether a path is a layout.
pub fn is_layout(path: &Path) -> bool {
    path.is_dir() && path.join("oci-layout").is_file()
}

/// Returns the images of a layout, each with its bundles.
///
/// # Errors
/// A layout that can not be read or holds no image, and a blob that is not what its name says.
pub fn targets(folder: &Path, name: &str) -> Result<Vec<Target>, Diagnostic> {
    let index: Index = json(&read(&folder.join("index.json"), name)?, name)?;
    let mut waiting = index.manifests;
    let (mut images, mut referrers) = (Vec::new(), Vec::new());
    let mut seen = 0;
    while let Some(one) = waiting.pop() {
        seen += 1;
        if seen > MANIFESTS_MAX {
            return Err(wrong(name, &format!("it holds more than {MANIFESTS_MAX} manifests")));
        }
        let tag = one.annotations.get("org.opencontainers.image.ref.name");
        if one.media_type == INDEX && tag.is_some_and(|tag| tag.starts_with("sha256-")) {
            let (_, bytes) = blob(folder, &one, name)?;
            let inner: Index = json(&bytes, name)?;
            waiting.extend(inner.manifests.into_iter().filter(|one| one.media_type != INDEX));
            continue;
        }
        let (digest, bytes) = blob(folder, &one, name)?;
        if one.annotations.contains_key(REFERENCE_TYPE) {
            continue;
        }
        let manifest: Manifest = json::<Manifest>(&bytes, name)?;
        match manifest.subject {
            Some(subject) => {
                let kind = manifest.artifact_type.unwrap_or_default();
                if kind.starts_with(BUNDLE) {
                    referrers.push((subject.digest, manifest.layers));
                }
            }
            None => images.push(digest),
        }
    }
    images.sort_unstable();
    images.dedup();
    if images.is_empty() {
        return Err(wrong(name, "it holds no image"));
    }
    images.into_iter().map(|digest| target(folder, name, digest, &referrers)).collect()
}

fn target(
    folder: &Path,
    name: &str,
    digest: Digest,
    referrers: &[(Digest, Vec<Descriptor>)],
) -> Result<Target, Diagnostic> {
    let mut evidence = Vec::new();
    for (_, layers) in referrers.iter().filter(|(subject, _)| *subject == digest) {
        let Some(layer) = layers.first().filter(|layer| layer.media_type.starts_with(BUNDLE))
        else {
            continue;
        };
        let (layer_digest, bytes) = blob(folder, layer, name)?;
        let shown = format!("{name}/blobs/sha256/{}", layer_digest.hex());
        evidence.push(Found { shown, bytes, manifest: None });
    }
    let name = format!("{name}@{digest}");
    if evidence.is_empty() {
        return Err(Diagnostic::new(Code::NoStatement, format!("nothing speaks for {name}"))
            .expected("a manifest in the layout whose subject it is and whose layer is a bundle"));
    }
    Ok(Target { name, digest, evidence })
}

/// Reads a blob and checks that it is the one that was meant.
fn blob(folder: &Path, one: &Descriptor, name: &str) -> Result<(Digest, Vec<u8>), Diagnostic> {
    let wanted = one.digest;
    let bytes = read(&folder.join("blobs/sha256").join(wanted.hex()), name)?;
    let got = Digest::of(&bytes);
    if got != wanted {
        let headline = format!("a blob of {name} is not what its name says");
        return Err(Diagnostic::new(Code::EvidenceMalformed, headline)
            .expected(wanted.to_string())
            .got(got.to_string()));
    }
    Ok((wanted, bytes))
}

fn read(path: &Path, name: &str) -> Result<Vec<u8>, Diagnostic> {
    match files::read(path) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => {
            let file = model::text::escape(path.as_os_str().as_encoded_bytes());
            Err(wrong(name, &format!("there is no {file}")))
        }
        Err(error) => Err(wrong(name, "a file of it can not be read").caused_by(&error)),
    }
}

fn json<T: serde::de::DeserializeOwned>(bytes: &[u8], name: &str) -> Result<T, Diagnostic> {
    serde_json::from_slice(bytes).map_err(|error| {
        wrong(name, "a manifest of it is not as the format says").caused_by(&error)
    })
}

fn wrong(name: &str, what: &str) -> Diagnostic {
    Diagnostic::new(Code::EvidenceMalformed, format!("the layout {name} can not be used: {what}"))
}
