//! `verify`: whether a file came about as a layout of in-toto wants it.
//!
//! 1. Every owner's key that was given signed the layout, over its original bytes.
//! 2. It has not expired, and all of it is understood: an inspection, which would run a command, is refused.
//! 3. For each step there are links by as many different keys as its threshold says, each by a key that
//!    the step names, and each for that step.
//! 4. Links of one step agree on what went in and what came out.
//! 5. The artifact rules of each step hold.
//! 6. The file is a product of the last step.
//!
//! Stricter than in-toto's own verifier, never laxer: unknown members, a link under another step's name,
//! one key under two ids and a threshold of nothing are refused; sublayouts, GnuPG and RSA keys are not
//! read. Opens no socket, starts no program, reads no clock.
//!
//! Source: in-toto specification 0.9, 5.2.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::Digest;
use model::text::escape;
use serde_json::Value;

use super::metadata::{Layout, Link, MetadataError, Step, Unchecked};
use super::rules::{self, RuleError, Side};
use super::{file_name, key_id};
use crate::public_key::PublicKey;

/// Most steps of a layout, and keys of a step.
const STEPS_MAX: usize = 256;
/// Most products that a refusal names.
const NAMED_MAX: usize = 4;

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// No owner's key.
    #[error("no key of the layout's owner is given")]
    NoKey,
    /// The layout is none.
    #[error("the layout can not be read")]
    Layout(#[source] MetadataError),
    /// An owner's key did not sign it.
    #[error("the layout is not signed by key {key}, or was changed")]
    Owner {
        /// The key's id in in-toto.
        key: String,
    },
    /// It is not in force.
    #[error("the layout expired at {at}")]
    Expired {
        /// When, escaped.
        at: String,
        /// What the time is, in seconds since 1970.
        now: i64,
    },
    /// A part that is malformed or not understood.
    #[error("the layout's {what} is not one that can be checked")]
    Part {
        /// Which part, escaped.
        what: String,
    },
    /// It would have a command run.
    #[error("the layout has inspections, which run commands; kiln runs none")]
    Inspection,
    /// Too few links.
    #[error("step `{step}` has valid links by {got} keys of those it names, and needs {threshold}")]
    Threshold {
        /// The step, escaped.
        step: String,
        /// How many there are.
        got: usize,
        /// How many there must be.
        threshold: u32,
    },
    /// A signed link that is none of this step's.
    #[error("the link of step `{step}` can not be used")]
    Link {
        /// The step, escaped.
        step: String,
        /// Why.
        #[source]
        source: MetadataError,
    },
    /// Two functionaries saw different things.
    #[error("the links of step `{step}` do not agree on what went in and came out")]
    Disagree {
        /// The step, escaped.
        step: String,
    },
    /// A rule.
    #[error("step `{step}` breaks a rule on its {side}")]
    Rule {
        /// The step, escaped.
        step: String,
        /// `materials` or `products`.
        side: &'static str,
        /// Which.
        #[source]
        source: RuleError,
    },
    /// The file is no product.
    #[error("the file is no product of the last step, `{step}`: {digest}")]
    Product {
        /// The step, escaped.
        step: String,
        /// The file's digest.
        digest: Digest,
        /// The products that there are, escaped.
        got: String,
    },
}

