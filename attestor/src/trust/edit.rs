//! Changes of `trust.toml` that leave the rest of its text alone: comments, order, spelling.
//!
//! The text is cut into its `[[trust]]` tables by a scan of lines that knows strings and comments, and
//! nothing else of TOML. What comes out is read again and compared with what it has to say, entry by
//! entry, before anybody sees it: a file that this scan does not understand is refused, not damaged.
//!
//! Prefer [`revoke`] over [`remove`]. An entry that is gone forgets that its key was ever bad; the next
//! `add`, or a bare `--key`, would believe it again.
//!
//! Pure: text in, text out.

use std::ops::Range;

use super::entry::written;
use super::{Entry, Trust, TrustError};

/// Returns the text with an entry added at its end.
///
/// # Errors
/// An entry that can not be written, or a text that is no trust file.
pub fn append(text: &str, entry: &Entry) -> Result<String, TrustError> {
    let mut wanted = Trust::parse(text.as_bytes())?.entries;
    wanted.push(entry.clone());
    let mut new = text.to_owned();
    if !new.is_empty() {
        new.push_str(if new.ends_with('\n') { "\n" } else { "\n\n" });
    }
    new.push_str(&entry.to_toml()?);
    says(new, wanted)
}

/// Returns the text without the entries at `indexes`, each with the comment right above it.
///
/// # Errors
/// An index that is none, or a text whose entries can not be found one by one.
pub fn remove(text: &str, indexes: &[usize]) -> Result<String, TrustError> {
    let old = Trust::parse(text.as_bytes())?.entries;
    let tables = tables(text, old.len())?;
    check(indexes, old.len())?;
    let kept = |index: &usize| !indexes.contains(index);
    let wanted = (0..old.len()).filter(kept).map(|index| old[index].clone()).collect();
    let head = tables.first().map_or(text.len(), |first| first.start);
    let mut new = text[..head].to_owned();
    for index in (0..old.len()).filter(kept) {
        new.push_str(&text[tables[index].clone()]);
    }
    says(new, wanted)
}

/// Returns the text with `revoked` added to the entries at `indexes`.
///
/// # Errors
/// An index that is none, an entry that is revoked already, or a text whose entries can not be found
/// one by one.
pub fn revoke(text: &str, indexes: &[usize], at: i64) -> Result<String, TrustError> {
    let mut wanted = Trust::parse(text.as_bytes())?.entries;
    let tables = tables(text, wanted.len())?;
    check(indexes, wanted.len())?;
    let line = format!("revoked = \"{}\"\n", written(at, "revoked")?);
    let mut new = text.to_owned();
    let mut sorted = indexes.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    for index in sorted.into_iter().rev() {
        if wanted[index].revoked.replace(at).is_some() {
            return Err(TrustError::RevokedAlready { entry: index + 1 });
        }
        let end = tables[index].start + last_member(&text[tables[index].clone()]);
        let open = !new[..end].ends_with('\n');
        new.insert_str(end, &if open { format!("\n{line}") } else { line.clone() });
    }
    says(new, wanted)
}

fn check(indexes: &[usize], count: usize) -> Result<(), TrustError> {
    match indexes.iter().find(|index| **index >= count) {
        Some(index) => Err(TrustError::NoEntry { entry: index + 1 }),
        None => Ok(()),
    }
}

/// Returns the text if it says exactly `wanted`.
fn says(text: String, wanted: Vec<Entry>) -> Result<String, TrustError> {
    if Trust::parse(text.as_bytes())?.entries == wanted {
        Ok(text)
    } else {
        Err(TrustError::NotTables)
    }
}

/// Returns the bytes of each table, from the comment right above its head up to the next one's.
fn tables(text: &str, count: usize) -> Result<Vec<Range<usize>>, TrustError> {
    let (mut starts, mut comment, mut at) = (Vec::new(), None, 0);
    let mut quote = None;
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        let outside = quote.is_none();
        if outside && bare.starts_with('#') {
            comment = comment.or(Some(at));
        } else {
            if outside && is_head(bare) {
                starts.push(comment.unwrap_or(at));
            }
            comment = None;
        }
        quote = after(line, quote);
        at += line.len();
    }
    if starts.len() != count {
        return Err(TrustError::NotTables);
    }
    let ends = starts.iter().copied().skip(1).chain([text.len()]);
    Ok(starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect())
}

fn is_head(line: &str) -> bool {
    let inside = line.strip_prefix("[[").and_then(|rest| rest.split_once("]]"));
    inside.is_some_and(|(name, _)| name.trim() == "trust")
}

