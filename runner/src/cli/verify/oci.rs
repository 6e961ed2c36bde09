//! Images in an OCI layout, with the bundles that refer to them.
//!
//! ```text
//! DIR/oci-layout
//! DIR/index.json             manifests: images, referrers, and fallback indexes tagged sha256-HEX
//! DIR/blobs/sha256/HEX       every blob is hashed when it is read
//! ```
//!
//! A referrer is a manifest whose `subject` is the image and whose `artifactType` is that of a bundle; the
//! bundle is its first layer. Everything else is decided about, and refused without a bundle; what a signed
//! manifest names has to be there and as it says. Passed over are only statements, by the manifest's own bytes:
//! a signature, an attestation or a list of parts about a subject, whose configuration is the empty one or of
//! such a type and whose every layer is ([`STATEMENTS`]); and BuildKit's, where the index above them says that
//! they are for no platform. What another reader could take for something else is refused ([`exact`]).
//!
//! Source: OCI image layout; distribution specification, "Listing Referrers"; cosign's bundle in OCI.

use std::collections::BTreeSet;
use std::path::Path;

use model::Digest;
use serde::Deserialize;

use super::super::files;
use super::exact;
use super::{Found, Target};
use crate::diagnostic::{Code, Diagnostic};
use crate::store::hash_file;

/// The media type of a bundle, whatever its version.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// The media type of an index of manifests.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of the only manifests that may be no image: older ones are run by other members.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The annotation by which engines find a manifest.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The configuration of an artifact that needs none.
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");
/// Media types of what only says something about a subject: signatures, attestations and lists of parts. A list of
/// what may be passed over and not of what may be run: plugins, charts and modules are configured by media types
/// of their own, and there are always more.
const STATEMENTS: [&str; 15] = [
    "application/cose",
    "application/jose+json",
    "application/sarif+json",
    "application/spdx+json",
    "application/vnd.cncf.notary.signature",
    "application/vnd.cyclonedx",
    "application/vnd.cyclonedx+json",
    "application/vnd.cyclonedx+xml",
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.dev.cosign.simplesigning.v1+json",
    "application/vnd.dsse.envelope.v1+json",
    "application/vnd.openvex+json",
    "application/vnd.syft+json",
    BUILDKIT,
    "text/spdx",
];
/// The media type of BuildKit's unsigned statements, which are layers of a manifest of their own.
const BUILDKIT: &str = "application/vnd.in-toto+json";
/// Most bytes of bundles in one layout, together.
const BUNDLES_BYTES_MAX: usize = 64 << 20;
/// Most manifests of one layout, fallback indexes opened.
const MANIFESTS_MAX: usize = 1024;

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    platform: Option<Platform>,
    /// The content itself, in base64: engines take it instead of the blob.
    data: Option<String>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[expect(dead_code, reason = "read so that the file has to have it")]
    image_layout_version: String,
}

impl Descriptor {
    /// Says whether no engine picks it: nobody runs on an unknown platform, and it has no name.
    fn is_for_nobody(&self) -> bool {
        let unknown = |one: &Platform| one.os == "unknown" && one.architecture == "unknown";
        self.platform.as_ref().is_some_and(unknown) && !self.annotations.contains_key(REF_NAME)
    }

    /// Refuses content that it embeds and that is not what it names. Its `urls` are not asked: they say where the
    /// blob may be had, and what counts is its digest.
    fn embeds_itself(&self, name: &str) -> Result<(), Diagnostic> {
        let Some(data) = &self.data else { return Ok(()) };
        let bytes = attestor::dsse::standard_base64(data);
        let found = bytes.map(|bytes| (Digest::of(&bytes), bytes.len() as u64));
        if found == Some((self.digest, self.size)) {
            return Ok(());
        }
        let headline = format!("a descriptor of {name} embeds other content than it names");
        Err(Diagnostic::new(Code::EvidenceMalformed, headline)
            .expected(format!("{}, {} bytes", self.digest, self.size))
            .got(found.map_or_else(
                || "data that is no standard base64".to_owned(),
                |(digest, size)| format!("{digest}, {size} bytes"),
            ))
            .help("get the layout again from where it was published, or take `data` out of it"))
    }

    fn is_statement(&self) -> bool {
        self.media_type.starts_with(BUNDLE) || STATEMENTS.contains(&self.media_type.as_str())
    }

