//! Links chosen among packages: `cc`, `awk`, `editor` and their like.
//!
//! No package owns them; scripts made them when the packages were installed. An environment has
//! those whose program it has. The host's own choice holds where it can; where the chosen program is
//! not part of the environment, the candidate of the highest priority that is takes its place, as
//! if only these packages were installed. So `cc` is there whenever gcc is, whatever else the host
//! has.
//!
//! Reads the choice from the host, decides without I/O.
//!
//! Format: the administrative files of update-alternatives(1).

use std::cmp::Reverse;

use model::RelPath;

/// One administrative file: a link that several packages offer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alternative<'a> {
    link: &'a str,
    slaves: Vec<(&'a str, &'a str)>,
    choices: Vec<Choice<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Choice<'a> {
    path: &'a str,
    priority: i64,
    slaves: Vec<&'a str>,
}

/// A link to make: where, and through which name in `/etc/alternatives` to which program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen<'a> {
    /// The link that people use, absolute.
    pub(super) link: &'a str,
    /// The name in `/etc/alternatives`.
    pub(super) name: &'a str,
    /// The program, absolute.
    pub(super) target: &'a str,
}

/// An administrative file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the alternatives of {at}")]
pub struct AlternativesError {
    /// The file, below the host's root.
    pub at: RelPath,
}

impl<'a> Alternative<'a> {
    /// Parses an administrative file; none if it has another shape.
    pub(super) fn parse(text: &'a str) -> Option<Alternative<'a>> {
        let mut lines = text.lines();
        let _mode = lines.next().filter(|mode| matches!(*mode, "auto" | "manual"))?;
        let link = lines.next()?;
        let mut slaves = Vec::new();
        loop {
            match lines.next()? {
                "" => break,
                name => slaves.push((name, lines.next()?)),
            }
        }
        let mut choices = Vec::new();
        loop {
            match lines.next()? {
                "" => break,
                path => choices.push(Choice {
                    path,
                    priority: lines.next()?.trim().parse().ok()?,
                    slaves: (0..slaves.len()).map(|_| lines.next()).collect::<Option<_>>()?,
                }),
            }
        }
        Some(Alternative { link, slaves, choices })
    }

    /// Returns the links to make, master first: for the host's choice if it is in the environment,
    /// else for the best that is. Nothing if none is.
    pub(super) fn choose<E>(
        &self,
        name: &'a str,
        current: Option<&str>,
        mut in_set: impl FnMut(&str) -> Result<bool, E>,
    ) -> Result<Vec<Chosen<'a>>, E> {
        let mut ranked: Vec<&Choice> = self.choices.iter().collect();
        ranked.sort_by_key(|choice| (Some(choice.path) != current, Reverse(choice.priority)));
        for choice in ranked {
            if !in_set(choice.path)? {
                continue;
            }
            let mut chosen = vec![Chosen { link: self.link, name, target: choice.path }];
            for (&(name, link), &target) in self.slaves.iter().zip(&choice.slaves) {
                if !target.is_empty() && in_set(target)? {
                    chosen.push(Chosen { link, name, target });
                }
            }
            return Ok(chosen);
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use proptest::prelude::*;

    const AWK: &str = "auto\n/usr/bin/awk\nawk.1.gz\n/usr/share/man/man1/awk.1.gz\nnawk\n/usr/bin/nawk\n\n\
        /usr/bin/gawk\n10\n\n/usr/bin/gawk\n/usr/bin/mawk\n5\n/usr/share/man/man1/mawk.1.gz\n/usr/bin/mawk\n\n";

    fn chosen(current: Option<&str>, set: &[&str]) -> Vec<(String, String)> {
        let alternative = Alternative::parse(AWK).unwrap();
        let in_set = |path: &str| Ok::<_, Infallible>(set.contains(&path));
        let found = alternative.choose("awk", current, in_set).unwrap();
        found.iter().map(|chosen| (chosen.link.to_owned(), chosen.target.to_owned())).collect()
    }

    #[test]
    fn the_hosts_choice_holds_where_it_can() {
        let pair = |link: &str, target: &str| (link.to_owned(), target.to_owned());
        let mawk = [pair("/usr/bin/awk", "/usr/bin/mawk"), pair("/usr/bin/nawk", "/usr/bin/mawk")];
        let gawk = [pair("/usr/bin/awk", "/usr/bin/gawk"), pair("/usr/bin/nawk", "/usr/bin/gawk")];
        let both = ["/usr/bin/mawk", "/usr/bin/gawk"];
        assert_eq!(chosen(Some("/usr/bin/mawk"), &both), mawk);
        assert_eq!(chosen(Some("/usr/bin/gawk"), &both), gawk);
        assert_eq!(chosen(Some("/opt/awk"), &both), gawk);
        assert_eq!(chosen(Some("/usr/bin/gawk"), &["/usr/bin/mawk"]), mawk);
        assert_eq!(chosen(None, &[]), []);
    }

    #[test]
    fn unreadable_files_are_refused() {
        for bad in
            ["", "auto\n", "auto\n/usr/bin/awk\n", "often\n/a\n\n\n", "auto\n/a\n\n/b\nx\n\n"]
        {
            assert_eq!(Alternative::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(auto\n|/a\n|\n|1\n|x){0,20}") {
            let _ = Alternative::parse(&text);
        }
    }
}
