//! Open Orders: what the control plane asked for, kept until its deadline.
//!
//! On a socket nobody can order for themselves: a build's Record is signed only if its Order is one
//! of these, byte for byte, and was opened for that very user. So a build can have signed what it
//! was told to build, and nothing else. An Order is durable before its opener hears of it, and one
//! whose deadline is past is swept.
//!
//! ```text
//! orders/NONCE    {"by": 1002, "builder": 1000, "order": {…}}
//! ```
//!
//! What no build can answer whatever it observes is not opened at all: the control plane hears it, and not the
//! build a day later.
//!
//! Who opens one holds the lock of the state folder; who only compares needs none, since a file is there complete or
//! not at all. Does not catch: a control plane that orders the
//! wrong thing.

use std::path::{Path, PathBuf};

use model::Digest;
use model::record::{Nonce, Order};
use serde::{Deserialize, Serialize};

use super::files::{self, FileError};
use crate::order::{Refused, check_alone};
use crate::strict_json::{self, Caps, JsonError};

/// Most Orders that are open at once: a queue of builds, far above what one host runs in a day.
const OPEN_MAX: usize = 10_000;
/// Longest time that an Order stays open, in seconds: a week.
const OPEN_SECONDS_MAX: i64 = 7 * 24 * 60 * 60;
/// Caps of an Order and what is around it.
const CAPS: Caps = Caps { bytes: 1 << 20, depth: 16, values: 4096 };

/// The folder of open Orders.
pub(super) struct Orders {
    folder: PathBuf,
}

/// Why an Order is not opened, or none is found.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("use the folder of open orders")]
    File(#[from] FileError),
    #[error("sweep the folder of open orders {}", path.display())]
    Sweep {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the open order {}", path.display())]
    Entry {
        path: PathBuf,
        #[source]
        source: JsonError,
    },
    #[error("write the order")]
    Write(#[source] serde_json::Error),
    #[error("the order has {got} bytes, more than {}", CAPS.bytes)]
    TooLarge { got: usize },
    #[error("no build can answer the order")]
    Unanswerable(#[source] Refused),
    #[error(
        "user {uid} is to answer it, and no build of that user is heard here: it has no role `build`"
    )]
    NoBuilder { uid: u32 },
    #[error("user 0 is to answer it, and root builds at no attestor that listens")]
    RootBuilds,
    #[error("the order's deadline is past")]
    Late,
    #[error("the order's deadline is more than {OPEN_SECONDS_MAX} s away")]
    TooLong,
    #[error("{OPEN_MAX} orders are open already")]
    Many,
    #[error("another order is open under this nonce")]
    OtherOpen,
    #[error("this nonce has an envelope already")]
    Answered,
    #[error("no order with nonce {nonce} is open for user {uid}", nonce = nonce.as_str())]
    None { nonce: Nonce, uid: u32 },
    #[error("the order is not the one that was opened under nonce {nonce}", nonce = nonce.as_str())]
    Differs { nonce: Nonce },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenWire {
    by: u32,
    builder: u32,
    order: Order,
}

impl Orders {
    /// Opens the folder below the state folder.
    pub(super) fn open(state: &Path) -> Result<Orders, OrderError> {
        let folder = state.join("orders");
        files::private_folder(&folder)?;
        Ok(Orders { folder })
    }

    /// Keeps an Order of `by` that `builder` may answer. The same again changes nothing.
    pub(super) fn add(
        &self,
        order: &Order,
        by: u32,
        builder: u32,
        now: i64,
    ) -> Result<Digest, OrderError> {
        check_alone(order).map_err(OrderError::Unanswerable)?;
        if builder == 0 {
            return Err(OrderError::RootBuilds);
        }
        if order.deadline <= now {
            return Err(OrderError::Late);
        }
        if order.deadline.saturating_sub(now) > OPEN_SECONDS_MAX {
            return Err(OrderError::TooLong);
        }
        let bytes = serde_json::to_vec(&OpenWire { by, builder, order: order.clone() })
            .map_err(OrderError::Write)?;
        if bytes.len() > CAPS.bytes {
            return Err(OrderError::TooLarge { got: bytes.len() });
        }
        let open = self.sweep(now)?;
        let digest = Digest::of(&serde_json::to_vec(order).map_err(OrderError::Write)?);
        let path = self.folder.join(order.nonce.as_str());
        match files::read(&path, CAPS.bytes)? {
            Some(kept) if kept == bytes => return Ok(digest),
            Some(_) => return Err(OrderError::OtherOpen),
            None if open >= OPEN_MAX => return Err(OrderError::Many),
            None => {}
        }
        files::write_new(&path, &bytes)?;
        Ok(digest)
    }

    /// Checks that this very Order is open for user `uid`.
    pub(super) fn check(&self, order: &Order, uid: u32, now: i64) -> Result<(), OrderError> {
        let none = || OrderError::None { nonce: order.nonce.clone(), uid };
        let open = self.read(order.nonce.as_str())?.ok_or_else(none)?;
        // One that is past, or of another user, is answered as one that is not there.
        if open.builder != uid || open.order.deadline < now {
            return Err(none());
        }
        let bytes = |order: &Order| serde_json::to_vec(order).map_err(OrderError::Write);
        if bytes(&open.order)? != bytes(order)? {
            return Err(OrderError::Differs { nonce: order.nonce.clone() });
        }
        Ok(())
    }

    fn read(&self, nonce: &str) -> Result<Option<OpenWire>, OrderError> {
        let path = self.folder.join(nonce);
        let Some(bytes) = files::read(&path, CAPS.bytes)? else { return Ok(None) };
        strict_json::parse_as(&bytes, &CAPS)
            .map(Some)
            .map_err(|source| OrderError::Entry { path, source })
    }

    /// Removes what is past, and what a crash left half written; returns how many are open.
    fn sweep(&self, now: i64) -> Result<usize, OrderError> {
        let failed = |source| OrderError::Sweep { path: self.folder.clone(), source };
        let mut open = 0;
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let past = match name.to_str().filter(|name| Nonce::parse(name).is_ok()) {
                Some(nonce) => self.read(nonce)?.is_some_and(|kept| kept.order.deadline < now),
                None => true,
            };
            if past {
                std::fs::remove_file(entry.path()).map_err(failed)?;
            } else {
                open += 1;
            }
        }
        Ok(open)
    }
}
