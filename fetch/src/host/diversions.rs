//! Reads dpkg's diversions: files of one package that lie elsewhere on behalf of another.
//!
//! Does no I/O. Paths are compared as they are written, as dpkg does.
//!
//! Format: dpkg-divert(1); three lines each: the path, where it lies instead, and the package whose
//! own file keeps the path, or `:` if there is none.

use std::collections::HashMap;

/// All diversions of a host.
#[derive(Debug, Default)]
pub(super) struct Diversions<'a> {
    by_path: HashMap<&'a str, (&'a str, &'a str)>,
}

/// The file does not consist of three lines each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the list of diversions ends in the middle of one")]
pub struct DiversionsError;

impl<'a> Diversions<'a> {
    /// Parses the file.
    pub(super) fn parse(text: &'a str) -> Result<Diversions<'a>, DiversionsError> {
        let mut by_path = HashMap::new();
        let mut lines = text.lines();
        while let Some(path) = lines.next() {
            let (Some(instead), Some(package)) = (lines.next(), lines.next()) else {
                return Err(DiversionsError);
            };
            by_path.insert(path, (instead, package));
        }
        Ok(Diversions { by_path })
    }

    /// Returns where a package's path lies.
    pub(super) fn apply(&self, package: &str, path: &'a str) -> &'a str {
        match self.by_path.get(path) {
            Some((instead, keeper)) if *keeper != package => instead,
            _ => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_packages_but_the_keeper_are_diverted() {
        let diversions =
            Diversions::parse("/bin/sh\n/bin/sh.distrib\ndash\n/etc/x\n/etc/x.old\n:\n").unwrap();
        assert_eq!(diversions.apply("dash", "/bin/sh"), "/bin/sh");
        assert_eq!(diversions.apply("bash", "/bin/sh"), "/bin/sh.distrib");
        assert_eq!(diversions.apply("any", "/etc/x"), "/etc/x.old");
        assert_eq!(diversions.apply("any", "/etc/y"), "/etc/y");
        assert!(Diversions::parse("/bin/sh\n/bin/sh.distrib\n").is_err());
    }
}
