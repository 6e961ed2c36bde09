//! Step 4: whether a build will be signed, decided before anything runs.
//!
//! `--sign` without a key, or with a source that differs from its commit, ends the build here, so
//! that nobody waits an hour for a refusal. Without `--sign` the build goes on unsigned and says so.

use std::collections::BTreeSet;

use attestor::pipe::{Answer, Request};
use attestor::trust::Trust;
use model::record::{Nonce, Order, SourceRef};

use super::build::Wish;
use super::hand_over;
use super::prepare::Looked;
use crate::claims;
use crate::cli::{Session, trust};
use crate::diagnostic::{Code, Diagnostic};
use crate::execute::local;
use crate::plan::Plan;
use crate::project::LOCK_FILE;
use crate::sign::{self, Attestor, Signer};
use crate::store::Store;

/// What the caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// Sign if there is a key.
    IfPossible,
    /// Sign or fail.
    Must,
    /// Do not sign.
    Never,
}

/// What was decided.
#[derive(Clone, Debug)]
pub enum Decided {
    /// Signed by this key.
    With(Box<Signer>),
    /// Not signed, with the reason that people read; none if they asked for it.
    Without(Option<String>),
}

/// How many differing paths are named.
const NAMED_MAX: usize = 5;

impl Signing {
    /// Decides.
    ///
    /// # Errors
    /// KILN-0701 (5) and KILN-0702 (2) under `--sign`; KILN-0704 (5) where CI claims another commit.
    pub fn decide(
        self,
        session: &Session,
        store: &Store,
        looked: &Looked,
        wish: &Wish,
    ) -> Result<Decided, Vec<Diagnostic>> {
        if self == Signing::Never {
            return Ok(Decided::Without(None));
        }
        let signer =
            sign::signer(&session.context, store).map_err(|diagnostic| vec![diagnostic])?;
        let Some(signer) = signer else {
            return match self {
                Signing::Must => Err(vec![
                    Diagnostic::new(Code::NoKey, "no key to sign with")
                        .help("make one:  kiln key generate"),
                ]),
                Signing::IfPossible | Signing::Never => {
                    Ok(Decided::Without(Some("no key yet. Make one: kiln key generate".to_owned())))
                }
            };
        };
        if !looked.dirty.is_empty() && !wish.allow_dirty {
            return match self {
                Signing::Must => Err(vec![dirty(looked)]),
                Signing::IfPossible | Signing::Never => Ok(Decided::Without(Some(format!(
                    "the source differs from its commit ({}). Commit it, or sign all the same: --allow-dirty",
                    first(&looked.dirty)
                )))),
            };
        }
        if let Some(revoked) = revoked(session, &signer) {
            return match self {
                Signing::Must => Err(revoked),
                Signing::IfPossible | Signing::Never => {
                    let reason = revoked.into_iter().next().map(|found| found.headline);
                    Ok(Decided::Without(reason))
                }
            };
        }
        if wish.orders.is_none() && session.context.attestor.is_some() {
            let reason = not_ordered();
            return match self {
                Signing::Must => Err(vec![reason]),
                Signing::IfPossible | Signing::Never => {
                    Ok(Decided::Without(Some(format!("{}: --orders FILE", reason.headline))))
                }
            };
        }
        claims::check(&session.context, looked.commit.as_ref())
            .map_err(|diagnostic| vec![diagnostic])?;
        Ok(Decided::With(Box::new(signer)))
    }
}

/// Says why nothing is signed by a signer whom this user's own trust revokes: nobody who trusts alike would
/// believe it. A trust file that cannot be read may be the one that revokes.
fn revoked(session: &Session, signer: &Signer) -> Option<Vec<Diagnostic>> {
    let trust = match trust::read(session) {
        Ok(trust) => trust,
        Err(found) => return Some(found),
    };
    revoked_by(session, &trust, signer)
}

/// Checks that this user's own trust does not revoke whom an attestor signs as; that one is asked only where somebody
/// is revoked at all.
///
/// # Errors
/// KILN-0802 for one that is revoked, KILN-0105 for a trust file that cannot be read.
pub fn check_revoked(
    session: &Session,
    attestor: &mut Attestor<'_>,
) -> Result<(), Vec<Diagnostic>> {
    let trust = trust::read(session)?;
    if !trust.revokes_anybody() {
        return Ok(());
    }
    let answer = attestor.ask(&Request::Show, &[]).map_err(|one| vec![one])?;
    let signer = Signer::told(answer).map_err(|one| vec![one])?;
    revoked_by(session, &trust, &signer).map_or(Ok(()), Err)
}

