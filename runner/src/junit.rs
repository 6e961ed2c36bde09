//! Reads the JUnit XML that a test leaves, for the summary.
//!
//! There is no standard, so only what all writers share is read: elements `testcase`, below any
//! `testsuite`, with a child `failure`, `error` or `skipped` where one did not pass. Cases are counted
//! one by one; the totals that a suite states of itself are not believed. Whether the test passed is
//! its exit status alone: a report is told, never acted on.
//!
//! A report comes from a step, so it is hostile: its size, depth, cases and attributes have caps, a
//! document type is refused and with it every entity, and nothing is read but UTF-8. Names are cut
//! here and escaped where they are shown.
//!
//! Does no I/O.

pub use model::record::Cases;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Largest report that is read, in bytes: some 50,000 cases with their output.
pub const BYTES_MAX: u64 = 32 << 20;
/// Elements inside one another: suites nest, but not like this.
const DEPTH_MAX: usize = 32;
/// Most cases of one report.
const CASES_MAX: u64 = 1_000_000;
/// Most attributes that are looked at in one element.
const ATTRIBUTES_MAX: usize = 32;
/// Cases that did not pass and are named.
const NAMED_MAX: usize = 10;
/// Longest name of a case that is kept, in characters.
const NAME_CHARS_MAX: usize = 200;

/// Why a report is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JunitError {
    /// It has more bytes than are read.
    #[error("it has more than {BYTES_MAX} bytes")]
    TooLarge,
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    Encoding,
    /// It is not well-formed.
    #[error("it is not well-formed XML at byte {at}")]
    Malformed {
        /// Where reading stopped.
        at: u64,
    },
    /// It has a document type, which could define entities.
    #[error("it has a document type")]
    DocumentType,
    /// Its elements lie too deep.
    #[error("its elements lie more than {DEPTH_MAX} deep")]
    TooDeep,
    /// It has more cases than are counted.
    #[error("it has more than {CASES_MAX} cases")]
    TooMany,
    /// Its outermost element is another.
    #[error("its outermost element is neither `testsuites` nor `testsuite`")]
    OtherRoot,
}

/// What a case came to; of several children the worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Passed,
    Skipped,
    Failed,
    Erred,
}

/// The case that is being read.
struct Case {
    depth: usize,
    name: String,
    end: End,
}

/// Reads a report.
///
/// # Errors
/// Says why it is none, or none that is read.
pub fn read(bytes: &[u8]) -> Result<Cases, JunitError> {
    if bytes.len() as u64 > BYTES_MAX {
        return Err(JunitError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| JunitError::Encoding)?;
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut cases = Cases::default();
    let (mut depth, mut case, mut root) = (0, None, false);
    loop {
        let event = reader
            .read_event()
            .map_err(|_| JunitError::Malformed { at: reader.error_position() })?;
        match event {
            Event::DocType(_) => return Err(JunitError::DocumentType),
            Event::Decl(declared) => match declared.encoding() {
                Some(Ok(name)) if !is_utf8(&name) => return Err(JunitError::Encoding),
                _ => {}
            },
            Event::Start(element) => {
                if depth == 0 {
                    root = is_root(&element, root)?;
                }
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(JunitError::TooDeep);
                }
                open(&element, depth, &mut case);
            }
            Event::Empty(element) => {
                if depth == 0 {
                    root = is_root(&element, root)?;
                }
                open(&element, depth + 1, &mut case);
                close(depth + 1, &mut case, &mut cases)?;
            }
            Event::End(_) => {
                close(depth, &mut case, &mut cases)?;
                depth = depth.saturating_sub(1);
            }
            Event::Text(text) if depth == 0 && !text.trim_ascii().is_empty() => {
                return Err(JunitError::Malformed { at: reader.buffer_position() });
            }
            Event::Text(_) | Event::CData(_) | Event::Comment(_) => {}
            Event::PI(_) | Event::GeneralRef(_) => {}
            Event::Eof if depth > 0 => {
                return Err(JunitError::Malformed { at: reader.buffer_position() });
            }
            Event::Eof if !root => return Err(JunitError::OtherRoot),
            Event::Eof => return Ok(cases),
        }
    }
}

