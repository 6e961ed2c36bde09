//! Diagnostics: what went wrong as code, place, values compared and remedy; exit codes in one table.
//!
//! Leaves return precise error enums. At the edge, and only there, such an error becomes a
//! [`Diagnostic`] with a [`Code`]. The code alone fixes the exit code and the long text of
//! `kiln explain`, so no message can end a command with a number of its own choosing.
//!
//! Nothing here prints, and nothing here reads a file: a [`Place`] carries the line it shows.
//! Untrusted text is kept as it is and escaped when it is rendered, so JSON has the true values.
//!
//! Does not catch: a diagnostic whose headline says something untrue.

mod code;
mod explain;
mod message;
mod nearest;
mod place;
mod render;

pub use code::{Code, Exit, UnknownCode, exit_code};
pub use explain::{errors_page, explain};
pub use message::{Diagnostic, StepKey, flat};
pub use nearest::{nearest, one_of};
pub use place::{FileText, Origin, Place, Position, Snippet, Span};
pub use render::{COLUMNS_DEFAULT, Style};
