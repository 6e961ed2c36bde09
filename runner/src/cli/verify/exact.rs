//! JSON of a layout that all readers read alike.
//!
//! Engines are written in Go, whose JSON takes `"Manifests"` for `manifests`, `"\u017fize"` for `size`, and the last
//! of several. Others, and we, want the very letters. A document in which a name is a known one but for its case,
//! or stands twice, is two documents, of which a signature would cover one.
//!
//! Source: Go, encoding/json, "Unmarshal" and its fold.go.

use attestor::strict_json::{self, Caps, JsonError};
use serde_json::Value;

/// What one document may take: registries take four mebibytes, and a layout lists a thousand manifests at most.
const CAPS: Caps = Caps { bytes: 4 << 20, depth: 32, values: 1 << 17 };
/// Every name that an engine looks for in an index, a manifest or `oci-layout`, older manifests included.
const KNOWN: [&str; 29] = [
    "annotations",
    "architecture",
    "artifacttype",
    "blobs",
    "blobsum",
    "config",
    "data",
    "digest",
    "features",
    "fslayers",
    "history",
    "imagelayoutversion",
    "layers",
    "manifests",
    "mediatype",
    "name",
    "os",
    "os.features",
    "os.version",
    "platform",
    "schemaversion",
    "signatures",
    "size",
    "subject",
    "tag",
    "urls",
    "v1compatibility",
    "variant",
    "version",
];
/// Those of them that are not in lower case.
const WRITTEN: [&str; 7] = [
    "artifactType",
    "blobSum",
    "fsLayers",
    "imageLayoutVersion",
    "mediaType",
    "schemaVersion",
    "v1Compatibility",
];

/// Why a document is not read.
#[derive(Debug, thiserror::Error)]
pub enum Inexact {
    /// No JSON, a name that stands twice, or more than is read.
    #[error("the JSON of it")]
    Json(#[source] JsonError),
    /// A name that some readers take for another.
    #[error("member `{name}` is a known one but for its case")]
    Disguised {
        /// It, escaped.
        name: String,
    },
    /// JSON of another shape.
    #[error("it has not the members of this format")]
    Shape(#[source] serde_json::Error),
}

/// Reads one document.
///
/// # Errors
/// No JSON, a name that stands twice or that is a known one but for its case, and another shape.
pub fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Inexact> {
    let value = strict_json::parse(bytes, &CAPS).map_err(Inexact::Json)?;
    undisguised(&value, false)?;
    serde_json::from_value(value).map_err(Inexact::Shape)
}

/// Checks every name; those of annotations are keys of a map, which Go leaves as they are.
fn undisguised(value: &Value, names_are_free: bool) -> Result<(), Inexact> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        Value::Array(items) => items.iter().try_for_each(|item| undisguised(item, false)),
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            if !names_are_free && is_disguised(name) {
                return Err(Inexact::Disguised { name: model::text::escape(name.as_bytes()) });
            }
            undisguised(value, name == "annotations")
        }),
    }
}

/// Returns a name as Go compares it.
fn folded(name: &str) -> String {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(fold).collect()
}

fn is_disguised(name: &str) -> bool {
    let folded = folded(name);
    let Some(known) = KNOWN.iter().find(|known| **known == folded) else { return false };
    let written = WRITTEN.iter().find(|one| one.eq_ignore_ascii_case(known)).unwrap_or(known);
    name != *written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) -> Result<Value, Inexact> {
        read(bytes)
    }

    #[test]
    fn names_stand_once_and_in_their_own_case() {
        for text in [
            r#"{"manifests":[],"Manifests":[]}"#,
            r#"{"Manifests":[]}"#,
            r#"{"manifests":[{"digest":"a","DIGEST":"b"}]}"#,
            r#"{"manifests":[{"a":{"\u017fize":1}}]}"#,
            "{\"\u{212a}\":1,\"ta\u{67}\":1,\"Tag\":2}",
            r#"{"subject":{},"config":{},"con\u0046ig":{}}"#,
            r#"{"mediatype":"x"}"#,
            r#"{"x":[{"a":1,"a":1}]}"#,
            r#"{"annotations":{"a":"1","a":"2"}}"#,
            "{} {}",
            "{",
        ] {
            assert!(check(text.as_bytes()).is_err(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
        let long = format!("{{\"x\":\"{}\"}}", "x".repeat(CAPS.bytes));
        let many = format!("[{}1]", "1,".repeat(CAPS.values));
        for text in [deep, long, many] {
            assert!(matches!(check(text.as_bytes()), Err(Inexact::Json(_))), "{text:.20}");
        }
        for text in [
            r#"{"schemaVersion":2,"mediaType":"x","artifactType":"y","new":{"x":1.5,"y":[null,true,-1]}}"#,
            r#"{"imageLayoutVersion":"1.0.0"}"#,
            r#"{"annotations":{"Version":"1","version":"2","Size":"3"},"platform":{"os.version":"1"}}"#,
        ] {
            check(text.as_bytes()).unwrap();
        }
    }
}