    fn is_empty(&self) -> bool {
        self.media_type == EMPTY.0 && self.digest == Digest::of(EMPTY.1)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    /// What the artifact manifests of an earlier form name; readers of that form still take them.
    #[serde(default)]
    blobs: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
    /// The parts of the first form of manifests, which no engine of today takes.
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Returns what it is about, where it holds statements about that and nothing else, whatever it claims to be.
    fn is_about(&self, named: &Descriptor) -> Option<Digest> {
        let config = |one: &Descriptor| one.is_empty() || one.is_statement();
        let says = self.is_manifest(named)
            && self.manifests.is_empty()
            && self.blobs.is_empty()
            && self.config.as_ref().is_some_and(config)
            && !self.layers.is_empty()
            && self.layers.iter().all(Descriptor::is_statement);
        self.subject.as_ref().filter(|_| says).map(|one| one.digest)
    }

    /// Returns all that it names and that is no manifest.
    fn parts(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers).chain(&self.blobs)
    }

    /// Says whether it is a manifest of today's form, by itself and by what names it.
    fn is_manifest(&self, named: &Descriptor) -> bool {
        let own = self.media_type.as_deref().unwrap_or(MANIFEST);
        named.media_type == MANIFEST && own == MANIFEST
    }

    fn is_of_buildkit(&self, named: &Descriptor) -> bool {
        self.is_manifest(named)
            && named.is_for_nobody()
            && self.blobs.is_empty()
            && !self.layers.is_empty()
            && self.layers.iter().all(|layer| layer.media_type == BUILDKIT)
    }

    /// Returns whose bundle it holds; none where it holds none.
    fn vouches_for(&self, named: &Descriptor) -> Option<Digest> {
        let is_bundle = self.artifact_type.as_ref().is_some_and(|kind| kind.starts_with(BUNDLE));
        self.is_about(named).filter(|_| is_bundle)
    }

    /// Says whether it needs no bundle. In the topmost index engines pick without asking for a platform.
    fn is_passed_over(&self, named: &Descriptor, is_topmost: bool) -> bool {
        self.is_about(named).is_some() || !is_topmost && self.is_of_buildkit(named)
    }

    /// Returns what could be run or read of it, where it is about a subject and is decided about all the same.
    fn why_not_passed_over(&self) -> Option<String> {
        self.subject.as_ref()?;
        let kinds = self.parts().filter(|one| !one.is_empty());
        let other: BTreeSet<&str> =
            kinds.filter(|one| !one.is_statement()).map(|one| one.media_type.as_str()).collect();
        Some(match (other.is_empty(), &self.config) {
            (false, _) => super::shown(&other.into_iter().collect::<Vec<_>>()),
            (true, None) => "a manifest without a configuration".to_owned(),
            (true, Some(_)) => "a manifest without a statement in it".to_owned(),
        })
    }
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
    let _: Head = json(&read(&folder.join("oci-layout"), name)?, name)?;
    let index: Index = json(&read(&folder.join("index.json"), name)?, name)?;
    index.manifests.iter().try_for_each(|one| one.embeds_itself(name))?;
    let mut waiting: Vec<(bool, Descriptor)> =
        index.manifests.into_iter().map(|one| (true, one)).collect();
    let (mut images, mut referrers) = (Vec::new(), Vec::new());
    let mut seen = 0;
    while let Some((is_topmost, one)) = waiting.pop() {
        seen += 1;
        if seen > MANIFESTS_MAX {
            return Err(wrong(name, &format!("it holds more than {MANIFESTS_MAX} manifests")));
        }
        let tag = one.annotations.get(REF_NAME);
        if one.media_type == INDEX && tag.is_some_and(|tag| tag.starts_with("sha256-")) {
            let (_, bytes) = blob(folder, &one, name)?;
            let inner = manifest(&bytes, name)?;
            waiting.extend(inner.manifests.into_iter().map(|one| (false, one)));
            continue;
        }
        let (digest, bytes) = blob(folder, &one, name)?;
        let manifest = manifest(&bytes, name)?;
        match manifest.vouches_for(&one) {
            Some(subject) => referrers.push((subject, manifest.layers)),
            None if manifest.is_passed_over(&one, is_topmost) => {}
            None => images.push((digest, manifest.why_not_passed_over())),
        }
    }
    images.sort_unstable();
    images.dedup_by_key(|(digest, _)| *digest);
    if images.is_empty() {
        return Err(wrong(name, "it holds no image"));
    }
    images.into_iter().map(|(digest, why)| target(folder, name, digest, why, &referrers)).collect()
}

