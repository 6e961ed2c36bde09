//! The long texts of `kiln explain`, and the page `docs/errors.md` made of them.
//!
//! The texts are prose, so they lie in Markdown files by range, one heading a code, and are part
//! of the program: explaining works offline. Every code has one; a test says so.

use std::fmt::Write as _;

use super::Code;

/// The texts, range by range, in the order of their numbers.
const RANGES: [(&str, &str); 10] = [
    ("01xx: the build file", include_str!("explain/01-build-file.md")),
    ("02xx: the lock", include_str!("explain/02-lock.md")),
    ("03xx: fetching", include_str!("explain/03-fetching.md")),
    ("04xx: steps and outputs", include_str!("explain/04-steps.md")),
    ("05xx: the sandbox", include_str!("explain/05-sandbox.md")),
    ("06xx: the store", include_str!("explain/06-store.md")),
    ("07xx: keys and attesting", include_str!("explain/07-keys.md")),
    ("08xx: verifying", include_str!("explain/08-verifying.md")),
    ("09xx: rebuilding", include_str!("explain/09-rebuilding.md")),
    ("99xx: kiln itself", include_str!("explain/99-internal.md")),
];

/// Returns the long text of `code`: title, exit code, what it means, how it comes about, what to
/// do, an example. Ends with a newline.
pub fn explain(code: Code) -> String {
    let exit = code.exit();
    format!(
        "{code}: {}\nexit code {}: {}\n\n{}\n",
        code.title(),
        exit.number(),
        exit.meaning(),
        body(code)
    )
}

/// Returns the page of all codes, which is `docs/errors.md`.
pub fn errors_page() -> String {
    let mut page = String::from(PAGE_HEAD);
    for code in Code::ALL {
        let _ = writeln!(
            page,
            "| [{code}](#{}) | {} | {} |",
            anchor(*code),
            code.title(),
            code.exit().number()
        );
    }
    for (title, range) in RANGES {
        let _ = writeln!(page, "\n## {title}");
        for code in Code::ALL.iter().filter(|code| section(range, **code).is_some()) {
            let exit = code.exit();
            let _ = writeln!(
                page,
                "\n### {code}\n\n**{}** (exit {}, {})\n\n{}",
                code.title(),
                exit.number(),
                exit.meaning(),
                body(*code)
            );
        }
    }
    page
}

const PAGE_HEAD: &str = "\
# Error codes

Every error of kiln has a code that keeps its meaning for ever. `kiln explain CODE` prints the same
text offline. This page is made from the table in `runner/src/diagnostic/`; a test compares them.

| Code | Meaning | Exit |
| --- | --- | --- |
";

fn anchor(code: Code) -> String {
    code.to_string().to_ascii_lowercase()
}

fn body(code: Code) -> &'static str {
    RANGES.iter().find_map(|(_, range)| section(range, code)).unwrap_or_default()
}

/// Returns what stands under the heading of `code`, without blank lines around it.
fn section(range: &'static str, code: Code) -> Option<&'static str> {
    let heading = format!("## {code}\n");
    let start = range.find(&heading)? + heading.len();
    let rest = &range[start..];
    Some(rest[..rest.find("\n## ").unwrap_or(rest.len())].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");

    #[test]
    fn every_code_is_explained_in_several_sentences_with_an_example() {
        for code in Code::ALL {
            let text = body(*code);
            assert!(
                text.matches(". ").count() + text.matches(".\n").count() >= 3,
                "{code}: too short"
            );
            assert!(text.contains("```"), "{code}: no example");
            assert!(text.lines().all(|line| line.chars().count() <= 115), "{code}: long line");
        }
        let headings: usize =
            RANGES.iter().map(|(_, range)| range.matches("## KILN-").count()).sum();
        assert_eq!(headings, Code::ALL.len(), "a text without a code, or a code twice");
    }

    #[test]
    fn the_page_of_errors_is_the_table() {
        let page = std::fs::read_to_string(PAGE).unwrap_or_default();
        assert!(
            page == errors_page(),
            "docs/errors.md is stale: cargo test -p runner -- --ignored write_errors_page"
        );
    }

    #[test]
    #[ignore = "writes docs/errors.md"]
    #[expect(
        clippy::disallowed_methods,
        reason = "a page of the repository, not a lasting file of a user"
    )]
    fn write_errors_page() {
        std::fs::write(PAGE, errors_page()).unwrap();
    }
}
