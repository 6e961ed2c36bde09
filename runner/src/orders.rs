//! Orders that the control plane opened at an attestor which listens: `--orders FILE`.
//!
//! Such an attestor signs what was ordered and nothing else, so a build that is to be signed there
//! answers these instead of ordering for itself. One Order is about one artifact; it is found by all
//! that it asks for, so an Order for another source, target or parameter is none.

use std::io::Read as _;
use std::path::Path;

use model::address::split_reference;
use model::record::{Asked, Order, SourceRef};

use crate::diagnostic::{Code, Diagnostic};

/// Most bytes that are read: thousands of Orders.
const BYTES_MAX: u64 = 8 << 20;

/// The Orders of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders(Vec<Order>);

impl Orders {
    /// Reads a file of Orders, one JSON object after the other.
    ///
    /// # Errors
    /// KILN-0105 for a file that cannot be read or holds something else.
    pub fn read(path: &Path) -> Result<Orders, Diagnostic> {
        let refuse = |error: &dyn std::error::Error| {
            let shown = model::text::escape(path.as_os_str().as_encoded_bytes());
            Diagnostic::new(Code::WrongValue, format!("cannot read the orders in {shown}"))
                .caused_by(error)
                .help("take the output of `kiln attestor order`")
        };
        let mut text = String::new();
        crate::cli::files::open(path)
            .and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text))
            .map_err(|error| refuse(&error))?;
        let orders: Result<Vec<Order>, _> =
            serde_json::Deserializer::from_str(&text).into_iter().collect();
        orders.map(Orders).map_err(|error| refuse(&error))
    }

    /// Returns the Order that asks for exactly this, of several the one that is open for longest; `own` is
    /// what would be ordered without one. The reference that an Order may name after its source's address is
    /// the control plane's word: no checkout states one.
    ///
    /// # Errors
    /// KILN-0706 where none does, with what was ordered instead.
    pub fn answered_by(&self, own: &Order) -> Result<Order, Diagnostic> {
        let source = |order: &Order| {
            let uri = split_reference(&order.source.uri).0.to_owned();
            SourceRef { uri, ..order.source.clone() }
        };
        let same = |order: &&Order| {
            order.asked == own.asked && source(order) == own.source && order.waivers == own.waivers
        };
        self.0.iter().filter(same).max_by_key(|order| order.deadline).cloned().ok_or_else(|| {
            let ordered: Vec<String> = self.0.iter().map(told).collect();
            let none = "no order at all".to_owned();
            Diagnostic::new(Code::AttestorRefused, "no order of the control plane asks for this")
                .expected(if ordered.is_empty() { none } else { ordered.join("; ") })
                .got(told(own))
                .help("have the control plane order it, or build what was ordered")
        })
    }
}

/// Refuses Orders whose deadline is past, as far as this host's clock tells. Each with the artifact that
/// answers it.
///
/// # Errors
/// KILN-0706 for the first.
pub fn check_deadlines(orders: &[Order], now: i64) -> Result<(), Diagnostic> {
    let Some(late) = orders.iter().find(|order| order.deadline < now) else { return Ok(()) };
    let time = |seconds| {
        jiff::Timestamp::from_second(seconds)
            .map_or_else(|_| format!("{seconds} s since 1970"), |time| time.to_string())
    };
    let headline = "the deadline of what was ordered is past, so nothing will be signed for it";
    Err(Diagnostic::new(Code::AttestorRefused, headline)
        .expected(format!("an order that is open at {}", time(now)))
        .got(format!("{}, open until {}", told(late), time(late.deadline)))
        .help(
            "have it ordered anew, with time for the whole build:  kiln attestor order --seconds N",
        ))
}

/// Tells an Order in words.
fn told(order: &Order) -> String {
    let (target, rest) = match &order.asked {
        Asked::Build { build_file, target, matrix, overrides } => {
            let more = [matrix, overrides].map(String::as_str).join(" ");
            (target, format!("of {build_file} {}", more.trim()))
        }
        Asked::Run { command, target, .. } => (target, format!("of the command {command}")),
    };
    let commit = order.source.commit.as_ref().map_or("no commit", |commit| commit.as_str());
    let dirty = if order.source.dirty { ", dirty" } else { "" };
    let waivers: Vec<String> = order.waivers.iter().map(ToString::to_string).collect();
    let waived = if waivers.is_empty() {
        String::new()
    } else {
        format!(", without {}", waivers.join(", "))
    };
    let text =
        format!("{target} {} from {} at {commit}{dirty}{waived}", rest.trim(), order.source.uri);
    model::text::escape(model::address::without_credentials(&text).as_bytes())
}
