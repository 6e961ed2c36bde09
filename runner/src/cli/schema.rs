//! `kiln schema`: JSON Schema of each format.

use super::args::{SchemaArgs, SchemaName};
use super::{Ended, Session};
use crate::diagnostic::Exit;
use crate::manifest::schema;
use crate::report;

/// Prints a schema; it is JSON with and without `--json`.
pub fn run(_: &Session, args: &SchemaArgs) -> Ended {
    report::data(match args.format {
        SchemaName::BuildFile => schema::BUILD_FILE,
        SchemaName::Lock => schema::LOCK,
        SchemaName::Record => include_str!("../report/record.schema.json"),
        SchemaName::Events => include_str!("../report/events.schema.json"),
    });
    Ok(Exit::Done)
}