/// Returns where the last line that is neither empty nor a comment ends.
fn last_member(table: &str) -> usize {
    let (mut at, mut end, mut quote) = (0, 0, None);
    for line in table.split_inclusive('\n') {
        let bare = line.trim();
        at += line.len();
        if quote.is_some() || !(bare.is_empty() || bare.starts_with('#')) {
            end = at;
        }
        quote = after(line, quote);
    }
    end
}

/// Returns which multi-line string is open after a line, if one is.
fn after(line: &str, open: Option<&'static str>) -> Option<&'static str> {
    let mut open = open;
    let mut rest = line;
    loop {
        if let Some(quote) = open {
            let Some(at) = closing(rest, quote) else { return open };
            rest = &rest[at + quote.len()..];
            open = None;
            continue;
        }
        let at = rest.find(['"', '\'', '#'])?;
        rest = &rest[at..];
        if rest.starts_with('#') {
            return None;
        }
        if let Some(quote) = ["\"\"\"", "'''"].into_iter().find(|quote| rest.starts_with(quote)) {
            open = Some(quote);
            rest = &rest[quote.len()..];
            continue;
        }
        let quote = if rest.starts_with('"') { "\"" } else { "'" };
        let end = closing(&rest[1..], quote)?;
        rest = &rest[1 + end + 1..];
    }
}

/// Finds the end of a string; in double quotes a backslash escapes.
fn closing(text: &str, quote: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find(quote).map(|at| at + from) {
        let slashes = text[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        if quote.starts_with('\'') || slashes % 2 == 0 {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{Level, SpeaksFor, Who};
    use super::*;
    use crate::builder::BuilderId;
    use crate::keys::PrivateKey;
    use crate::public_key::Algorithm;

    fn entry(seed: u8) -> Entry {
        let random = zeroize::Zeroizing::new([seed; 32]);
        let key = PrivateKey::from_random(Algorithm::Ed25519, &random).unwrap().public().unwrap();
        Entry {
            name: format!("entry {seed}"),
            who: Who::Key(key),
            speaks_for: SpeaksFor::Builder(BuilderId::new("https://b.example/v1").unwrap()),
            max_level: Level::L1,
            from: None,
            until: None,
            revoked: None,
        }
    }

    /// Three entries with comments, one of them inside a string that looks like a table.
    fn file() -> String {
        let toml = |seed| entry(seed).to_toml().unwrap();
        let odd = toml(2).replace("name = \"entry 2\"", "name = '''\n[[trust]]\n# entry 2'''");
        format!(
            "# who we believe\n\n# the first\n{}\n# the second\n{odd}  # kept?\n\n{}",
            toml(1),
            toml(3)
        )
    }

    #[test]
    fn comments_and_other_entries_stay_as_they_are() {
        let text = file();
        let without = remove(&text, &[1]).unwrap();
        assert!(without.contains("# who we believe") && without.contains("# the first"));
        assert!(!without.contains("the second") && without.ends_with(&entry(3).to_toml().unwrap()));
        let added = append(&without, &entry(4)).unwrap();
        assert!(added.starts_with(&without));
        assert_eq!(Trust::parse(added.as_bytes()).unwrap().entries().len(), 3);
    }

    #[test]
    fn revoking_keeps_the_entry_and_cannot_be_done_twice() {
        let text = file();
        let revoked = revoke(&text, &[0, 1], 86_400).unwrap();
        assert_eq!(revoked.matches("revoked = \"1970-01-02T00:00:00Z\"\n").count(), 2);
        let trust = Trust::parse(revoked.as_bytes()).unwrap();
        assert_eq!(trust.entries()[0].revoked, Some(86_400));
        assert_eq!(trust.entries()[2].revoked, None);
        assert!(matches!(revoke(&revoked, &[0], 5), Err(TrustError::RevokedAlready { entry: 1 })));
        let cut = text.trim_end();
        assert_eq!(revoke(cut, &[2], 0).unwrap().matches("revoked").count(), 1);
    }

    #[test]
    fn what_the_scan_does_not_understand_is_refused() {
        let text = entry(1).to_toml().unwrap();
        let quoted = text.replace("[[trust]]", "[[\"trust\"]]");
        assert!(matches!(remove(&quoted, &[0]), Err(TrustError::NotTables)));
        assert!(matches!(remove(&text, &[1]), Err(TrustError::NoEntry { entry: 2 })));
        assert!(remove("nonsense", &[]).is_err() && append("nonsense", &entry(1)).is_err());
    }
}
