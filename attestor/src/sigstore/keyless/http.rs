//! The one way out: an HTTP client without threads, redirects or cleartext secrets.
//!
//! - Names are looked up on the thread that asks: the attestor's process can start no other, and waits for
//!   the answer in any case.
//! - A redirect is an error: what is posted here is a token.
//! - A secret goes by TLS only, or to this very host.
//! - An answer takes a bounded part of this process' memory ([`bounded`]). The organisation's own crates read
//!   whole answers with no cap of theirs, so what is measured is the memory itself, whenever they wait.
//!
//! Does not catch: several workers whose signatures grow at once, each of which counts what the others take.

use std::future::Future;
use std::net::ToSocketAddrs as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use sigstore_sign::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use sigstore_sign::reqwest::{self, Client, Response, Url, redirect};

/// Time for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Time for a whole answer: a log that batches its entries takes up to twenty seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest answer that holds a token, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// By how much this process may grow while services answer, in bytes: an answer of some kilobytes, or one
/// that holds the statement a few times over; and what other workers take meanwhile.
const GROWTH_BYTES_MAX: u64 = 256 << 20;
/// How many times an answer, and what is made of it, may hold the statement.
const STATEMENTS_MAX: u64 = 16;

/// Looks names up where it is asked, and keeps the last one: whoever answers too much is told by it.
struct Here(Arc<Mutex<Option<String>>>);

/// The name that was looked up last.
#[derive(Clone, Default)]
pub(super) struct LastName(Arc<Mutex<Option<String>>>);

impl LastName {
    /// Says whether this is where the last connection went; an address without a name is looked up nowhere.
    pub(super) fn is_of(&self, url: &str) -> bool {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let url = Url::parse(url).ok();
        match (url.as_ref().and_then(Url::domain), last.as_deref()) {
            (Some(name), Some(last)) => name.eq_ignore_ascii_case(last),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// Services that answered with more than may be kept.
pub(super) struct TooMuch {
    /// How much was allowed, in MiB.
    pub(super) most_mib: u64,
}

/// Waits for what services answer about a statement of `statement` bytes, as long as this process does not
/// grow beyond what that can need. What was received is dropped where it does.
pub(super) async fn bounded<T>(
    statement: usize,
    work: impl Future<Output = T>,
) -> Result<T, TooMuch> {
    let most = GROWTH_BYTES_MAX.saturating_add(STATEMENTS_MAX.saturating_mul(statement as u64));
    let before = resident();
    // Where it is not told, nothing is waited for.
    let grown = || match (before, resident()) {
        (Some(before), Some(now)) => now.saturating_sub(before),
        _ => u64::MAX,
    };
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending if grown() > most => Poll::Ready(Err(TooMuch { most_mib: most >> 20 })),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Returns how much memory this process has, in bytes, where the kernel tells. Source: proc_pid_status(5).
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

impl Resolve for Here {
    fn resolve(&self, name: Name) -> Resolving {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.as_str().to_owned());
        // The port is set by whoever connects.
        let found = (name.as_str(), 0).to_socket_addrs().map(|found| Box::new(found) as Addrs);
        Box::pin(std::future::ready(found.map_err(Into::into)))
    }
}

/// Returns the client, and what tells where it connected last.
pub(super) fn client() -> Result<(Client, LastName), reqwest::Error> {
    let last = LastName::default();
    let client = Client::builder()
        .connect_timeout(CONNECT_PATIENCE)
        .timeout(PATIENCE)
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(Here(Arc::clone(&last.0))))
        .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok((client, last))
}

/// Says whether a secret may be sent there.
pub(super) fn is_guarded(url: &Url) -> bool {
    let this_host = ["127.0.0.1", "[::1]", "localhost"];
    match url.scheme() {
        "https" => true,
        "http" => url.host_str().is_some_and(|host| this_host.contains(&host)),
        _ => false,
    }
}

/// Reads a short answer; none if it is not short.
pub(super) async fn short(mut answer: Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        if bytes.len() + piece.len() > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Some(bytes))
}

/// Returns an error and all below it: the first of an HTTP error says only what was attempted.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        text = format!("{text}: {one}");
        cause = one.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_goes_by_tls_or_stays_on_this_host() {
        let guarded = |text: &str| is_guarded(&Url::parse(text).unwrap());
        for good in
            ["https://ca.example", "http://127.0.0.1:5555/x", "http://[::1]:1", "http://localhost"]
        {
            assert!(guarded(good), "{good}");
        }
        for bad in [
            "http://ca.example",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "ftp://localhost",
        ] {
            assert!(!guarded(bad), "{bad}");
        }
        // A name before the host is no host.
        assert!(!guarded("http://localhost@ca.example/"));
    }
}
