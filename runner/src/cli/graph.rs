//! `kiln graph`: steps and data edges.

use serde_json::json;

use super::args::{GraphArgs, GraphFormat};
use super::{Ended, Session};
use crate::diagnostic::Exit;
use crate::pipeline;
use crate::plan::{draw_dot, draw_svg, draw_text};
use crate::report;

/// Draws the graph. Needs no store and no environment: only what the build file says.
pub fn run(session: &Session, args: &GraphArgs) -> Ended {
    let project = session.project()?;
    let (_, plan) = pipeline::sketch(&project)?;
    if session.global.json {
        report::document("graph", json!({ "plan": plan }));
        return Ok(Exit::Done);
    }
    report::data(&match args.format {
        GraphFormat::Text => draw_text(&plan),
        GraphFormat::Dot => draw_dot(&plan),
        GraphFormat::Svg => draw_svg(&plan),
    });
    Ok(Exit::Done)
}
