//! Canonical bytes of the Remote Execution API v2 messages that kiln hashes.
//!
//! Written by hand in field order, because a digest is defined over bytes and a general protobuf
//! encoder promises none. Default values are left out, as proto3 does. Decoding accepts only what
//! encodes back to the same bytes: unsorted names, duplicates, unknown fields and every
//! non-minimal encoding are refused, so one content has one digest in both directions.
//!
//! Does no I/O. Covers `Digest`, `Directory`, `Command`, `Action` and `Platform`; nothing else is
//! hashed.
//!
//! Source: REAPI v2 `build.bazel.remote.execution.v2`, protobuf encoding guide.

use std::collections::BTreeMap;

use crate::digest::{Blob, Digest};
use crate::limits::Millis;
use crate::relpath::Name;
use crate::tree::{Directory, Node};

/// Largest `Directory` message that is decoded, in bytes. Whoever stores one refuses a larger one, or
/// nobody could read it back.
pub const DIRECTORY_BYTES_MAX: usize = 64 << 20;

/// What runs: REAPI v2 `Command`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// The whole environment, sorted by name.
    pub environment: BTreeMap<String, String>,
    /// Where it runs, relative to the input root.
    pub working_directory: String,
    /// What is taken out, relative to the working directory, sorted.
    pub output_paths: std::collections::BTreeSet<String>,
}

/// What a step is: REAPI v2 `Action`. Its digest is the step's cache key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The [`Command`] message.
    pub command: Blob,
    /// The root `Directory` of everything the step sees.
    pub input_root: Blob,
    /// The wall time allowed.
    pub timeout: Millis,
    /// Sandbox settings a step can notice, sorted by name (decision 4: `do_not_cache` is always set).
    pub platform: BTreeMap<String, String>,
}

/// Why bytes are no canonical `Directory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message is cut short, or longer than [`DIRECTORY_BYTES_MAX`].
    #[error("the message has a wrong length")]
    Length,
    /// A field that the format does not have, or of another wire type.
    #[error("the message has an unknown field")]
    Field,
    /// A name that no entry can have, or a digest that is none.
    #[error("the message has an impossible value")]
    Value,
    /// The message does not encode back to the same bytes.
    #[error("the message is not in canonical form")]
    NotCanonical,
}

impl Command {
    /// Returns the canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for argument in &self.arguments {
            bytes_field(&mut out, 1, argument.as_bytes(), true);
        }
        for (name, value) in &self.environment {
            bytes_field(&mut out, 2, &pair(name, value), true);
        }
        bytes_field(&mut out, 6, self.working_directory.as_bytes(), false);
        for path in &self.output_paths {
            bytes_field(&mut out, 7, path.as_bytes(), true);
        }
        out
    }
}

impl Action {
    /// Returns the canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        bytes_field(&mut out, 1, &encode_blob(&self.command), true);
        bytes_field(&mut out, 2, &encode_blob(&self.input_root), true);
        let mut timeout = Vec::new();
        number_field(&mut timeout, 1, self.timeout.0 / 1000);
        number_field(&mut timeout, 2, self.timeout.0 % 1000 * 1_000_000);
        bytes_field(&mut out, 6, &timeout, true);
        number_field(&mut out, 7, 1);
        let mut platform = Vec::new();
        for (name, value) in &self.platform {
            bytes_field(&mut platform, 1, &pair(name, value), true);
        }
        bytes_field(&mut out, 10, &platform, false);
        out
    }

    /// Returns the digest of this action: the cache key.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }
}

/// Returns the least bytes that an entry takes in a folder's message: for a symlink with its target's
/// length, and for what has a digest without one.
pub fn entry_bytes_min(name: usize, target: Option<usize>) -> u64 {
    /// A digest in hexadecimal, with its own tag and length.
    const DIGEST: usize = 66;
    name.saturating_add(target.unwrap_or(DIGEST)) as u64
}

/// Returns the canonical bytes of a folder.
pub fn encode_directory(directory: &Directory) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, node) in directory.entries() {
        if let Node::File { blob, executable } = node {
            let mut file = entry(name, &encode_blob(blob));
            number_field(&mut file, 4, u64::from(*executable));
            bytes_field(&mut out, 1, &file, true);
        }
    }
    for (name, node) in directory.entries() {
        if let Node::Directory(blob) = node {
            bytes_field(&mut out, 2, &entry(name, &encode_blob(blob)), true);
        }
    }
    for (name, node) in directory.entries() {
        if let Node::Symlink(target) = node {
            bytes_field(&mut out, 3, &entry(name, target.as_bytes()), true);
        }
    }
    out
}

