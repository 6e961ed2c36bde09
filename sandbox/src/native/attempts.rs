//! Hears what a step wants of a network that it does not have: names asked for, addresses connected to.
//!
//! A name is heard by the resolver stub. An address is heard in the call itself: the filter lets
//! `connect`, `sendmsg`, `sendmmsg`, and `sendto` with an address, wait for a word of the first process,
//! which looks at the address and lets the call go on. It decides nothing: the kernel answers, with ENETUNREACH at once, as
//! it would without us. So what is seen may be changed by a hostile step after we looked (seccomp(2)),
//! and nothing but a message rests on it.
//!
//! Everything here comes from the step: it is bounded, escaped, and never makes the first process fail or
//! wait. Does not catch: the second and later messages of one `sendmmsg`, and a second listener of the
//! step's own, which the kernel allows only one of.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::resolver::Resolver;
use super::sys::{self, Names};
use crate::outcome::{NetworkAttempt, Protocol};

/// Most attempts told of one step; later ones fail as well, but are not told.
const TOLD_MAX: usize = 256;
/// Most pairs of thread and address looked at; those are told by process, so there are fewer.
const SEEN_MAX: usize = 4 * TOLD_MAX;
/// Most descriptors looked at, over the whole step, to find who asked for a name.
const LOOKS_MAX: u32 = 100_000;
/// Longest address read: `struct sockaddr_in6`.
const ADDRESS_BYTES: usize = 28;
/// Most bytes read of a file of the step's in `/proc`, but for the list of sockets.
const TEXT_BYTES_MAX: u64 = 4096;
/// Most bytes read of the list of sockets: some 8,000 of them.
const SOCKETS_BYTES_MAX: u64 = 1 << 20;
/// Words of a command line that are told, and the length of each in bytes.
const WORDS: (usize, usize) = (4, 64);

/// Both ears, and what was told.
pub struct Attempts {
    resolver: Option<Resolver>,
    listener: Option<OwnedFd>,
    told: BTreeSet<NetworkAttempt>,
    /// Who was seen on the way where, so that a program that tries again costs little.
    seen: BTreeSet<(u32, SocketAddr)>,
    looks_left: u32,
}

impl Attempts {
    /// Listens with what there is.
    pub fn new(resolver: Option<Resolver>, listener: Option<OwnedFd>) -> Attempts {
        Attempts {
            resolver,
            listener,
            told: BTreeSet::new(),
            seen: BTreeSet::new(),
            looks_left: LOOKS_MAX,
        }
    }

    /// Returns the descriptors to wait on: of the resolver stub, of the filter.
    pub fn ears(&self) -> [Option<BorrowedFd<'_>>; 2] {
        let stub = self.resolver.as_ref().map(|stub| stub.socket().as_fd());
        [stub, self.listener.as_ref().map(AsFd::as_fd)]
    }

    /// Answers one waiting question; returns it if it is a new one.
    pub fn answer_question(&mut self) -> Option<NetworkAttempt> {
        let question = self.resolver.as_ref()?.hear()?;
        let is_new = self.told.len() < TOLD_MAX
            && !self.told.iter().any(|one| one.port.is_none() && one.host == question.name);
        // While it waits its socket is open, and so can be found.
        let attempt = is_new.then(|| {
            let asker = self.asker(question.from.port());
            NetworkAttempt::of(question.name.clone(), None, asker)
        });
        if let Some(resolver) = &self.resolver {
            resolver.refuse(&question);
        }
        self.tell(attempt?)
    }

    /// Lets one waiting call go on; returns its address if it is a new one.
    pub fn answer_call(&mut self) -> Option<NetworkAttempt> {
        let listener = self.listener.as_ref()?;
        // Gone in the meantime: killed, or interrupted.
        let call = sys::next_call(listener.as_fd()).ok()?;
        let heed = self.told.len() < TOLD_MAX && self.seen.len() < SEEN_MAX;
        let target = if heed { look(&call) } else { None };
        let target = target.filter(|target| self.seen.insert((call.process, *target)));
        let attempt = target.map(|target| {
            let host = model::text::escape(target.ip().to_string().as_bytes());
            let protocol = protocol_of(&call);
            let port = Some(target.port());
            NetworkAttempt { protocol, ..NetworkAttempt::of(host, port, Some(call.process)) }
        });
        // Still the same thread: its number may have passed to another one.
        let attempt = attempt.filter(|_| sys::call_waits(listener.as_fd(), call.id));
        // Fails only if the caller is gone.
        let _ = sys::let_call_go_on(listener.as_fd(), call.id);
        self.tell(attempt?)
    }

    fn tell(&mut self, attempt: NetworkAttempt) -> Option<NetworkAttempt> {
        self.told.insert(attempt.clone()).then_some(attempt)
    }

    /// Finds the process whose socket has this port.
    fn asker(&mut self, port: u16) -> Option<u32> {
        let inode = ["udp", "udp6"].iter().find_map(|list| inode_of(list, port))?;
        let wanted = format!("socket:[{inode}]");
        for process in std::fs::read_dir("/proc").ok()?.flatten() {
            let number = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            let Some(number) = number else { continue };
            let Ok(open) = std::fs::read_dir(process.path().join("fd")) else { continue };
            for one in open.flatten() {
                self.looks_left = self.looks_left.checked_sub(1)?;
                if std::fs::read_link(one.path()).is_ok_and(|link| link.as_os_str() == &*wanted) {
                    return Some(number);
                }
            }
        }
        None
    }
}

impl NetworkAttempt {
    fn of(host: String, port: Option<u16>, process: Option<u32>) -> NetworkAttempt {
        let (process, command) = process.map(describe).unwrap_or_default();
        NetworkAttempt { host, port, protocol: None, process, command }
    }
}