fn target(
    folder: &Path,
    name: &str,
    digest: Digest,
    about: Option<String>,
    referrers: &[(Digest, Vec<Descriptor>)],
) -> Result<Target, Diagnostic> {
    let mut evidence: Vec<Found> = Vec::new();
    let mut read = BTreeSet::new();
    let mut total = 0;
    for (_, layers) in referrers.iter().filter(|(subject, _)| *subject == digest) {
        let Some(layer) = layers.first().filter(|layer| layer.media_type.starts_with(BUNDLE))
        else {
            continue;
        };
        if !read.insert(layer.digest) {
            continue;
        }
        let (layer_digest, bytes) = blob(folder, layer, name)?;
        total += bytes.len();
        if total > BUNDLES_BYTES_MAX {
            return Err(wrong(name, "its bundles are larger than 64 MiB together"));
        }
        let shown = format!("{name}/blobs/sha256/{}", layer_digest.hex());
        evidence.push(Found { shown, bytes, manifest: None });
    }
    let target = format!("{name}@{digest}");
    if evidence.is_empty() {
        let told = Diagnostic::new(Code::NoStatement, format!("nothing speaks for {target}"))
            .expected("a manifest in the layout whose subject it is and whose layer is a bundle");
        return Err(match about {
            Some(what) => told
                .got(format!("a manifest about another one, which holds {what}"))
                .why("only signatures, attestations and lists of parts need no bundle of their own")
                .help("take it out of the layout, or have it signed too"),
            None => told,
        });
    }
    is_whole(folder, name, digest)?;
    Ok(Target { name: target, digest, evidence })
}

/// Holds all that an image names against its bytes, manifests of manifests included.
fn is_whole(folder: &Path, name: &str, image: Digest) -> Result<(), Diagnostic> {
    let (mut waiting, mut seen) = (vec![(image, None)], BTreeSet::new());
    while let Some((digest, size)) = waiting.pop() {
        if !seen.insert((digest, size)) {
            continue;
        }
        if seen.len() > MANIFESTS_MAX {
            return Err(wrong(name, &format!("it holds more than {MANIFESTS_MAX} manifests")));
        }
        let bytes = read(&place(folder, digest), name)?;
        same(name, digest, Digest::of(&bytes))?;
        if let Some(size) = size {
            as_large(name, digest, size, bytes.len() as u64)?;
        }
        let manifest = manifest(&bytes, name)?;
        waiting.extend(manifest.manifests.iter().map(|one| (one.digest, Some(one.size))));
        for part in manifest.parts() {
            let at = place(folder, part.digest);
            let found = files::open(&at).map_err(|error| unreadable(name, &at, &error)).and_then(
                |file| hash_file(&file, &mut |_| ()).map_err(|error| unreadable(name, &at, &error)),
            )?;
            same(name, part.digest, found.digest)?;
            as_large(name, part.digest, part.size, found.size)?;
        }
    }
    Ok(())
}

/// Reads a manifest or an index. One that is both is read by some as this and by others as that.
fn manifest(bytes: &[u8], name: &str) -> Result<Manifest, Diagnostic> {
    let read: Manifest = json(bytes, name)?;
    if !read.manifests.is_empty() && read.parts().next().is_some() {
        return Err(wrong(name, "one of it is both a manifest and an index"));
    }
    if read.fs_layers.is_some() {
        return Err(wrong(name, "one of it has `fsLayers`, which are not held against anything"));
    }
    let all = read.parts().chain(&read.subject).chain(&read.manifests);
    all.into_iter().try_for_each(|one| one.embeds_itself(name))?;
    Ok(read)
}

fn unreadable(name: &str, at: &Path, error: &dyn std::error::Error) -> Diagnostic {
    let file = model::text::escape(at.as_os_str().as_encoded_bytes());
    wrong(name, &format!("{file}, which an image of it names, can not be read")).caused_by(error)
}

fn place(folder: &Path, digest: Digest) -> std::path::PathBuf {
    folder.join("blobs/sha256").join(digest.hex())
}

fn same(name: &str, wanted: Digest, got: Digest) -> Result<(), Diagnostic> {
    if got == wanted {
        return Ok(());
    }
    let headline = format!("a blob of {name} is not what its name says");
    Err(Diagnostic::new(Code::EvidenceMalformed, headline)
        .expected(wanted.to_string())
        .got(got.to_string()))
}

/// Compares what a descriptor says of a blob's size with the blob.
fn as_large(name: &str, digest: Digest, wanted: u64, got: u64) -> Result<(), Diagnostic> {
    if got == wanted {
        return Ok(());
    }
    let headline = format!("a blob of {name} is not as large as the layout says: {digest}");
    Err(Diagnostic::new(Code::EvidenceMalformed, headline)
        .expected(format!("{wanted} bytes"))
        .got(format!("{got} bytes")))
}

/// Reads a blob and checks that it is the one that was meant.
fn blob(folder: &Path, one: &Descriptor, name: &str) -> Result<(Digest, Vec<u8>), Diagnostic> {
    let wanted = one.digest;
    let bytes = read(&place(folder, wanted), name)?;
    same(name, wanted, Digest::of(&bytes))?;
    as_large(name, wanted, one.size, bytes.len() as u64)?;
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
    exact::read(bytes).map_err(|error| {
        wrong(name, "a manifest of it is not as the format says").caused_by(&error)
    })
}

fn wrong(name: &str, what: &str) -> Diagnostic {
    Diagnostic::new(Code::EvidenceMalformed, format!("the layout {name} can not be used: {what}"))
}