/// Reads a folder from its canonical bytes.
///
/// # Errors
/// Refuses everything that [`encode_directory`] would not have written.
pub fn decode_directory(bytes: &[u8]) -> Result<Directory, DecodeError> {
    if bytes.len() > DIRECTORY_BYTES_MAX {
        return Err(DecodeError::Length);
    }
    let mut directory = Directory::default();
    let mut rest = bytes;
    while let Some((number, value)) = next_field(&mut rest)? {
        let (name, node) = match (number, value) {
            (1, Value::Bytes(file)) => decode_file(file)?,
            (2, Value::Bytes(folder)) => {
                let (name, blob) = decode_entry(folder)?;
                (name, Node::Directory(decode_blob(blob)?))
            }
            (3, Value::Bytes(link)) => {
                let (name, target) = decode_entry(link)?;
                let target = std::str::from_utf8(target).map_err(|_| DecodeError::Value)?;
                if target.is_empty() || target.contains('\0') {
                    return Err(DecodeError::Value);
                }
                (name, Node::Symlink(target.to_owned()))
            }
            _ => return Err(DecodeError::Field),
        };
        if !directory.add(name, node) {
            return Err(DecodeError::NotCanonical);
        }
    }
    if encode_directory(&directory) == bytes {
        Ok(directory)
    } else {
        Err(DecodeError::NotCanonical)
    }
}

fn decode_file(mut rest: &[u8]) -> Result<(Name, Node), DecodeError> {
    let (mut name, mut blob, mut executable) = (None, None, false);
    while let Some(field) = next_field(&mut rest)? {
        match field {
            (1, Value::Bytes(text)) => name = Some(decode_name(text)?),
            (2, Value::Bytes(digest)) => blob = Some(decode_blob(digest)?),
            (4, Value::Number(1)) => executable = true,
            _ => return Err(DecodeError::Field),
        }
    }
    match (name, blob) {
        (Some(name), Some(blob)) => Ok((name, Node::File { blob, executable })),
        _ => Err(DecodeError::Value),
    }
}

fn decode_entry(mut rest: &[u8]) -> Result<(Name, &[u8]), DecodeError> {
    let (mut name, mut second) = (None, None);
    while let Some(field) = next_field(&mut rest)? {
        match field {
            (1, Value::Bytes(text)) => name = Some(decode_name(text)?),
            (2, Value::Bytes(bytes)) => second = Some(bytes),
            _ => return Err(DecodeError::Field),
        }
    }
    name.zip(second).ok_or(DecodeError::Value)
}

fn decode_blob(mut rest: &[u8]) -> Result<Blob, DecodeError> {
    let (mut digest, mut size) = (None, 0);
    while let Some(field) = next_field(&mut rest)? {
        match field {
            (1, Value::Bytes(hex)) => {
                let hex = std::str::from_utf8(hex).map_err(|_| DecodeError::Value)?;
                digest = Some(Digest::from_hex(hex).map_err(|_| DecodeError::Value)?);
            }
            (2, Value::Number(bytes)) => size = bytes,
            _ => return Err(DecodeError::Field),
        }
    }
    digest.map(|digest| Blob { digest, size }).ok_or(DecodeError::Value)
}

fn decode_name(text: &[u8]) -> Result<Name, DecodeError> {
    let text = std::str::from_utf8(text).map_err(|_| DecodeError::Value)?;
    Name::new(text).map_err(|_| DecodeError::Value)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Result<Option<(u64, Value<'a>)>, DecodeError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let tag = take_number(rest)?;
    match tag & 7 {
        0 => Ok(Some((tag >> 3, Value::Number(take_number(rest)?)))),
        2 => {
            let length = usize::try_from(take_number(rest)?).map_err(|_| DecodeError::Length)?;
            let (bytes, after) = rest.split_at_checked(length).ok_or(DecodeError::Length)?;
            *rest = after;
            Ok(Some((tag >> 3, Value::Bytes(bytes))))
        }
        _ => Err(DecodeError::Field),
    }
}

fn take_number(rest: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first().ok_or(DecodeError::Length)?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(DecodeError::Value)
}

fn encode_blob(blob: &Blob) -> Vec<u8> {
    let mut out = Vec::with_capacity(70);
    bytes_field(&mut out, 1, blob.digest.hex().as_bytes(), true);
    number_field(&mut out, 2, blob.size);
    out
}

fn entry(name: &Name, second: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.as_str().len() + second.len() + 8);
    bytes_field(&mut out, 1, name.as_str().as_bytes(), true);
    bytes_field(&mut out, 2, second, true);
    out
}