impl LayoutError {
    /// Returns what was expected and what was got, where two values were compared.
    pub fn compared(&self) -> Option<(String, String)> {
        let pair = |expected: &str, got: &str| Some((expected.to_owned(), got.to_owned()));
        match self {
            LayoutError::NoKey => None,
            LayoutError::Layout(source) => pair("a layout of in-toto, signed", &source.to_string()),
            LayoutError::Owner { key } => pair(
                &format!("a signature by {key} over the layout as it stands"),
                "none by it, or one over other bytes",
            ),
            LayoutError::Expired { at, now } => {
                let now = Timestamp::from_second(*now).map(|now| now.to_string());
                pair(&format!("`expires` after {}", now.unwrap_or_default()), at)
            }
            LayoutError::Part { what } => pair("all of it in the form of in-toto 0.9", what),
            LayoutError::Inspection => pair("steps, and no `inspect`", "inspections"),
            LayoutError::Threshold { got, threshold, .. } => {
                let links = |count: &dyn std::fmt::Display| format!("links by {count} of its keys");
                Some((links(threshold), links(got)))
            }
            LayoutError::Link { source, .. } => pair("a link of this step", &source.to_string()),
            LayoutError::Disagree { .. } => {
                pair("the same materials and products in each", "others in one of them")
            }
            LayoutError::Rule { side, source, .. } => {
                let (expected, got) = source.compared();
                pair(&format!("{side} that meet {expected}"), &got)
            }
            LayoutError::Product { digest, got, .. } => {
                pair(&format!("a product with {digest}"), got)
            }
        }
    }
}

/// Returns some of the products of a step, with their digests, escaped.
fn products_of(link: Option<&Link>) -> String {
    let named = |(name, all): (&String, &BTreeMap<String, String>)| {
        let hex = all.get("sha256").map_or("no sha256", String::as_str);
        escape(format!("{name} ({hex})").as_bytes())
    };
    let all: Vec<_> = link.into_iter().flat_map(|link| &link.products).collect();
    match all.as_slice() {
        [] => "no products".to_owned(),
        all => {
            let more = if all.len() > NAMED_MAX { " and others" } else { "" };
            let named: Vec<String> =
                all.iter().take(NAMED_MAX).map(|(name, all)| named((name, all))).collect();
            named.join(", ") + more
        }
    }
}

/// What was found.
#[derive(Debug)]
pub struct Followed {
    /// Each step, and the keys whose links speak for it.
    pub steps: Vec<(String, Vec<String>)>,
    /// The name that the last step has for the file.
    pub product: String,
}

/// Decides whether a file of this digest came about as the layout wants it. `link` returns the content of
/// a link by its file name, `owners` must all have signed, `now` is in seconds since 1970.
///
/// # Errors
/// The first step that does not hold.
pub fn verify(
    layout: &[u8],
    owners: &[PublicKey],
    link: &dyn Fn(&str) -> Option<Vec<u8>>,
    digest: &Digest,
    now: i64,
) -> Result<Followed, LayoutError> {
    // 1.
    let unchecked = Unchecked::read(layout).map_err(LayoutError::Layout)?;
    if owners.is_empty() {
        return Err(LayoutError::NoKey);
    }
    for owner in owners {
        let key = key_id(owner).unwrap_or_default();
        if !unchecked.is_signed(owner, &key) {
            return Err(LayoutError::Owner { key });
        }
    }
    let layout: Layout = unchecked.content("layout").map_err(LayoutError::Layout)?;
    // 2.
    check(&layout, now)?;
    // 3. and 4.
    let (mut links, mut told) = (BTreeMap::new(), Vec::new());
    for step in &layout.steps {
        let (one, keys) = of_step(&layout, step, link)?;
        links.insert(step.name.clone(), one);
        told.push((step.name.clone(), keys));
    }
    // 5.
    for step in &layout.steps {
        let Some(one) = links.get(&step.name) else { continue };
        for (side, named, wanted) in [
            (Side::Materials, "materials", &step.expected_materials),
            (Side::Products, "products", &step.expected_products),
        ] {
            rules::apply(wanted, side, one, &links).map_err(|source| LayoutError::Rule {
                step: escape(step.name.as_bytes()),
                side: named,
                source,
            })?;
        }
    }
    // 6.
    let last = layout.steps.last().map(|step| step.name.as_str()).unwrap_or_default();
    let products = links.get(last).map(|link| &link.products);
    let hex = digest.hex();
    let found = products.into_iter().flatten().find(|(_, all)| all.get("sha256") == Some(&hex));
    match found {
        Some((name, _)) => Ok(Followed { steps: told, product: name.clone() }),
        None => Err(LayoutError::Product {
            step: escape(last.as_bytes()),
            digest: *digest,
            got: products_of(links.get(last)),
        }),
    }
}

