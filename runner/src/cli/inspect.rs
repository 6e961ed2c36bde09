//! Soon.
use super::args::InspectArgs;
use super::{Ended, Session};
pub fn run(_: &Session, _: &InspectArgs) -> Ended {
    Ok(crate::diagnostic::Exit::Done)
}
