//! The JSON Schemas of the build file and the lock, for editors and `kiln schema`.
//!
//! They are texts of their own, since a schema is read by people too. They say which keys there are
//! and what form values have; what values say about each other only [`parse`](super::parse()) knows.
//! A test compares every list of keys with the tables that the reader uses.
//!
//! Source: JSON Schema, draft 2020-12.

/// The schema of `kiln.yaml`, version 1.
pub const BUILD_FILE: &str = include_str!("build-file.schema.json");
/// The schema of `kiln.lock`, version 1, in TOML or in JSON.
pub const LOCK: &str = include_str!("../lock/lock.schema.json");

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::reader::Table;
    use super::super::{artifact, environment, project, resources, source, step};
    use super::*;

    fn keys(definition: &Value) -> Vec<&str> {
        let properties = definition["properties"].as_object().unwrap();
        let mut keys: Vec<&str> = properties.keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn the_schema_has_the_keys_that_the_reader_has() {
        let schema: Value = serde_json::from_str(BUILD_FILE).unwrap();
        let tables: [(&str, &Table); 19] = [
            ("", &project::TOP),
            ("source-local", &source::LOCAL),
            ("source-git", &source::GIT),
            ("source-url", &source::URL),
            ("source-oci", &source::OCI),
            ("source-lockfile", &source::LOCKFILE),
            ("source-deb", &source::DEB),
            ("environment", &environment::KEYS),
            ("host", &environment::HOST),
            ("host-path", &environment::HOST_PATH),
            ("deb", &environment::DEB),
            ("oci", &environment::OCI),
            ("rootfs", &environment::ROOTFS),
            ("step", &step::STEP),
            ("test", &step::TEST),
            ("output", &step::OUTPUT),
            ("resources", &resources::KEYS),
            ("artifact-file", &artifact::FILE),
            ("artifact-archive", &artifact::ARCHIVE),
        ];
        for (name, table) in tables {
            let definition = if name.is_empty() { &schema } else { &schema["$defs"][name] };
            assert_eq!(keys(definition), table.keys, "{name}");
            assert_eq!(definition["additionalProperties"], Value::Bool(false), "{name}");
        }
    }

    #[test]
    fn every_reference_of_a_schema_is_defined() {
        for text in [BUILD_FILE, LOCK] {
            let schema: Value = serde_json::from_str(text).unwrap();
            for part in text.split("\"#/$defs/").skip(1) {
                let name = part.split('"').next().unwrap();
                assert!(schema["$defs"].get(name).is_some(), "{name}");
            }
        }
    }
}