fn revoked_by(session: &Session, trust: &Trust, signer: &Signer) -> Option<Vec<Diagnostic>> {
    let (entry, since) = trust.revoked(&signer.signed_by()?)?;
    let who = if signer.key().is_some() { "key" } else { "identity" };
    let since = trust::moment(since);
    let told = Diagnostic::new(
        Code::SignerNotTrusted,
        format!("the {who} that would sign was revoked, by {entry}"),
    )
    .at(trust::place(session, &entry))
    .expected(format!("a signer in force, not {}", signer.name().unwrap_or_default()))
    .got(format!("revoked {since}"));
    Some(vec![match who {
        "key" => told.help("sign with another key:  kiln key rotate"),
        _ => told.help("sign as another identity: attestor.toml, docs/signing.md"),
    }])
}

/// Says why an attestor that listens would not sign; one that is started here takes orders from the
/// build itself.
fn not_ordered() -> Diagnostic {
    Diagnostic::new(
        Code::AttestorRefused,
        "an attestor that listens signs only what the control plane ordered",
    )
    .help("name the orders that it opened for this build:  --orders FILE")
}

/// Compares what was ordered with what will be built, before anything is brought in: `plan` is the sketch, and
/// `source` what the sources were found to be. Returns the Orders that will be answered, and none where
/// nothing is signed by order.
///
/// # Errors
/// KILN-0706 for an artifact that is to be signed and is in none of the orders that were named, or in one
/// whose deadline is past.
pub fn check_ordered(
    decided: &Decided,
    plan: &Plan,
    source: &SourceRef,
    wish: &Wish,
) -> Result<Vec<Order>, Vec<Diagnostic>> {
    let (Decided::With(_), Some(orders)) = (decided, &wish.orders) else { return Ok(Vec::new()) };
    let mut answered = Vec::with_capacity(plan.artifacts.len());
    for artifact in &plan.artifacts {
        let own = Order {
            asked: hand_over::asked(&wish.asked, artifact),
            source: source.clone(),
            waivers: wish.waived.clone(),
            nonce: Nonce::from_bytes([0; 16]),
            deadline: 0,
        };
        answered.push(orders.answered_by(&own).map_err(|diagnostic| vec![diagnostic])?);
    }
    Ok(answered)
}

/// Asks an attestor that listens, before the first step, whether it will sign for these Orders: whether they
/// are open, for this user, and not answered.
///
/// Not where every step has its result already: such a build may find that nothing is to be signed, and an
/// Order that was answered is then no fault.
///
/// # Errors
/// KILN-0706, as it would be told after the build.
pub fn check_open(
    session: &Session,
    store: &Store,
    plan: &Plan,
    wish: &Wish,
    orders: &[Order],
) -> Result<(), Vec<Diagnostic>> {
    if orders.is_empty() || session.context.attestor.is_none() {
        return Ok(());
    }
    let known =
        if wish.use_cache { local::foresee(store, plan, &wish.backend) } else { BTreeSet::new() };
    if plan.steps.keys().all(|step| known.contains(step)) {
        return Ok(());
    }
    crate::orders::check_deadlines(orders, session.context.now()).map_err(|one| vec![one])?;
    let request = Request::CheckOrders(orders.to_vec());
    match sign::ask(&session.context, &request, &[]).map_err(|one| vec![one])? {
        Answer::Open => Ok(()),
        other => Err(vec![sign::unexpected(other)]),
    }
}

fn first(paths: &[String]) -> String {
    let named: Vec<&str> = paths.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = if paths.len() > NAMED_MAX {
        format!(" and {} more", paths.len() - NAMED_MAX)
    } else {
        String::new()
    };
    format!("{}{more}", named.join(", "))
}

/// Refuses to sign. A lock that is yet to be written is in no commit, and a build that is refused here writes none:
/// then that comes first.
fn dirty(looked: &Looked) -> Diagnostic {
    let told = Diagnostic::new(
        Code::DirtySource,
        "the source differs from its commit, so it is not signed",
    )
    .got(first(&looked.dirty));
    let told = match looked.writes_lock {
        true => told
            .why(format!(
                "{LOCK_FILE} is yet to be written for this build file: it is absent or out of date"
            ))
            .help("write it, then commit all:  kiln lock && git add -A && git commit"),
        false => told.help("commit what changed:  git add -A && git commit"),
    };
    told.help("sign all the same, and let the provenance say so:  --allow-dirty")
}