fn check(layout: &Layout, now: i64) -> Result<(), LayoutError> {
    let part = |what: String| LayoutError::Part { what };
    let plain = |byte: &u8| byte.is_ascii_digit() || b"-T:Z".contains(byte);
    let text = &layout.expires;
    let is_form =
        text.len() == "2026-11-22T11:24:14Z".len() && text.bytes().all(|byte| plain(&byte));
    match text.parse::<Timestamp>() {
        Ok(at) if is_form && at.as_second() > now => {}
        Ok(_) if is_form => return Err(LayoutError::Expired { at: text.clone(), now }),
        Ok(_) | Err(_) => return Err(part("`expires`".to_owned())),
    }
    if !layout.inspect.is_empty() {
        return Err(LayoutError::Inspection);
    }
    if layout.steps.is_empty() || layout.steps.len() > STEPS_MAX {
        return Err(part("number of steps".to_owned()));
    }
    let mut names = BTreeSet::new();
    for step in &layout.steps {
        let shown = format!("step `{}`", escape(step.name.as_bytes()));
        let named = model::Name::new(&step.name).is_ok() && names.insert(&step.name);
        let counted = step.threshold > 0 && step.pubkeys.len() <= STEPS_MAX;
        if !named || !counted || step.kind != "step" {
            return Err(part(shown));
        }
        for (side, wanted) in
            [("materials", &step.expected_materials), ("products", &step.expected_products)]
        {
            rules::check_form(wanted).map_err(|source| LayoutError::Rule {
                step: escape(step.name.as_bytes()),
                side,
                source,
            })?;
        }
    }
    Ok(())
}

/// Returns what the links of a step agree on, and the keys that count.
fn of_step(
    layout: &Layout,
    step: &Step,
    find: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<(Link, Vec<String>), LayoutError> {
    let shown = || escape(step.name.as_bytes());
    let mut counted = BTreeMap::new();
    let mut agreed: Option<Link> = None;
    for id in &step.pubkeys {
        let Some(key) = layout.keys.get(id).and_then(|key| read_key(id, key)) else { continue };
        let Some(bytes) = find(&file_name(&step.name, id)) else { continue };
        let Ok(unchecked) = Unchecked::read(&bytes) else { continue };
        if !unchecked.is_signed(&key, id) {
            continue;
        }
        // From here on it is the word of somebody whom the step names.
        let link: Link = unchecked
            .content("link")
            .map_err(|source| LayoutError::Link { step: shown(), source })?;
        if link.name != step.name {
            let got = escape(link.name.as_bytes());
            let source = MetadataError::Kind { expected: "a link of this step", got };
            return Err(LayoutError::Link { step: shown(), source });
        }
        let same =
            |other: &Link| (&other.materials, &other.products) == (&link.materials, &link.products);
        if agreed.as_ref().is_some_and(|other| !same(other)) {
            return Err(LayoutError::Disagree { step: shown() });
        }
        // One key under two ids is one functionary.
        counted.insert(key.id().hex(), id.clone());
        agreed = Some(link);
    }
    let got = counted.len();
    match agreed {
        Some(link) if got >= usize::try_from(step.threshold).unwrap_or(usize::MAX) => {
            Ok((link, counted.into_values().collect()))
        }
        Some(_) | None => {
            Err(LayoutError::Threshold { step: shown(), got, threshold: step.threshold })
        }
    }
}

/// Reads a key of a layout; none if it is of a kind that is not read.
fn read_key(id: &str, key: &Value) -> Option<PublicKey> {
    let text = |member: &str| key.pointer(member).and_then(Value::as_str);
    let public = text("/keyval/public")?;
    if text("/keyid") != Some(id) {
        return None;
    }
    let found = match (text("/keytype")?, text("/scheme")?) {
        ("ed25519", "ed25519") => PublicKey::from_ed25519_hex(public)?,
        ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
            PublicKey::from_pem(public).ok().filter(|key| key.ed25519_hex().is_none())?
        }
        _ => return None,
    };
    Some(found)
}