fn pair(name: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    bytes_field(&mut out, 1, name.as_bytes(), false);
    bytes_field(&mut out, 2, value.as_bytes(), false);
    out
}

/// Writes a length-delimited field; a repeated or message field (`always`) also when it is empty.
fn bytes_field(out: &mut Vec<u8>, number: u64, bytes: &[u8], always: bool) {
    if always || !bytes.is_empty() {
        put_number(out, number << 3 | 2);
        put_number(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

fn number_field(out: &mut Vec<u8>, number: u64, value: u64) {
    if value != 0 {
        put_number(out, number << 3);
        put_number(out, value);
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relpath::RelPath;
    use crate::tree::TreeBuilder;
    use proptest::prelude::*;

    fn sample() -> Directory {
        let mut builder = TreeBuilder::new();
        builder.file(&RelPath::new("run").unwrap(), Blob::of(b"#!/bin/sh\n"), true).unwrap();
        builder.file(&RelPath::new("empty").unwrap(), Blob::of(b""), false).unwrap();
        builder.symlink(&RelPath::new("link").unwrap(), "run").unwrap();
        builder.folder(&RelPath::new("sub").unwrap()).unwrap();
        builder.build().root_directory().unwrap().clone()
    }

    #[test]
    fn the_empty_folder_is_the_empty_message() {
        assert_eq!(encode_directory(&Directory::default()), b"");
        assert_eq!(Directory::default().blob(), Blob::of(b""));
    }

    #[test]
    fn a_folder_goes_round() {
        let directory = sample();
        assert_eq!(decode_directory(&encode_directory(&directory)), Ok(directory));
    }

    #[test]
    fn the_least_size_of_an_entry_is_never_above_the_true_one() {
        for (at, target) in [("run", None), ("link", Some("run".len())), ("empty", None)] {
            let mut alone = Directory::default();
            let node = sample().get(at).unwrap().clone();
            alone.set(Name::new(at).unwrap(), node);
            let (least, true_size) = (entry_bytes_min(at.len(), target), alone.blob().size);
            assert!((least..least + 20).contains(&true_size), "{at}: {least} of {true_size}");
        }
    }

    #[test]
    fn unsorted_and_duplicate_entries_are_refused() {
        let one = {
            let mut out = Vec::new();
            bytes_field(&mut out, 3, &entry(&Name::new("a").unwrap(), b"x"), true);
            out
        };
        let two = {
            let mut out = Vec::new();
            bytes_field(&mut out, 3, &entry(&Name::new("b").unwrap(), b"x"), true);
            out
        };
        assert!(decode_directory(&[one.clone(), two.clone()].concat()).is_ok());
        assert_eq!(decode_directory(&[two, one.clone()].concat()), Err(DecodeError::NotCanonical));
        assert_eq!(decode_directory(&[one.clone(), one].concat()), Err(DecodeError::NotCanonical));
    }

    #[test]
    fn every_part_of_an_action_is_in_its_digest() {
        let action = Action {
            command: Blob::of(b"c"),
            input_root: Blob::of(b"r"),
            timeout: Millis(60_000),
            platform: BTreeMap::from([("os".to_owned(), "linux".to_owned())]),
        };
        let mut seen = std::collections::BTreeSet::from([action.digest()]);
        for change in [
            Action { command: Blob::of(b"d"), ..action.clone() },
            Action { input_root: Blob::of(b"s"), ..action.clone() },
            Action { timeout: Millis(60_001), ..action.clone() },
            Action { platform: BTreeMap::new(), ..action.clone() },
        ] {
            assert!(seen.insert(change.digest()), "{change:?}");
        }
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(directory) = decode_directory(&bytes) {
                prop_assert_eq!(encode_directory(&directory), bytes);
            }
        }

        #[test]
        fn a_flipped_byte_is_another_folder_or_none(at in 0_usize..200, flip in 1_u8..=255) {
            let mut bytes = encode_directory(&sample());
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(directory) = decode_directory(&bytes) {
                prop_assert_ne!(directory, sample());
            }
        }
    }
}
