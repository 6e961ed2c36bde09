//! `order`: the control plane's side of a listening attestor. Holds no key.
//!
//! Reads what is to be ordered as JSON from standard input, one object or many one after the other:
//! an Order without its nonce and deadline. Gives each a fresh nonce and a deadline, has the attestor
//! open it, and returns the Orders as they were opened, one a line: what the build is started with.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use model::isolation::Guarantee;
use model::record::{Asked, Nonce, Order, SourceRef};
use serde::Deserialize;

use crate::client::{self, ClientError, Patience};
use crate::order::{Refused, check_alone};
use crate::pipe::{Answer, OpenOrder, RefusedAnswer, Request};

/// Most bytes that are read: thousands of Orders.
const INPUT_BYTES_MAX: u64 = 8 << 20;
/// How long an Order stays open, in seconds, unless another time is given: a day.
const OPEN_SECONDS: u32 = 24 * 60 * 60;

/// Why no Order was opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("read standard input")]
    Input(#[source] std::io::Error),
    #[error("more than {INPUT_BYTES_MAX} bytes, or no order at all, on standard input")]
    Amount,
    #[error("no build can answer order {number}")]
    Unanswerable {
        number: usize,
        #[source]
        source: Refused,
    },
    #[error("order {number} is no order without nonce and deadline")]
    Order {
        number: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("draw random bytes")]
    Random(#[source] getrandom::Error),
    #[error("reach the attestor at {}", socket.display())]
    Reach {
        socket: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("ask the attestor")]
    Ask(#[source] ClientError),
    #[error("the attestor refused: {}", .0.causes.join(": "))]
    Refused(RefusedAnswer),
    #[error("the attestor answered something that was not asked")]
    Answer,
    #[error("write an order")]
    Write(#[source] serde_json::Error),
}

/// An Order as it is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    asked: Asked,
    source: SourceRef,
    #[serde(default)]
    waivers: BTreeSet<Guarantee>,
}

/// Opens what standard input asks for; returns the Orders, one a line.
pub(super) fn ask(
    socket: &Path,
    builder: u32,
    seconds: Option<u32>,
    now: i64,
) -> Result<String, AskError> {
    let mut input = String::new();
    let read = std::io::stdin().take(INPUT_BYTES_MAX + 1).read_to_string(&mut input);
    let length = read.map_err(AskError::Input)? as u64;
    let wanted: Vec<_> = serde_json::Deserializer::from_str(&input).into_iter::<Wanted>().collect();
    if length > INPUT_BYTES_MAX || wanted.is_empty() {
        return Err(AskError::Amount);
    }
    let deadline = now.saturating_add(i64::from(seconds.unwrap_or(OPEN_SECONDS)));
    let mut orders = Vec::new();
    for (index, wanted) in wanted.into_iter().enumerate() {
        let wanted = wanted.map_err(|source| AskError::Order { number: index + 1, source })?;
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(AskError::Random)?;
        let order = Order {
            asked: wanted.asked,
            source: wanted.source,
            waivers: wanted.waivers,
            nonce: Nonce::from_bytes(random),
            deadline,
        };
        // A password within is not even sent.
        check_alone(&order)
            .map_err(|source| AskError::Unanswerable { number: index + 1, source })?;
        orders.push(order);
    }
    let connect = || {
        UnixStream::connect(socket)
            .map_err(|source| AskError::Reach { socket: socket.to_owned(), source })
    };
    let mut connection = connect()?;
    let mut patience = Patience::new();
    let mut lines = String::new();
    for order in orders {
        let line = serde_json::to_string(&order).map_err(AskError::Write)?;
        let request = Request::OpenOrder(OpenOrder { order, builder });
        let answer = loop {
            let answer = client::ask(connection.as_fd(), &request, &[]).map_err(AskError::Ask)?;
            if !patience.again(&answer) {
                break answer;
            }
            connection = connect()?;
        };
        match answer {
            Answer::Opened(_) => {
                lines.push_str(&line);
                lines.push('\n');
            }
            Answer::Refused(refused) => return Err(AskError::Refused(refused)),
            Answer::Signed(_) | Answer::Key(_) | Answer::Identity(_) | Answer::Open => {
                return Err(AskError::Answer);
            }
        }
    }
    client::leave(connection.as_fd());
    Ok(lines)
}
