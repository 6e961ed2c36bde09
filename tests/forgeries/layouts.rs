//! Image layouts: what an engine reads in them, and we might not.

use serde_json::{Value, json};

use super::Must::{Refuse, Same};
use super::scene::Scene;
use super::weighed::{image, image_with};
use super::{Forgery, after};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const SBOM: &str = "application/spdx+json";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Adds a blob; returns its descriptor.
fn blob(scene: &mut Scene<'_>, kind: &str, text: &str) -> Value {
    let digest = model::Digest::of(text.as_bytes());
    scene.file(&format!("oci/blobs/sha256/{}", digest.hex()), text);
    json!({"mediaType": kind, "digest": digest.to_string(), "size": text.len()})
}

/// Adds an image of nobody's, whose layers are called as given.
fn evil(scene: &mut Scene<'_>, layers: &str) -> Value {
    let config = blob(scene, CONFIG, "{\"os\": \"linux\", \"rootfs\": {}}");
    let layer = blob(scene, layers, "a layer");
    let text =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    blob(scene, MANIFEST, &text.to_string())
}

fn layer_of_tar(scene: &mut Scene<'_>) -> Value {
    evil(scene, TAR)
}

/// Changes the text of the index.
fn index(scene: &mut Scene<'_>, change: impl FnOnce(&mut Value) -> String) {
    let text = String::from_utf8(scene.files["oci/index.json"].clone()).expect("JSON is text");
    let text = change(&mut serde_json::from_str(&text).expect("it was written as JSON"));
    scene.file("oci/index.json", text);
}

fn add(scene: &mut Scene<'_>, one: Value) {
    index(scene, |index| {
        index["manifests"].as_array_mut().expect("a list").push(one);
        index.to_string()
    });
}

/// Gives a member of the index, or of its first manifest, a second time, in another case.
fn twice(scene: &mut Scene<'_>, name: &str) {
    let evil = layer_of_tar(scene);
    index(scene, |index| match name {
        "Digest" | "digest" => {
            let text = index.to_string();
            let first = index["manifests"][0]["digest"].to_string();
            let member = format!("\"digest\":{first}");
            text.replacen(&member, &format!("{member},\"{name}\":{}", evil["digest"]), 1)
        }
        name => {
            index[name] = json!([evil]);
            index.to_string()
        }
    });
}

/// Adds an artifact about the image: a list of parts, but for what `more` says.
fn artifact(scene: &mut Scene<'_>, more: &Value) {
    let subject = index_first(scene);
    let layer = blob(scene, SBOM, "{}");
    let config = blob(scene, EMPTY, "{}");
    let mut text = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer], "subject": subject});
    for (name, value) in more.as_object().expect("an object") {
        text[name] = value.clone();
    }
    let one = blob(scene, MANIFEST, &text.to_string());
    add(scene, one);
}

/// The same with something to run in it, configured by this media type; the kind that it claims is a bundle's.
fn runs(scene: &mut Scene<'_>, config: &str, content: &str, layer: &str) {
    let config = blob(scene, config, content);
    let layer = blob(scene, layer, "a layer");
    let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
    artifact(scene, &json!({"artifactType": kind, "config": config, "layers": [layer]}));
}

fn index_first(scene: &Scene<'_>) -> Value {
    let index: Value =
        serde_json::from_slice(&scene.files["oci/index.json"]).expect("it was written as JSON");
    index["manifests"][0].clone()
}

/// Adds a manifest whose layers are all statements: in the topmost index, or in one about the image.
fn statements(scene: &mut Scene<'_>, is_topmost: bool, more: &Value) {
    let mut one = evil(scene, "application/vnd.in-toto+json");
    for (name, value) in more.as_object().expect("an object") {
        one[name] = value.clone();
    }
    if is_topmost {
        return add(scene, one);
    }
    let digest = index_first(scene)["digest"].as_str().expect("a digest").replace(':', "-");
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [one]}).to_string();
    let mut inner = blob(scene, INDEX, &inner);
    inner["annotations"] = json!({"org.opencontainers.image.ref.name": digest});
    add(scene, inner);
}

fn unknown() -> Value {
    json!({"platform": {"os": "unknown", "architecture": "unknown"}})
}

/// Has a manifest of artifacts signed, of the form before today's, that names one blob of so many bytes.
fn artifact_of(scene: &mut Scene<'_>, text: &str, bytes: usize) {
    let mut one = blob(scene, "application/octet-stream", text);
    one["size"] = json!(bytes);
    let kind = "application/vnd.oci.artifact.manifest.v1+json";
    image_with(
        scene,
        &json!({"mediaType": kind, "artifactType": "application/x-own", "blobs": [one]}),
    );
}

/// Returns where that blob lies.
fn blob_of(_: &Scene<'_>) -> String {
    format!("oci/blobs/sha256/{}", model::Digest::of(b"a blob").hex())
}

