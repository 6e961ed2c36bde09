//! What this host lets this user do, guarantee by guarantee, with the cause and the fix.
use crate::error::Cause;
use crate::native::Doing;
use std::io;
/// placeholder
pub(crate) fn cause_of(_doing: Doing, _source: &io::Error) -> Cause {
    Cause::Unknown
}
