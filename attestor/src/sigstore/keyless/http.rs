//! The one way out: an HTTP client without threads, redirects or cleartext secrets.
//!
//! - Names are looked up on the thread that asks: the attestor's process can start no other, and waits for
//!   the answer in any case.
//! - A redirect is an error: what is posted here is a token.
//! - A secret goes by TLS only, or to this very host.
//!
//! Does not catch: a service that answers without end within its time.

use std::net::ToSocketAddrs as _;
use std::sync::Arc;
use std::time::Duration;

use sigstore_sign::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use sigstore_sign::reqwest::{self, Client, Response, Url, redirect};

/// Time for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Time for a whole answer: a log that batches its entries takes up to twenty seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest answer that holds a token, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Looks names up where it is asked.
struct Here;

impl Resolve for Here {
    fn resolve(&self, name: Name) -> Resolving {
        // The port is set by whoever connects.
        let found = (name.as_str(), 0).to_socket_addrs().map(|found| Box::new(found) as Addrs);
        Box::pin(std::future::ready(found.map_err(Into::into)))
    }
}

/// Returns the client.
pub(super) fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(CONNECT_PATIENCE)
        .timeout(PATIENCE)
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(Here))
        .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
        .build()
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
