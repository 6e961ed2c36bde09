//! Our REAPI v2 bytes against those of Google's protobuf library.
//!
//! `reapi.json` is written by `reapi_vectors.py`, whose encoder shares nothing with ours; the file is
//! committed, so the test needs no network and no Python.
//!
//! Source: REAPI v2 `remote_execution.proto`.

use std::collections::{BTreeMap, BTreeSet};

use model::digest::{Blob, Digest};
use model::limits::Millis;
use model::reapi::{Action, Command, decode_directory, encode_directory};
use model::tree::{Directory, Node};
use serde_json::Value;

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn blob(value: &Value) -> Blob {
    let digest = Digest::from_hex(&text(&value["sha256"])).expect("a digest");
    Blob { digest, size: value["size"].as_u64().expect("a size") }
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let map = value.as_object().expect("a map");
    map.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn list(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(text).collect()
}

fn directory(value: &Value) -> Directory {
    let mut out = Directory::default();
    for (name, entry) in value.as_object().expect("a map") {
        let node = if entry.get("file").is_some() {
            let executable = entry["executable"].as_bool().expect("a bool");
            Node::File { blob: blob(&entry["file"]), executable }
        } else if entry.get("directory").is_some() {
            Node::Directory(blob(&entry["directory"]))
        } else {
            Node::Symlink(text(&entry["symlink"]))
        };
        assert!(out.add(model::Name::new(name).expect("a name"), node));
    }
    out
}

fn encode(message: &str, value: &Value) -> Vec<u8> {
    match message {
        "directory" => encode_directory(&directory(value)),
        "command" => Command {
            arguments: list(&value["arguments"]),
            environment: texts(&value["environment"]),
            working_directory: text(&value["folder"]),
            output_paths: BTreeSet::from_iter(list(&value["outputs"])),
        }
        .encode(),
        "action" => Action {
            command: blob(&value["command"]),
            input_root: blob(&value["root"]),
            timeout: Millis(value["timeout_ms"].as_u64().expect("a number")),
            platform: texts(&value["platform"]),
        }
        .encode(),
        other => panic!("no message {other}"),
    }
}

fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("reapi.json")).expect("the vectors are JSON")
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digits).collect()
}

#[test]
fn bytes_of_messages_are_those_of_an_independent_encoder() {
    let vectors = vectors();
    assert!(vectors.len() >= 9);
    for vector in vectors {
        let name = format!("{} {}", vector["message"], vector["name"]);
        let wanted = unhex(&text(&vector["bytes"]));
        assert_eq!(encode(&text(&vector["message"]), &vector["value"]), wanted, "{name}");
    }
}

#[test]
fn folders_of_an_independent_encoder_are_read_back() {
    let folders = vectors().into_iter().filter(|vector| vector["message"] == "directory");
    for vector in folders {
        let read = decode_directory(&unhex(&text(&vector["bytes"]))).expect("a folder");
        assert_eq!(read, directory(&vector["value"]), "{}", vector["name"]);
    }
}