#[rustfmt::skip]
pub const ROWS: [Forgery; 31] = [
    after("A2", "an image in a layout's `Manifests`, beside `manifests`", image, |s| twice(s, "Manifests"), Refuse("KILN-0806")),
    after("A2", "an image in a layout's `manifeſts`, beside `manifests`", image, |s| twice(s, "manife\u{17f}ts"), Refuse("KILN-0806")),
    after("A2", "an image by a layout's `Digest`, beside `digest`", image, |s| twice(s, "Digest"), Refuse("KILN-0806")),
    after("A2", "an image by a layout's second `digest`", image, |s| twice(s, "digest"), Refuse("KILN-0806")),
    after("A2", "an artifact about an image that is one by `Config`", image, |s| artifact(s, &json!({"Config": {"mediaType": CONFIG}})), Refuse("KILN-0806")),
    after("A2", "an artifact about an image that is one by its older media type", image, |s| artifact(s, &json!({"mediaType": "application/vnd.docker.distribution.manifest.v1+json"})), Refuse("KILN-0801")),
    after("A2", "an artifact about an image, such as an SBOM", image, |s| artifact(s, &json!({})), Same),
    after("A13", "a plugin that says it is about the image", image, |s| runs(s, "application/vnd.docker.plugin.v1+json", "{}", TAR), Refuse("KILN-0801")),
    after("A13", "a module of WebAssembly that says so", image, |s| runs(s, "application/vnd.wasm.config.v0+json", "{}", "application/wasm"), Refuse("KILN-0801")),
    after("A13", "a chart that says so", image, |s| runs(s, "application/vnd.cncf.helm.config.v1+json", "{}", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"), Refuse("KILN-0801")),
    after("A13", "an image with the empty configuration that says so", image, |s| runs(s, EMPTY, "{}", TAR), Refuse("KILN-0801")),
    after("A13", "an empty configuration that is not empty", image, |s| runs(s, EMPTY, "{\"os\": \"linux\"}", SBOM), Refuse("KILN-0801")),
    after("A13", "a statement's configuration over a layer to run", image, |s| runs(s, SBOM, "{}", TAR), Refuse("KILN-0801")),
    after("A13", "a statement beside a layer to run", image, |s| { let (a, b) = (blob(s, SBOM, "{}"), blob(s, TAR, "a layer")); artifact(s, &json!({"layers": [a, b]})); }, Refuse("KILN-0801")),
    after("A13", "an artifact about an image that holds nothing", image, |s| artifact(s, &json!({"layers": []})), Refuse("KILN-0801")),
    after("A13", "an unsigned image beside the signed one", image, |s| { let one = layer_of_tar(s); add(s, one); }, Refuse("KILN-0801")),
    after("A13", "an unsigned image whose layers are called statements", image, |s| statements(s, true, &json!({})), Refuse("KILN-0801")),
    after("A13", "the same, for no platform, in the topmost index", image, |s| statements(s, true, &unknown()), Refuse("KILN-0801")),
    after("A13", "the same, below the topmost index, for a platform", image, |s| statements(s, false, &json!({"platform": {"os": "linux", "architecture": "unknown"}})), Refuse("KILN-0801")),
    after("A13", "the same, below the topmost index, for any platform", image, |s| statements(s, false, &json!({})), Refuse("KILN-0801")),
    after("A13", "the same, for no platform but with a name", image, |s| {
        let mut more = unknown();
        more["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        statements(s, false, &more);
    }, Refuse("KILN-0801")),
    after("A13", "BuildKit's statements, for no platform and without a name", image, |s| statements(s, false, &unknown()), Same),
    after("A2", "an artifact manifest, signed, with its `blobs`", |s| artifact_of(s, "a blob", 6), |_| {}, Same),
    after("A2", "the same without a blob that it names", |s| artifact_of(s, "a blob", 6), |s| { let one = blob_of(s); s.files.remove(&one); }, Refuse("KILN-0806")),
    after("A2", "the same with another blob in its place", |s| artifact_of(s, "a blob", 6), |s| { let one = blob_of(s); s.file(&one, "a bomb"); }, Refuse("KILN-0806")),
    after("A2", "the same with a blob that is longer than it says", |s| artifact_of(s, "a blob", 6), |s| artifact_of(s, "a blob", 5), Refuse("KILN-0806")),
    after("A2", "a signed manifest of the first form, whose parts nobody compares", image, |s| image_with(s, &json!({"fsLayers": [{"blobSum": model::Digest::of(b"gone")}]})), Refuse("KILN-0806")),
    after("A13", "a list of parts with something to run among its `blobs`", image, |s| { let one = blob(s, TAR, "a layer"); artifact(s, &json!({"blobs": [one]})); }, Refuse("KILN-0801")),
    after("A2", "an image layout that says the wrong size", image, |s| index(s, |index| { index["manifests"][0]["size"] = json!(1); index.to_string() }), Refuse("KILN-0806")),
    after("A2", "an image layout whose `oci-layout` has `ImageLayoutVersion`", image, |s| s.file("oci/oci-layout", "{\"ImageLayoutVersion\": \"1.0.0\", \"imageLayoutVersion\": \"1.0.0\"}"), Refuse("KILN-0806")),
    after("A2", "an image layout whose index goes on after its end", image, |s| index(s, |index| format!("{index} {index}")), Refuse("KILN-0806")),
];
