//! `kiln explain`: the long text of a code, offline.

use serde_json::json;

use super::args::ExplainArgs;
use super::{Ended, Session, stop};
use crate::diagnostic::{self, Code, Exit};
use crate::report;

/// Prints the text of one code, or the list.
pub fn run(session: &Session, args: &ExplainArgs) -> Ended {
    let Some(text) = &args.code else { return list(session) };
    let code: Code = match text.parse() {
        Ok(code) => code,
        Err(_) => {
            return stop(
                super::wrong_usage(format!(
                    "`{}` is no code",
                    model::text::escape(text.as_bytes())
                ))
                .help("list them:  kiln explain"),
            );
        }
    };
    if session.global.json {
        report::document(
            "explain",
            json!({"code": code.to_string(), "title": code.title(), "exit": code.exit().number(), "text": diagnostic::explain(code)}),
        );
    } else {
        report::data(&format!("{}\n", diagnostic::explain(code).trim_end()));
    }
    Ok(Exit::Done)
}

fn list(session: &Session) -> Ended {
    if session.global.json {
        let codes: Vec<_> = Code::ALL.iter().map(|code| json!({"code": code.to_string(), "title": code.title(), "exit": code.exit().number()})).collect();
        report::document("codes", json!({ "codes": codes }));
    } else {
        let lines: Vec<String> = Code::ALL
            .iter()
            .map(|code| format!("{code}  exit {:<3} {}\n", code.exit().number(), code.title()))
            .collect();
        report::data(&lines.concat());
    }
    Ok(Exit::Done)
}