fn is_utf8(name: &str) -> bool {
    ["utf-8", "utf8", "us-ascii", "ascii"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Says that this is the one outermost element of a report.
fn is_root(element: &BytesStart<'_>, before: bool) -> Result<bool, JunitError> {
    match local(element) {
        "testsuites" | "testsuite" if !before => Ok(true),
        _ => Err(JunitError::OtherRoot),
    }
}

fn local<'e>(element: &'e BytesStart<'_>) -> &'e str {
    element.local_name().into_inner()
}

fn open(element: &BytesStart<'_>, depth: usize, case: &mut Option<Case>) {
    match (case, local(element)) {
        (case @ None, "testcase") => {
            *case = Some(Case { depth, name: name(element), end: End::Passed });
        }
        (Some(case), child) if depth == case.depth + 1 => {
            let end = match child {
                "failure" => End::Failed,
                "error" => End::Erred,
                "skipped" => End::Skipped,
                _ => End::Passed,
            };
            case.end = case.end.max(end);
        }
        _ => {}
    }
}

fn close(depth: usize, open: &mut Option<Case>, cases: &mut Cases) -> Result<(), JunitError> {
    let Some(case) = open.take_if(|case| case.depth == depth) else { return Ok(()) };
    cases.tests += 1;
    if cases.tests > CASES_MAX {
        return Err(JunitError::TooMany);
    }
    match case.end {
        End::Passed => return Ok(()),
        End::Skipped => {
            cases.skipped += 1;
            return Ok(());
        }
        End::Failed => cases.failures += 1,
        End::Erred => cases.errors += 1,
    }
    if cases.not_passed.len() < NAMED_MAX {
        cases.not_passed.push(case.name);
    }
    Ok(())
}

/// Returns `CLASS.NAME` of a case, cut. A value that cannot be read is left out.
fn name(element: &BytesStart<'_>) -> String {
    let (mut class, mut name) = (String::new(), String::new());
    let mut attributes = element.attributes();
    // Its search for doubles would take the square of their number.
    attributes.with_checks(false);
    for attribute in attributes.take(ATTRIBUTES_MAX).flatten() {
        let field = match attribute.key.into_inner() {
            "classname" => &mut class,
            "name" => &mut name,
            _ => continue,
        };
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).unwrap_or_default();
        *field = value.chars().take(NAME_CHARS_MAX).collect();
    }
    match (class.is_empty(), name.is_empty()) {
        (_, true) => "a case without a name".to_owned(),
        (true, false) => name,
        (false, false) => format!("{class}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(tests: u64, failures: u64, errors: u64, skipped: u64, names: &[&str]) -> Cases {
        let not_passed = names.iter().map(|name| (*name).to_owned()).collect();
        Cases { tests, failures, errors, skipped, not_passed }
    }

    #[test]
    fn cases_are_counted_and_totals_not_believed() {
        for (text, expected) in [
            ("<testsuites/>", cases(0, 0, 0, 0, &[])),
            (
                r#"<?xml version="1.0" encoding="utf-8"?><testsuites tests="99" failures="0"><testsuite
                name="s"><properties><property name="a" value="b"/></properties><testcase classname="c"
                name="one"/><testcase name="two"><failure message="x">t &lt; u</failure><failure/></testcase>
                <testcase classname="c" name="three"><error/><skipped/></testcase><testcase name="four">
                <skipped/><system-out><![CDATA[</testcase>]]></system-out></testcase></testsuite></testsuites>"#,
                cases(4, 1, 1, 1, &["two", "c.three"]),
            ),
            (
                "\u{feff}<testsuite><testcase name='a&#x1b;[2J&lt;b'><failure/></testcase></testsuite>\n",
                cases(1, 1, 0, 0, &["a\u{1b}[2J<b"]),
            ),
            (
                "<testsuite><testsuite><testcase><properties><failure/></properties></testcase></testsuite></testsuite>",
                cases(1, 0, 0, 0, &[]),
            ),
            (
                "<testsuite><testcase name='&unknown;'><error/></testcase></testsuite>",
                cases(1, 0, 1, 0, &["a case without a name"]),
            ),
        ] {
            assert_eq!(read(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let deep = format!("<testsuite>{}", "<a>".repeat(100_000));
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;&b;\">]><testsuite/>";
        let large = " ".repeat(usize::try_from(BYTES_MAX).unwrap() + 1);
        for (bytes, expected) in [
            (&b""[..], Some(JunitError::OtherRoot)),
            (b"ok 1 - tap", None),
            (b"{}", None),
            (b"<html/>", Some(JunitError::OtherRoot)),
            (b"<testsuite/><testsuite/>", Some(JunitError::OtherRoot)),
            (b"<testsuite>", None),
            (b"<testsuite></testsuites>", None),
            (b"<testsuite", None),
            (b"\xff\xfe<\0t\0", Some(JunitError::Encoding)),
            (b"<?xml version='1.0' encoding='utf-16'?><testsuite/>", Some(JunitError::Encoding)),
            (bomb.as_bytes(), Some(JunitError::DocumentType)),
            (deep.as_bytes(), Some(JunitError::TooDeep)),
            (large.as_bytes(), Some(JunitError::TooLarge)),
        ] {
            let refused = read(bytes).unwrap_err();
            let matches = expected
                .map_or(matches!(refused, JunitError::Malformed { .. }), |expected| {
                    expected == refused
                });
            assert!(matches, "{refused:?} for {:?}", &bytes[..bytes.len().min(60)]);
        }
    }

    #[test]
    fn many_attributes_and_cases_cost_no_more_than_their_bytes() {
        let attributes: String = (0..400_000).map(|number| format!(" a{number}=''")).collect();
        let text = format!(
            "<testsuite><testcase{attributes} name='late'><failure/></testcase></testsuite>"
        );
        assert_eq!(read(text.as_bytes()), Ok(cases(1, 1, 0, 0, &["a case without a name"])));
        let long = "x".repeat(5000);
        let one = format!("<testcase name='{long}'><failure/></testcase>");
        let found = read(format!("<testsuite>{}</testsuite>", one.repeat(30)).as_bytes()).unwrap();
        assert_eq!((found.failures, found.not_passed.len(), found.unnamed()), (30, NAMED_MAX, 20));
        assert!(found.not_passed.iter().all(|name| name.len() == NAME_CHARS_MAX));
        let many = "<testcase/>".repeat(usize::try_from(CASES_MAX).unwrap() + 1);
        let text = format!("<testsuite>{many}</testsuite>");
        assert_eq!(read(text.as_bytes()), Err(JunitError::TooMany));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_cut_report_makes_the_reader_panic(at in 0_usize..90, byte in proptest::prelude::any::<u8>()) {
            let mut text = b"<testsuite><testcase name='a&#65;'><failure message=\"x\"/></testcase><!-- --></testsuite>".to_vec();
            let at = at % text.len();
            text[at] = byte;
            let _ = read(&text);
        }
    }
}
