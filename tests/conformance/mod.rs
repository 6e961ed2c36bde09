//! Formats that are not ours, against vectors that somebody else's code made.

mod reapi;
