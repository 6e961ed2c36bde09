//! Soon.
use super::args::DoctorArgs;
use super::{Ended, Session};
pub fn run(_: &Session, _: &DoctorArgs) -> Ended {
    Ok(crate::diagnostic::Exit::Done)
}
