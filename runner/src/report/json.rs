//! JSON forms: the envelope of every document, and events as JSON Lines.

use serde_json::{Value, json};

use super::Event;

/// The version of every document and event.
pub const VERSION: u32 = 1;

/// Returns `body`, an object, under the name and version of its schema.
pub fn envelope(schema: &str, body: Value) -> Value {
    let mut document = serde_json::Map::new();
    document.insert("schema".to_owned(), Value::from(format!("kiln/{schema}")));
    document.insert("version".to_owned(), Value::from(VERSION));
    match body {
        Value::Object(members) => document.extend(members),
        other => {
            document.insert("value".to_owned(), other);
        }
    }
    Value::Object(document)
}

/// Returns an event as one JSON object: kinds `fetch`, `state`, `line`, `note`.
pub fn event(event: &Event, elapsed_ms: u64) -> Value {
    match event {
        Event::Importing { what } => {
            json!({"event": "fetch", "at_ms": elapsed_ms, "what": what, "state": "fetching"})
        }
        Event::Imported { what, files, took } => {
            json!({"event": "fetch", "at_ms": elapsed_ms, "what": what, "state": "passed", "files": files, "took_ms": millis(*took)})
        }
        Event::Started { step } => {
            json!({"event": "state", "at_ms": elapsed_ms, "step": step.to_string(), "state": "running"})
        }
        Event::Output { step, bytes } => {
            json!({"event": "line", "at_ms": elapsed_ms, "step": step.to_string(), "text": String::from_utf8_lossy(bytes)})
        }
        Event::Ended(ended) => json!({
            "event": "state", "at_ms": elapsed_ms, "step": ended.step.to_string(), "state": ended.state.word(),
            "detail": ended.detail, "took_ms": millis(ended.took)
        }),
        Event::Note(text) => json!({"event": "note", "at_ms": elapsed_ms, "text": text}),
    }
}

/// Returns the last event: nothing runs any more. What came of it is the exit code's and the
/// document's to say.
pub fn end(elapsed_ms: u64) -> Value {
    json!({"event": "end", "at_ms": elapsed_ms})
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