/// Looks where a waiting call wants to go; none if that is no place beyond the loopback.
fn look(call: &sys::Call) -> Option<SocketAddr> {
    let (address, length) = match call.names {
        Names::Second => (call.arguments[1], call.arguments[2]),
        Names::Fifth => (call.arguments[4], call.arguments[5]),
        Names::InMessage => message_name(call)?,
    };
    let mut bytes = [0; ADDRESS_BYTES];
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(ADDRESS_BYTES);
    let got = sys::read_other(call.process, address, &mut bytes[..length]).ok()?;
    beyond(bytes.get(..got)?)
}

/// Returns where the address of a message lies and how long it is: the first two fields of `struct msghdr`,
/// with which the first `struct mmsghdr` begins as well.
fn message_name(call: &sys::Call) -> Option<(u64, u64)> {
    let mut bytes = [0; 12];
    let wanted = if call.is_narrow { 8 } else { 12 };
    let got = sys::read_other(call.process, call.arguments[1], &mut bytes[..wanted]).ok()?;
    let (pointer, length) = bytes.get(..got).filter(|_| got == wanted)?.split_at(wanted - 4);
    let length = u32::from_ne_bytes(*length.first_chunk::<4>()?);
    let address = match pointer.first_chunk::<8>() {
        Some(pointer) => u64::from_ne_bytes(*pointer),
        None => u64::from(u32::from_ne_bytes(*pointer.first_chunk::<4>()?)),
    };
    (address != 0).then_some((address, length.into()))
}

/// Returns the protocol of the socket that a waiting call names, which the kernel gives as an attribute.
fn protocol_of(call: &sys::Call) -> Option<Protocol> {
    let descriptor = call.arguments[0] & u64::from(u32::MAX);
    let path = format!("/proc/{}/fd/{descriptor}", call.process);
    let mut name = [0; 16];
    let length = rustix::fs::getxattr(path, "system.sockprotoname", &mut name).ok()?;
    match name.get(..length)? {
        name if name.starts_with(b"TCP") || name.starts_with(b"MPTCP") => Some(Protocol::Tcp),
        name if name.starts_with(b"UDP") => Some(Protocol::Udp),
        _ => None,
    }
}

/// Reads an address as the kernel does; none if it is of another family, cut short, or of the loopback.
fn beyond(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk::<2>()?);
    let port = u16::from_be_bytes(*bytes.get(2..4)?.first_chunk::<2>()?);
    let ip = match i32::from(family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*bytes.get(4..8)?.first_chunk::<4>()?)),
        libc::AF_INET6 => {
            IpAddr::V6(Ipv6Addr::from(*bytes.get(8..24)?.first_chunk::<16>()?)).to_canonical()
        }
        _ => return None,
    };
    let own = ip.is_loopback() || ip.is_unspecified();
    (!own).then(|| SocketAddr::new(ip, port))
}

/// Returns the name of a thread's process and the start of its command line, both escaped.
fn describe(thread: u32) -> (String, String) {
    let text = |path: String| read_some(&path, TEXT_BYTES_MAX);
    let status = text(format!("/proc/{thread}/status"));
    let status = String::from_utf8_lossy(&status);
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    let process = group.and_then(|group| group.trim().parse().ok()).unwrap_or(thread);
    let name = text(format!("/proc/{process}/comm"));
    let name = name.strip_suffix(b"\n").unwrap_or(&name);
    let line = text(format!("/proc/{process}/cmdline"));
    let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let words =
        words.take(WORDS.0).map(|word| model::text::escape(&word[..word.len().min(WORDS.1)]));
    (model::text::escape(name), words.collect::<Vec<_>>().join(" "))
}

/// Returns the inode of the datagram socket with this port (proc_pid_net(5)).
fn inode_of(list: &str, port: u16) -> Option<u64> {
    let text = read_some(&format!("/proc/self/net/{list}"), SOCKETS_BYTES_MAX);
    let text = String::from_utf8_lossy(&text);
    let port = format!("{port:04X}");
    text.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (_, own) = fields.nth(1)?.split_once(':')?;
        (own == port).then(|| fields.nth(7)?.parse().ok())?
    })
}

fn read_some(path: &str, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A process that has ended has no files: then there is nothing to tell.
    let _ = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_beyond_the_loopback_are_attempts() {
        let four = |ip: [u8; 4]| [&[2, 0, 0, 80][..], &ip].concat();
        let six = |ip: [u8; 16]| [&[10, 0, 1, 187, 0, 0, 0, 0][..], &ip].concat();
        let mapped = |ip: [u8; 4]| {
            let mut all = [0; 16];
            all[10..12].fill(0xff);
            all[12..].copy_from_slice(&ip);
            six(all)
        };
        let mut public = [0; 16];
        public[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        for (bytes, want) in [
            (four([192, 0, 2, 1]), Some("192.0.2.1:80")),
            (four([169, 254, 169, 254]), Some("169.254.169.254:80")),
            (four([127, 0, 0, 1]), None),
            (four([127, 1, 2, 3]), None),
            (four([0, 0, 0, 0]), None),
            (six(public), Some("[2001:db8::]:443")),
            (six(1u128.to_be_bytes()), None),
            (six([0; 16]), None),
            (mapped([192, 0, 2, 1]), Some("192.0.2.1:443")),
            (mapped([127, 0, 0, 1]), None),
            (vec![1, 0, b'/', b'x', 0, 0, 0, 0], None),
            (four([192, 0, 2, 1])[..7].to_vec(), None),
            (six(public)[..23].to_vec(), None),
            (vec![2], None),
            (Vec::new(), None),
        ] {
            let got = beyond(&bytes).map(|address| address.to_string());
            assert_eq!(got.as_deref(), want, "{bytes:?}");
        }
    }
}
