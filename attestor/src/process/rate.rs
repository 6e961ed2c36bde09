//! How often and how much at once: one user cannot keep the attestor from the others.
//!
//! Pure: what time it is is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

/// Connections that one user may have at once; there are more workers than that.
const CONNECTIONS_MAX: usize = 2;
/// Users that are remembered; beyond that the ones with nothing spent are forgotten.
const REMEMBERED: usize = 1024;

/// What each user has spent.
#[derive(Debug)]
pub(super) struct Spending {
    per_minute: u32,
    users: BTreeMap<u32, Spent>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    connections: usize,
    /// Requests, in thousandths, that are not yet forgotten.
    requests: u64,
    /// When that was so.
    at: Duration,
}

/// Why somebody has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMuch {
    #[error("user {uid} has {CONNECTIONS_MAX} connections already")]
    Connections { uid: u32 },
    #[error("user {uid} may make {per_minute} requests in a minute; try again in {seconds} s")]
    Requests { uid: u32, per_minute: u32, seconds: u64 },
}

impl Spending {
    /// Returns that of nobody.
    pub(super) fn new(per_minute: u32) -> Spending {
        Spending { per_minute, users: BTreeMap::new() }
    }

    /// Counts a connection, until [`Spending::disconnect`].
    pub(super) fn connect(&mut self, uid: u32) -> Result<(), TooMuch> {
        if self.users.len() >= REMEMBERED {
            self.users.retain(|_, spent| spent.connections > 0 || spent.requests > 0);
        }
        let spent = self.users.entry(uid).or_default();
        if spent.connections >= CONNECTIONS_MAX {
            return Err(TooMuch::Connections { uid });
        }
        spent.connections += 1;
        Ok(())
    }

    /// Ends a connection that was counted.
    pub(super) fn disconnect(&mut self, uid: u32) {
        if let Some(spent) = self.users.get_mut(&uid) {
            spent.connections = spent.connections.saturating_sub(1);
        }
    }

    /// Counts a request. `now` is since any fixed moment. A minute's worth may come at once; it is
    /// forgotten evenly over a minute.
    pub(super) fn request(&mut self, uid: u32, now: Duration) -> Result<(), TooMuch> {
        let per_minute = self.per_minute;
        let spent = self.users.entry(uid).or_default();
        let passed = u64::try_from(now.saturating_sub(spent.at).as_millis()).unwrap_or(u64::MAX);
        let forgotten = passed.saturating_mul(u64::from(per_minute)) / 60;
        spent.requests = spent.requests.saturating_sub(forgotten);
        spent.at = now;
        let most = u64::from(per_minute) * 1000;
        let after = spent.requests + 1000;
        if after > most {
            let seconds = ((after - most) * 60).div_ceil(most);
            return Err(TooMuch::Requests { uid, per_minute, seconds });
        }
        spent.requests = after;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_may_come_at_once_and_comes_back_evenly() {
        let mut spending = Spending::new(60);
        let at = Duration::from_secs;
        for _ in 0..60 {
            spending.request(7, at(100)).unwrap();
        }
        let refused = spending.request(7, at(100)).unwrap_err();
        assert_eq!(refused, TooMuch::Requests { uid: 7, per_minute: 60, seconds: 1 });
        spending.request(8, at(100)).unwrap();
        spending.request(7, at(101)).unwrap();
        spending.request(7, at(101)).unwrap_err();
        for _ in 0..60 {
            spending.request(7, at(200)).unwrap();
        }
        // A clock that goes back gives nothing.
        spending.request(7, at(1)).unwrap_err();
    }

    #[test]
    fn nobody_has_more_than_a_few_connections() {
        let mut spending = Spending::new(60);
        spending.connect(7).unwrap();
        spending.connect(7).unwrap();
        assert_eq!(spending.connect(7), Err(TooMuch::Connections { uid: 7 }));
        spending.connect(8).unwrap();
        spending.disconnect(7);
        spending.connect(7).unwrap();
    }
}
