//! Transcripts of the build file's errors, and the examples of its reference.

use super::*;
use crate::diagnostic::{COLUMNS_DEFAULT, Style};

fn transcript(text: &str) -> String {
    match parse(text.as_bytes(), "kiln.yaml") {
        Ok(_) => "accepted".to_owned(),
        Err(found) => found
            .iter()
            .map(|one| one.render(Style::Drawn, COLUMNS_DEFAULT))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

#[test]
fn show() {
    if let Ok(path) = std::env::var("KILN_SHOW") {
        for path in path.split(':') {
            println!("=== {path}"); let bytes = std::fs::read(path).unwrap();
            match parse(&bytes, "kiln.yaml") {
                Ok(m) => println!("{:#?}", expand(&m, model::platform::Platform::HERE)),
                Err(found) => {
                    for one in found {
                        println!("{}", one.render(Style::Drawn, COLUMNS_DEFAULT))
                    }
                }
            }
        }
    }
    let _ = transcript("");
}
