//! JSON of a layout that all readers read alike.
//!
//! Engines are written in Go, whose JSON takes `"Manifests"` for `manifests`, `"\u017fize"` for `size`, and the last
//! of several. Others, and we, want the very letters. A document in which a name is a known one but for its case,
//! or stands twice, is two documents, of which a signature would cover one.
//!
//! Source: Go, encoding/json, "Unmarshal" and its fold.go.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess};

/// Every name that an engine looks for in an index, a manifest or `oci-layout`, older manifests included.
const KNOWN: [&str; 28] = [
    "annotations",
    "architecture",
    "artifacttype",
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

/// Checks one document.
///
/// # Errors
/// No JSON, or a name that stands twice or that is a known one but for its case.
pub fn check(bytes: &[u8]) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Alike { names_are_free: false }.deserialize(&mut reader)?;
    reader.end()
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

/// One value. Names of annotations are keys of a map, which Go leaves as they are.
#[derive(Clone, Copy)]
struct Alike {
    names_are_free: bool,
}

impl<'de> DeserializeSeed<'de> for Alike {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Alike {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Alike { names_are_free: false })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            let shown = || model::text::escape(name.as_bytes());
            if !self.names_are_free && is_disguised(&name) {
                let text = format_args!("member `{}` is a known one but for its case", shown());
                return Err(A::Error::custom(text));
            }
            if names.contains(&name) {
                return Err(A::Error::custom(format_args!("member `{}` stands twice", shown())));
            }
            members.next_value_seed(Alike { names_are_free: name == "annotations" })?;
            names.insert(name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for text in [
            r#"{"schemaVersion":2,"mediaType":"x","artifactType":"y","new":{"x":1.5,"y":[null,true,-1]}}"#,
            r#"{"imageLayoutVersion":"1.0.0"}"#,
            r#"{"annotations":{"Version":"1","version":"2","Size":"3"},"platform":{"os.version":"1"}}"#,
        ] {
            check(text.as_bytes()).unwrap();
        }
    }
}
